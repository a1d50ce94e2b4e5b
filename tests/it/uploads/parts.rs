//! Parts: in any order, at once, again, wrong.

use futures::TryStreamExt;
use futures::future::join_all;
use http::Method;
use pare::id::UploadId;
use pare::store::Digest;
use serde_json::json;

use super::{
    PART, begin, complete, content_digest, folder, look, over_both_stores, pattern, problem, put, put_with, start,
};
use crate::support::app::App;

async fn stored(app: &App, digest: &Digest) -> Vec<u8> {
    let chunks: Vec<bytes::Bytes> = app.store.read(digest, None).await.unwrap().try_collect().await.unwrap();
    chunks.concat()
}

#[tokio::test]
async fn parts_in_any_order_become_the_file() {
    over_both_stores(|app| async move {
        let data = pattern(3 * PART + 1234);
        let id = begin(&app, data.len()).await;
        let fresh = look(&app, &id).await;
        assert_eq!((fresh["state"].as_str(), fresh["part_count"].as_u64()), (Some("pending"), Some(4)));
        assert_eq!((fresh["part_size_bytes"].as_u64(), fresh["received_bytes"].as_u64()), (Some(PART as u64), Some(0)));
        let parts: Vec<&[u8]> = data.chunks(PART).collect();
        for number in [3, 0, 2] {
            put(&app, &id, number, parts[number]).await.expect(204);
        }
        let half = look(&app, &id).await;
        assert_eq!(half["received_parts"], json!([{"first": 0, "last": 0}, {"first": 2, "last": 3}]));
        assert_eq!(half["received_bytes"], json!(2 * PART + 1234));
        let early = complete(&app, &id).await;
        assert_eq!(early.problem(), problem(409, "parts_missing"));
        assert!(early.json()["detail"].as_str().unwrap().contains("parts 1 are missing"), "{:?}", early.body);
        put(&app, &id, 1, parts[1]).await.expect(204);
        let digest = Digest::of(&data);
        let done = complete(&app, &id).await.expect(200).json();
        assert_eq!((done["state"].as_str(), done["sha256"].as_str()), (Some("completed"), Some(&*digest.to_string())));
        assert_eq!(complete(&app, &id).await.expect(200).json(), done, "it can be repeated");
        assert!(stored(&app, &digest).await == data);
        assert_eq!(put(&app, &id, 1, parts[1]).await.problem(), problem(409, "upload_closed"));
    })
    .await;
}

#[tokio::test]
async fn many_parts_at_once_are_each_acknowledged() {
    over_both_stores(|app| async move {
        let data = pattern(24 * PART - 7);
        let id = begin(&app, data.len()).await;
        let parts: Vec<&[u8]> = data.chunks(PART).collect();
        let answers = join_all(parts.iter().enumerate().rev().map(|(number, part)| put(&app, &id, number, part))).await;
        assert!(answers.iter().all(|answer| answer.status.as_u16() == 204));
        let done = complete(&app, &id).await.expect(200).json();
        assert_eq!(done["sha256"], Digest::of(&data).to_string());
        assert!(stored(&app, &Digest::of(&data)).await == data);
    })
    .await;
}

#[tokio::test]
async fn a_part_that_is_repeated_is_the_same_or_refused() {
    over_both_stores(|app| async move {
        let data = pattern(2 * PART);
        let id = begin(&app, data.len()).await;
        put(&app, &id, 0, &data[..PART]).await.expect(204);
        put(&app, &id, 0, &data[..PART]).await.expect(204);
        let mut other = data[..PART].to_vec();
        other[PART - 1] ^= 1;
        assert_eq!(put(&app, &id, 0, &other).await.problem(), problem(409, "part_differs"));
        put(&app, &id, 1, &data[PART..]).await.expect(204);
        let done = complete(&app, &id).await.expect(200).json();
        assert_eq!(done["sha256"], Digest::of(&data).to_string(), "the first bytes count");
    })
    .await;
}

#[tokio::test]
async fn of_requests_that_race_for_a_part_one_wins_and_none_mixes() {
    over_both_stores(|app| async move {
        let id = begin(&app, PART).await;
        let candidates: Vec<Vec<u8>> = (0..6_u8).map(|i| vec![i / 2; PART]).collect();
        let answers = join_all(candidates.iter().map(|bytes| put(&app, &id, 0, bytes))).await;
        let done = complete(&app, &id).await.expect(200).json();
        let digest: Digest = done["sha256"].as_str().unwrap().parse().unwrap();
        assert!(candidates.iter().any(|bytes| Digest::of(bytes) == digest), "a mix was stored");
        for (bytes, answer) in candidates.iter().zip(&answers) {
            match answer.status.as_u16() {
                204 => assert_eq!(Digest::of(bytes), digest, "other bytes were acknowledged"),
                _ => assert_eq!(answer.problem(), problem(409, "part_differs")),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn sizes_are_held_to() {
    let app = start().await;
    let data = pattern(PART + 10);
    let id = begin(&app, data.len()).await;
    for (number, length) in [(0, PART - 1), (0, PART + 1), (0, 0), (1, 9), (1, 11)] {
        let answer = put(&app, &id, number, &pattern(length)).await;
        assert_eq!(answer.problem(), problem(422, "size_mismatch"), "{number}: {length}");
    }
    assert_eq!(put(&app, &id, 2, b"x").await.problem(), problem(404, "not_found"));
    for number in ["-1", "x", "4294967296"] {
        let answer = app.send(Method::PUT, &format!("/v1/uploads/{id}/parts/{number}"), &[], Vec::new()).await;
        assert_eq!(answer.problem(), problem(404, "not_found"), "{number}");
    }
    let unknown = UploadId::new().to_string();
    assert_eq!(put(&app, &unknown, 0, b"x").await.problem(), problem(404, "not_found"));
    assert_eq!(complete(&app, &unknown).await.problem(), problem(404, "not_found"));
    assert_eq!(app.get(&format!("/v1/uploads/{unknown}")).await.problem(), problem(404, "not_found"));
    assert_eq!(look(&app, &id).await["received_bytes"], 0);
}

#[tokio::test]
async fn a_digest_that_is_announced_is_checked() {
    over_both_stores(|app| async move {
        let data = pattern(PART);
        let id = begin(&app, data.len()).await;
        let right = content_digest(&data);
        let mut damaged = data.clone();
        damaged[100] ^= 4;
        let answer = put_with(&app, &id, 0, &damaged, ("content-digest", &right)).await;
        assert_eq!(answer.problem(), problem(422, "digest_mismatch"));
        let answer = put_with(&app, &id, 0, &data, ("content-digest", "sha-256=:AAAA:")).await;
        assert_eq!(answer.problem(), problem(422, "digest_invalid"));
        assert_eq!(look(&app, &id).await["received_bytes"], 0);
        put_with(&app, &id, 0, &data, ("content-digest", &right)).await.expect(204);
        put_with(&app, &id, 0, &data, ("content-digest", &right)).await.expect(204);
        let answer = put_with(&app, &id, 0, &damaged, ("content-digest", &content_digest(&damaged))).await;
        assert_eq!(answer.problem(), problem(409, "part_differs"));
        assert_eq!(complete(&app, &id).await.expect(200).json()["sha256"], Digest::of(&data).to_string());
    })
    .await;
}

#[tokio::test]
async fn the_whole_is_checked_where_its_digest_is_known() {
    over_both_stores(|app| async move {
        let data = pattern(PART + 1);
        let (right, wrong) = (Digest::of(&data).to_string(), Digest::of(b"else").to_string());
        let body = json!({"filename": "f", "size_bytes": data.len(), "sha256": wrong});
        let id = app.post("/v1/uploads", &body).await.expect(201).json()["id"].as_str().unwrap().to_owned();
        for (number, part) in data.chunks(PART).enumerate() {
            put(&app, &id, number, part).await.expect(204);
        }
        assert_eq!(complete(&app, &id).await.problem(), problem(422, "digest_mismatch"));
        assert!(app.store.size_bytes(&Digest::of(&data)).await.is_err(), "nothing was published");

        let id = begin(&app, data.len()).await;
        for (number, part) in data.chunks(PART).enumerate() {
            put(&app, &id, number, part).await.expect(204);
        }
        let path = format!("/v1/uploads/{id}/complete");
        assert_eq!(app.post(&path, &json!({"sha256": wrong})).await.problem(), problem(422, "digest_mismatch"));
        assert_eq!(look(&app, &id).await["state"], "pending", "its owner may have mistaken the digest");
        assert_eq!(app.post(&path, &json!({"sha265": right})).await.problems()[0].1, "unknown_field");
        assert_eq!(app.post(&path, &json!({"sha256": "x"})).await.problems()[0].1, "out_of_range");
        app.post(&path, &json!({"sha256": right.to_uppercase()})).await.expect(200);
        app.post(&path, &json!({"sha256": right})).await.expect(200);
        assert_eq!(app.post(&path, &json!({"sha256": wrong})).await.problem(), problem(422, "digest_mismatch"));
    })
    .await;
}

#[tokio::test]
async fn those_who_complete_at_once_are_told_the_same() {
    over_both_stores(|app| async move {
        let data = pattern(6 * PART);
        for _ in 0..5 {
            let id = begin(&app, data.len()).await;
            for (number, part) in data.chunks(PART).enumerate() {
                put(&app, &id, number, part).await.expect(204);
            }
            for answer in join_all((0..6).map(|_| complete(&app, &id))).await {
                assert_eq!(answer.expect(200).json()["sha256"], Digest::of(&data).to_string());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    over_both_stores(|app| async move {
        let id = begin(&app, 0).await;
        let done = complete(&app, &id).await.expect(200).json();
        assert_eq!((done["part_count"].as_u64(), done["received_parts"].clone()), (Some(0), json!([])));
        assert_eq!(done["sha256"], Digest::of(b"").to_string());
        assert_eq!(app.store.size_bytes(&Digest::of(b"")).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn bodies_are_bytes_as_they_are() {
    let app = start().await;
    let id = begin(&app, 4).await;
    let form = put_with(&app, &id, 0, b"data", ("content-type", "application/x-www-form-urlencoded")).await;
    assert_eq!(form.problem(), problem(415, "media_type_unsupported"));
    let packed = put_with(&app, &id, 0, b"data", ("content-encoding", "gzip")).await;
    assert_eq!(packed.problem(), problem(415, "content_encoding_unsupported"));
    let ranged = put_with(&app, &id, 0, b"data", ("content-range", "bytes 0-3/4")).await;
    assert_eq!(ranged.problem(), problem(400, "content_range_invalid"));
    put_with(&app, &id, 0, b"data", ("content-type", "application/octet-stream")).await.expect(204);
}

#[tokio::test]
async fn a_file_is_written_once_and_leaves_nothing_behind() {
    let app = start().await;
    let data = pattern(4 * PART);
    let id = begin(&app, data.len()).await;
    let own = folder(&app, &id);
    assert_eq!(std::fs::metadata(own.join("data")).unwrap().len(), data.len() as u64, "its room is taken at once");
    for (number, part) in data.chunks(PART).enumerate() {
        put(&app, &id, number, part).await.expect(204);
    }
    let inode = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let written = inode(&own.join("data"));
    complete(&app, &id).await.expect(200);
    let hex = Digest::of(&data).to_string();
    let root = app.folder.as_ref().unwrap().path();
    assert_eq!(inode(&root.join("blobs").join(&hex[..2]).join(&hex[2..])), written, "the blob is the file itself");
    assert!(!own.exists());
    assert_eq!(std::fs::read_dir(root.join("staging")).unwrap().count(), 0);
}
