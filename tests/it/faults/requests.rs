//! Requests that come fifty times, and models whose bytes are damaged.

use http::Method;
use serde_json::Value;

use super::{Dice, all_ended, crashes_and_losses, tickets, tickets_on};
use crate::support::app::{Answer, App, Form};
use crate::support::engine::shared;
use crate::support::invariants::Fault;
use crate::support::worker::{self, until};

async fn post(app: &App, key: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    app.send(Method::POST, "/v1/jobs", &headers, body.to_string().into_bytes()).await
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn f12_fifty_at_once_with_one_key_are_one_job() {
    let app = App::start().await;
    let what = "50 submissions at once with one Idempotency-Key";
    let mut fault = Fault::begin("F12", what, &app.pool).await;
    let body = tickets_on(&app).await;
    let answers = futures::future::join_all((0..50).map(|_| post(&app, "one", &body))).await;
    let jobs = app.get("/v1/jobs").await.expect(200).json();
    assert_eq!(jobs["data"].as_array().unwrap().len(), 1, "{jobs}");
    fault.acknowledge(&jobs["data"][0]["id"].as_str().unwrap());
    let again = post(&app, "one", &body).await.expect(201);
    assert!(is_replayed(&again));
    let (mut fresh, mut refused) = (0, 0);
    for answer in answers {
        match answer.status.as_u16() {
            201 => {
                fresh += usize::from(!is_replayed(&answer));
                assert_eq!(answer.body, again.body);
                for name in ["location", "etag", "retry-after"] {
                    assert_eq!(answer.header(name), again.header(name));
                }
            }
            _ => {
                refused += 1;
                assert_eq!(answer.problem(), (409, "idempotency_key_in_use".to_owned()));
                assert_eq!(answer.header("retry-after"), "1");
            }
        }
    }
    assert_eq!(fresh, 1);
    fault.count("answers were the first one's again", 49 - refused);
    fault.count("were told to come again", refused);
    let scratch = tempfile::tempdir().unwrap();
    let worker = worker::start(&app.pool, &app.store, worker::config(scratch.path().join("scratch")));
    all_ended(&app.pool).await;
    worker.stop().await;
    fault.held(&app.pool, &app.store).await;
}

/// The small classifier's weights, damaged in many ways; whether they can't be valid any more.
fn damaged(weights: &[u8], dice: &mut Dice) -> Vec<(Vec<u8>, bool)> {
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap());
    // and whole, to see that it is the damage that is found
    let mut all = vec![(weights.to_vec(), false), (Vec::new(), true), (weights[..7].to_vec(), true)];
    for _ in 0..8 {
        all.push((weights[..dice.below(weights.len() as u64) as usize].to_vec(), true));
    }
    for _ in 0..24 {
        let mut bytes = weights.to_vec();
        bytes[dice.below(8 + header) as usize] ^= 1 << dice.below(8);
        all.push((bytes, false));
    }
    for length in [0, 1, u64::MAX, u64::MAX / 2, weights.len() as u64, header - 1, header + 1] {
        let mut bytes = weights.to_vec();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        all.push((bytes, true));
    }
    all
}

/// Weight files of the fixtures that are malformed on purpose.
fn malformed() -> Vec<Vec<u8>> {
    let Some(folder) = shared("edge/malformed") else { return Vec::new() };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let weights = files.filter(|path| path.extension().is_some_and(|name| name == "safetensors"));
    weights.map(|path| std::fs::read(path).unwrap()).collect()
}

#[tokio::test]
async fn f21_damaged_models_are_refused_and_break_nothing() {
    let app = App::start().await;
    let what = "models that are cut short, with flipped bits in their headers, with wrong lengths, and made to do harm";
    let mut fault = Fault::begin("F21", what, &app.pool).await;
    let good = tickets();
    let weights = &good.iter().find(|(name, _)| *name == "model.safetensors").unwrap().1;
    let mut all = damaged(weights, &mut Dice::seeded(21));
    all.extend(malformed().into_iter().map(|bytes| (bytes, false)));
    let scratch = tempfile::tempdir().unwrap();
    let worker = worker::start(&app.pool, &app.store, worker::config(scratch.path().join("scratch")));
    let (mut refused, mut invalid, mut ready) = (0, 0, 0);
    for (bytes, is_hopeless) in all {
        let mut form = Form::new().text("name", "damaged");
        for (name, good) in &good {
            form = form.file(name, if *name == "model.safetensors" { &bytes } else { good });
        }
        let answer = app.upload("/v1/models/files", form).await;
        if answer.expect_one_of(&[201, 413, 422]) != 201 {
            refused += 1;
            continue;
        }
        let path = format!("/v1/models/{}", answer.json()["id"].as_str().unwrap());
        let model = until("the model's end", async || {
            Some(app.get(&path).await.expect(200).json()).filter(|model| model["state"] != "validating")
        })
        .await;
        match model["state"].as_str().unwrap() {
            "invalid" => {
                invalid += 1;
                assert!(model["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{model}");
            }
            // A flipped bit may have changed a name in the metadata, or a number to another good one.
            state => {
                ready += 1;
                assert!(state == "ready" && !is_hopeless, "{model}");
            }
        }
    }
    assert!(ready > 0, "the undamaged one is ready");
    fault.count("refused when they came", refused);
    fault.count("found invalid", invalid);
    fault.count("valid, the undamaged one among them", ready);
    all_ended(&app.pool).await;
    assert_eq!(crashes_and_losses(&app.pool).await, (0, 0), "no process died of them");
    worker.stop().await;
    fault.held(&app.pool, &app.store).await;
}
