//! A model's results, size against quality.

use http::Method;
use pare::id::{DatasetId, JobId, ModelId};
use serde_json::{Value, json};

use crate::datasets::summary;
use crate::support::app::App;
use crate::support::results::{compress, report};

async fn dataset(app: &App, row: &str) -> DatasetId {
    app.dataset(summary(&[row], "x")).await.parse().unwrap()
}

async fn frontier(app: &App, model: ModelId, query: &str) -> Value {
    app.get(&format!("/v1/models/{model}/frontier{query}")).await.expect(200).json()
}

/// Job, size and whether it is dominated, in the answer's order.
fn points(frontier: &Value) -> Vec<(String, u64, bool)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = frontier["points"].as_array().unwrap().iter();
    all.map(|it| (text(&it["job_id"]), it["size_bytes"].as_u64().unwrap(), it["dominated"].as_bool().unwrap()))
        .collect()
}

#[tokio::test]
async fn results_come_by_size_and_those_that_are_beaten_say_so() {
    let app = App::start().await;
    let (model, rows) = (app.bare_model().await, dataset(&app, "01").await);
    let mut jobs: Vec<JobId> = Vec::new();
    for (size_bytes, accuracy) in [(500, 0.80), (300, 0.81), (300, 0.79), (100, 0.60), (900, 0.90)] {
        jobs.push(app.result(&compress(model, Some(rows)), &report(size_bytes, accuracy), &[]).await);
    }
    let shown = frontier(&app, model, "").await;
    let expected = [(3, 100, false), (1, 300, false), (2, 300, true), (0, 500, true), (4, 900, false)];
    let expected: Vec<_> =
        expected.iter().map(|&(i, size, beaten): &(usize, _, _)| (jobs[i].to_string(), size, beaten)).collect();
    assert_eq!(points(&shown), expected);
    let measurement = &shown["measurement"];
    assert_eq!(measurement["evaluation_dataset_id"], json!(rows));
    assert_eq!((measurement["metric"].as_str(), measurement["max_seq_length"].as_u64()), (Some("accuracy"), Some(96)));
    assert_eq!(measurement["results"], 5);
    let point = &shown["points"][1];
    assert_eq!((point["value"].as_f64(), point["low"].as_f64()), (Some(0.81), Some(0.81 - 0.02)));
    assert_eq!((point["recipe_name"].as_str(), point["n"].as_u64()), (Some("int8"), Some(2000)));
    let before = &report(1, 0.5)["result"]["before"];
    assert_eq!(shown["original"]["size_bytes"], before["size_bytes"]);
    assert_eq!(shown["original"]["value"], before["quality"]["accuracy"]["value"]);
    let others = shown["other_measurements"].as_array().unwrap();
    assert_eq!(others.len(), 1);
    assert_eq!(others[0]["metric"], "macro_f1");
    let other = frontier(&app, model, "?metric=macro_f1").await;
    assert_eq!(other["points"].as_array().unwrap().len(), 5);
    assert_eq!(other["original"]["value"], before["quality"]["macro_f1"]["value"]);
}

#[tokio::test]
async fn measurements_are_never_mixed() {
    let app = App::start().await;
    let model = app.bare_model().await;
    let (many, few) = (dataset(&app, "01").await, dataset(&app, "02").await);
    let longer = |mut report: Value| {
        report["provenance"]["protocol"]["max_seq_length"] = json!(128);
        report
    };
    let reworded = |mut report: Value| {
        report["provenance"]["protocol"]["description"] = json!("the second largest logit");
        report
    };
    for size_bytes in [100, 200] {
        app.result(&compress(model, Some(many)), &report(size_bytes, 0.5), &[]).await;
    }
    app.result(&compress(model, Some(many)), &longer(report(50, 0.99)), &[]).await;
    app.result(&compress(model, Some(few)), &report(50, 0.98), &[]).await;
    app.result(&compress(model, Some(few)), &reworded(report(10, 0.97)), &[]).await;
    let sizes = |shown: &Value| points(shown).into_iter().map(|(_, size, beaten)| (size, beaten)).collect::<Vec<_>>();
    let commonest = frontier(&app, model, "").await;
    assert_eq!(sizes(&commonest), [(100, false), (200, true)]);
    assert_eq!(commonest["measurement"]["evaluation_dataset_id"], json!(many));
    // four measurements, two metrics each, less the one that is shown
    assert_eq!(commonest["other_measurements"].as_array().unwrap().len(), 7);
    assert_eq!(sizes(&frontier(&app, model, "?max_seq_length=128").await), [(50, false)]);
    let of_few = frontier(&app, model, &format!("?evaluation_dataset_id={few}")).await;
    assert_eq!(of_few["points"].as_array().unwrap().len(), 1, "two protocols with one length stay apart");
    let nothing = frontier(&app, model, &format!("?evaluation_dataset_id={few}&max_seq_length=128")).await;
    assert_eq!((nothing["points"].clone(), nothing.get("measurement")), (json!([]), None));
    assert_eq!(nothing["other_measurements"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn only_measured_results_of_this_model_count() {
    let app = App::start().await;
    let (model, other) = (app.bare_model().await, app.bare_model().await);
    let rows = dataset(&app, "01").await;
    let mut unlabelled = report(10, 0.9);
    unlabelled["result"]["after"]["quality"] = Value::Null;
    unlabelled["provenance"]["protocol"] = Value::Null;
    app.result(&compress(model, Some(rows)), &unlabelled, &[]).await;
    app.result(&compress(model, None), &report(20, 0.9), &[]).await;
    app.result(&compress(other, Some(rows)), &report(30, 0.9), &[]).await;
    let queued = app.queue(&compress(model, Some(rows))).await;
    assert_eq!(frontier(&app, model, "").await["points"], json!([]), "{queued} is no result yet");
    assert_eq!(points(&frontier(&app, other, "").await).len(), 1);
    let missing = app.get(&format!("/v1/models/{}/frontier", ModelId::new())).await;
    assert_eq!(missing.problem(), (404, "not_found".to_owned()));
    for query in ["evaluation_dataset_id=x", "max_seq_length=-1", "metrics=accuracy"] {
        let answer = app.get(&format!("/v1/models/{model}/frontier?{query}")).await;
        assert_eq!(answer.problem(), (400, "query_invalid".to_owned()), "{query}");
    }
}

#[tokio::test]
async fn the_same_as_a_table() {
    let app = App::start().await;
    let (model, rows) = (app.bare_model().await, dataset(&app, "01").await);
    let path = format!("/v1/models/{model}/frontier");
    let csv = async |path: &str| app.send(Method::GET, path, &[("accept", "text/csv")], Vec::new()).await.expect(200);
    let empty = csv(&path).await;
    assert_eq!(String::from_utf8_lossy(&empty.body).lines().count(), 1, "a header alone");
    let job = app.result(&compress(model, Some(rows)), &report(300, 0.75), &[]).await;
    let answer = csv(&path).await;
    assert!(answer.header("content-type").starts_with("text/csv"));
    assert_eq!(answer.header("vary"), "accept");
    let mut reader = ::csv::Reader::from_reader(answer.body.as_ref());
    let columns = reader.headers().unwrap().clone();
    let read: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let field = |row: usize, name: &str| {
        let index = columns.iter().position(|column| column == name).unwrap();
        read[row].get(index).unwrap().to_owned()
    };
    assert_eq!(read.len(), 2);
    assert_eq!((field(0, "role"), field(1, "role")), ("original".to_owned(), "result".to_owned()));
    assert_eq!((field(1, "job_id"), field(1, "size_bytes")), (job.to_string(), "300".to_owned()));
    assert_eq!((field(1, "value"), field(1, "metric")), ("0.75".to_owned(), "accuracy".to_owned()));
    assert_eq!((field(1, "dominated"), field(0, "dominated")), ("false".to_owned(), String::new()));
    assert_eq!(field(0, "evaluation_dataset_id"), rows.to_string());
    assert!(app.get(&path).await.header("content-type").starts_with("application/json"));
}
