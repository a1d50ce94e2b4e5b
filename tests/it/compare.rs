//! Reports side by side.

use pare::db::jobs::NewJob;
use pare::id::JobId;
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::results::{compress, report};

async fn compare(app: &App, jobs: &[JobId]) -> Value {
    let list: Vec<String> = jobs.iter().map(ToString::to_string).collect();
    app.get(&format!("/v1/compare?jobs={}", list.join(","))).await.expect(200).json()
}

#[tokio::test]
async fn differences_are_against_the_first() {
    let app = App::start().await;
    let model = app.bare_model().await;
    let recipe = |bits: u32| {
        let stages = json!([{"method": "quantize", "params": {"bits": bits, "symmetric": true}}]);
        NewJob { recipe: Some(json!({"version": 1, "stages": stages})), recipe_name: None, ..compress(model, None) }
    };
    let first = app.result(&recipe(8), &report(1000, 0.875), &[]).await;
    let second = app.result(&recipe(4), &report(500, 0.75), &[]).await;
    let third = app.result(&compress(model, None), &report(2000, 1.0), &[]).await;
    let shown = compare(&app, &[first, second, third]).await;
    let jobs: Vec<&Value> = shown["jobs"].as_array().unwrap().iter().map(|job| &job["job_id"]).collect();
    assert_eq!(jobs, [&json!(first), &json!(second), &json!(third)]);
    let one = &shown["jobs"][1];
    assert_eq!((one["model_name"].as_str(), one["size_bytes"].as_u64()), (Some("bare"), Some(500)));
    assert_eq!(one["quality"]["accuracy"]["low"], json!(0.75 - 0.02));
    let whole = report(500, 0.75);
    for field in ["ratio_to_stored", "ratio_to_f32", "bits_per_weight", "fidelity", "quality_change", "quality"] {
        assert_eq!(one[field], whole["result"]["after"][field], "{field}");
    }
    assert_eq!(one["latency"], whole["measurements"]["latency"]);
    assert_eq!(one["max_seq_length"], 96);
    assert_eq!(shown["same_measurement"], true);
    let differences = shown["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 2);
    let difference = &differences[0];
    assert_eq!(difference["job_id"], json!(second));
    assert_eq!((difference["size_bytes"].as_i64(), difference["size_ratio"].as_f64()), (Some(-500), Some(0.5)));
    assert_eq!(difference["quality"], json!({"accuracy": -0.125, "macro_f1": 0.0}));
    assert_eq!(difference["fidelity"], json!({"kl_mean": 0.0, "top1_agreement": 0.0, "cosine": 0.0}));
    assert_eq!(difference["latency"].as_array().unwrap().len(), 2);
    assert!(["quality_reason", "fidelity_reason", "latency_reason"].iter().all(|name| difference.get(name).is_none()));
    assert_eq!(differences[1]["quality"]["accuracy"], 0.125);
    // the third was named, and its text is not in its row
    let pointers: Vec<&str> =
        shown["recipe_differences"].as_array().unwrap().iter().map(|it| it["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, [""]);
    let two = compare(&app, &[first, second]).await;
    let values = json!([{"job_id": first, "value": 8}, {"job_id": second, "value": 4}]);
    assert_eq!(two["recipe_differences"], json!([{"pointer": "/stages/0/params/bits", "values": values}]));
}

#[tokio::test]
async fn what_was_measured_otherwise_is_null_with_the_reason() {
    let app = App::start().await;
    let model = app.bare_model().await;
    let first = app.result(&compress(model, None), &report(1000, 0.5), &[]).await;
    let mut elsewhere = report(1000, 0.6);
    for file in elsewhere["provenance"]["datasets"]["evaluation"]["files"].as_array_mut().unwrap() {
        file["sha256"] = json!("1".repeat(64));
    }
    elsewhere["provenance"]["host"]["cpu"] = json!("another");
    let second = app.result(&compress(model, None), &elsewhere, &[]).await;
    let mut unmeasured = report(1000, 0.6);
    for name in ["quality", "quality_change", "fidelity"] {
        unmeasured["result"]["after"][name] = Value::Null;
    }
    unmeasured["measurements"]["latency"] = Value::Null;
    unmeasured["provenance"]["protocol"] = Value::Null;
    let third = app.result(&compress(model, None), &unmeasured, &[]).await;
    let shown = compare(&app, &[first, second, third]).await;
    assert_eq!(shown["same_measurement"], false);
    for difference in shown["differences"].as_array().unwrap() {
        for name in ["quality", "fidelity", "latency"] {
            assert_eq!(difference[name], Value::Null, "{name}");
            assert!(difference[format!("{name}_reason")].as_str().unwrap().len() > 20, "{name}");
        }
        assert_eq!(difference["size_bytes"], 0, "sizes can always be compared");
    }
    assert!(shown["differences"][0]["quality_reason"].as_str().unwrap().contains("other evaluation rows"));
    assert!(shown["differences"][0]["latency_reason"].as_str().unwrap().contains("other machines"));
}

#[tokio::test]
async fn jobs_that_can_not_be_compared_are_named() {
    let app = App::start().await;
    let model = app.bare_model().await;
    let first = app.result(&compress(model, None), &report(1, 0.5), &[]).await;
    let bare = app.finished_job("model.safetensors", b"x").await;
    let queued = app.queue(&compress(model, None)).await;
    let refused = async |jobs: String| app.get(&format!("/v1/compare?jobs={jobs}")).await;
    let early = refused(format!("{first},{queued}")).await;
    assert_eq!(early.problem(), (404, "report_unavailable".to_owned()));
    assert!(early.json()["detail"].as_str().unwrap().contains(&queued.to_string()));
    let foreign = refused(format!("{first},{bare}")).await;
    assert_eq!(foreign.problem(), (404, "report_unavailable".to_owned()));
    assert_eq!(refused(format!("{first},{}", JobId::new())).await.problem(), (404, "not_found".to_owned()));
    for bad in [first.to_string(), format!("{first},{first}"), String::new(), format!("{first},x")] {
        assert_eq!(refused(bad.clone()).await.problem(), (400, "query_invalid".to_owned()), "{bad}");
    }
    assert_eq!(app.get("/v1/compare").await.problem(), (400, "query_invalid".to_owned()));
}
