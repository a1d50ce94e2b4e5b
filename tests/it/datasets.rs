//! Datasets over HTTP.

use pare::id::DatasetId;
use serde_json::json;

use crate::support::app::{App, Form, bare_header};
use pare::engine::data::{DatasetSummary, LabelCount};

/// Rows with these hashes and this label.
pub(crate) fn summary(hashes: &[&str], label: &str) -> DatasetSummary {
    DatasetSummary {
        format: "jsonl".to_owned(),
        rows: hashes.len() as u64,
        labels: vec![LabelCount { label: label.to_owned(), rows: hashes.len() as u64, first: None }],
        words: 10,
        duplicates: 0,
        row_hashes: hashes.iter().map(|hash| (*hash).to_owned()).collect(),
        ..DatasetSummary::default()
    }
}

#[tokio::test]
async fn a_dataset_is_uploaded_validated_and_counted() {
    let app = App::start().await;
    let form = Form::new().text("name", "rows").file("test.jsonl", b"{\"text\": \"a\", \"label\": \"x\"}\n");
    let answer = app.upload("/v1/datasets/files", form).await.expect(201);
    let id: DatasetId = answer.id();
    assert_eq!(answer.header("location"), format!("/v1/datasets/{id}"));
    app.validate(&bare_header(), Some(&summary(&["00"], "x"))).await;
    let dataset = app.get_with(&format!("/v1/datasets/{id}"), &[("prefer", "wait=5")]).await.expect(200).json();
    assert_eq!((dataset["state"].as_str(), dataset["rows"].as_u64()), (Some("ready"), Some(1)));
    assert_eq!(dataset["labels"], json!([{"label": "x", "rows": 1}]));
    let list = app.get("/v1/datasets").await.expect(200).json();
    assert_eq!(list["data"][0]["id"], json!(id));
    assert_eq!(app.get(&format!("/v1/datasets/{}", DatasetId::new())).await.problem().0, 404);
}

#[tokio::test]
async fn pickles_and_archives_are_no_datasets() {
    let app = App::start().await;
    let form = Form::new().text("name", "rows").file("rows.pkl", b"").file("rows.tar", b"");
    let answer = app.upload("/v1/datasets/files", form).await.expect(415);
    let codes: Vec<String> = answer.problems().into_iter().map(|(_, code)| code).collect();
    assert_eq!(codes, ["pickle_refused", "archive_refused"]);
}
