//! Data that a job can't use as it asks: rows that stand in two of its datasets, and rows of another kind than its model.

use std::path::{Path, PathBuf};

use http::Method;
use pare::engine::context::RunContext;
use pare::engine::data::Dataset;
use pare::engine::export::verify::input;
use pare::engine::job::{Datasets, Input, Output, Source, Task, run};
use pare::engine::problem::{Code, Problem};
use pare::engine::recipe::{Evaluate, Recipe};
use pare::engine::run::OUT;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::app::{App, Form, bare_header};
use crate::support::engine::{model, own, with_context};

/// Uploads rows and makes them ready with what the engine finds in them.
async fn dataset(app: &App, file: &str, text: &str) -> String {
    let form = Form::new().text("name", "rows").file(file, text.as_bytes());
    let id = app.upload("/v1/datasets/files", form).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join(file), text).unwrap();
    let summary = Dataset::read(&[input(folder.path(), file).unwrap()]).unwrap().summary();
    app.validate(&bare_header(), Some(&summary)).await;
    id
}

/// Lines of rows with a label that our own model knows.
fn rows(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("{}\n", json!({"text": text, "label": "billing"}))).collect()
}

const EVALUATION: [&str; 4] = ["one", "two", "three", "four"];
const OTHER: [&str; 3] = ["five", "three", "one"];

#[tokio::test]
async fn rows_of_the_evaluation_set_are_refused_everywhere_else() {
    let app = App::start().await;
    let model = app.model(&own("tickets")).await;
    let known = app.get(&format!("/v1/models/{model}")).await.json()["labels"].to_string();
    assert!(known.contains("\"billing\""), "{known}");
    let evaluation = dataset(&app, "test.jsonl", &rows(&EVALUATION)).await;
    let apart = dataset(&app, "apart.jsonl", &rows(&["six", "seven"])).await;
    let other = dataset(&app, "other.jsonl", &rows(&OTHER)).await;
    for role in ["calibration", "training", "validation"] {
        let job = |id: &str| {
            json!({"model_id": model, "recipe_name": "int8", "evaluate": {"max_seq_length": 8},
                format!("{role}_dataset_id"): id, "evaluation_dataset_id": evaluation})
        };
        let answer = app.post("/v1/jobs", &job(&other)).await.expect(422);
        let overlap = ("/evaluation_dataset_id".to_owned(), "datasets_overlap".to_owned());
        assert_eq!(answer.problems(), [overlap]);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        let wanted = format!(
            "2 rows of the evaluation data {evaluation} (4 rows) stand in the {role} data {other} (3 rows) too: \
             \"test.jsonl\" line 1 is \"other.jsonl\" line 3, \"test.jsonl\" line 3 is \"other.jsonl\" line 2. What"
        );
        assert!(detail.starts_with(&wanted), "{detail}\nand not\n{wanted}");
        app.post("/v1/jobs?validate_only=true", &job(&apart)).await.expect(200);
        // The set itself, under its own id
        let answer = app.post("/v1/jobs", &job(&evaluation)).await.expect(422);
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("4 rows of") && detail.contains("line 3, …. What"), "{detail}");
    }
}

#[tokio::test]
async fn plain_texts_may_share_lines_but_no_passage() {
    let app = App::start().await;
    let model = app.model(&own("tickets")).await;
    let text =
        |what: &str| -> String { (0..30).map(|line| format!("{what} has four words {line}\nSYNOPSIS\n")).collect() };
    let evaluation = dataset(&app, "test.txt", &text("this")).await;
    let apart = dataset(&app, "train.txt", &text("that")).await;
    let copied = dataset(&app, "copy.txt", &format!("new\n\n{}", text("this"))).await;
    let job = |id: &str| {
        json!({"model_id": model, "recipe_name": "int8", "evaluate": {"max_seq_length": 8},
            "calibration_dataset_id": id, "evaluation_dataset_id": evaluation})
    };
    app.post("/v1/jobs?validate_only=true", &job(&apart)).await.expect(200);
    let answer = app.post("/v1/jobs", &job(&copied)).await.expect(422);
    assert_eq!(answer.problems(), [("/evaluation_dataset_id".to_owned(), "datasets_overlap".to_owned())]);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("begin a passage of 64 words of the evaluation data"), "{detail}");
    assert!(detail.contains("\"test.txt\" line 1 is \"copy.txt\" line 3, …"), "{detail}");
}

#[tokio::test]
async fn a_dataset_tells_what_its_rows_are_to_be_answered_with() {
    let app = App::start().await;
    let shown = async |file: &str, text: &str| {
        let id = dataset(&app, file, text).await;
        app.get(&format!("/v1/datasets/{id}")).await.expect(200).json()
    };
    let numbers = shown("stars.csv", "text,label\nfine,4.5\nbad,1\nfine,2\n").await;
    assert_eq!(
        (&numbers["target"], &numbers["labels"], &numbers["tags"]),
        (&json!("regression"), &json!([]), &json!([]))
    );
    assert_eq!(numbers["values"], json!({"low": 1.0, "mean": 2.5, "high": 4.5}));
    let twice = json!({"row": {"file": "stars.csv", "line": 4}, "same_as": {"file": "stars.csv", "line": 2}});
    assert_eq!((numbers["duplicates"].as_u64(), &numbers["first_duplicates"]), (Some(1), &json!([twice])));
    let tags = shown("ner.jsonl", r#"{"tokens": ["Ann", "Lee", "ran"], "ner_tags": ["B-PER", "I-PER", "O"]}"#).await;
    let counts: Vec<Value> = ["B-PER", "I-PER", "O"]
        .into_iter()
        .map(|tag| json!({"tag": tag, "words": 1, "first": {"file": "ner.jsonl", "line": 1}}))
        .collect();
    assert_eq!((&tags["target"], &tags["tags"], tags.get("values")), (&json!("tags"), &json!(counts), None));
    assert_eq!(shown("x.jsonl", &rows(&["a"])).await["target"], "class");
    assert_eq!(shown("x.txt", "a\n").await["target"], "none");
    // The pages show them too
    for (data, wanted) in
        [(&numbers, "numbers from 1 to 4.5, 2.5000 on average"), (&tags, "a tag for every word, of 3")]
    {
        let path = format!("/datasets/{}", data["id"].as_str().unwrap());
        let answer = app.fetch(Method::GET, &path, &[("accept", "text/html")], Vec::new()).await;
        let page = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(page.contains(wanted), "{page}");
    }
}

#[tokio::test]
async fn what_the_model_can_t_be_held_to_is_refused() {
    let app = App::start().await;
    let model = app.model(&own("tickets")).await;
    let labelled = dataset(&app, "test.jsonl", &rows(&EVALUATION)).await;
    let numbers = dataset(&app, "stars.csv", "text,label\nfine,4.5\n").await;
    let job = |evaluation: Option<&str>, metrics: &[&str]| {
        let mut job = json!({"model_id": model, "recipe_name": "int8", "evaluate": {"max_seq_length": 8}});
        if let Some(id) = evaluation {
            job["evaluation_dataset_id"] = json!(id);
        }
        if !metrics.is_empty() {
            job["evaluate"]["metrics"] = json!(metrics);
        }
        job
    };
    let plan = app.post("/v1/jobs?validate_only=true", &job(Some(&labelled), &[])).await.expect(200).json();
    assert_eq!(plan["evaluate"]["metrics"], json!(["accuracy", "macro_f1", "mcc", "fidelity", "latency"]));
    for (evaluation, metrics, pointer, code) in [
        (Some(&labelled), ["mcc", "pearson"], "/evaluate/metrics/1", "out_of_range"),
        (None, ["fidelity", "mcc"], "/evaluate/metrics/1", "data_missing"),
        (Some(&labelled), ["mcc", "mcf"], "/evaluate/metrics/1", "out_of_range"),
        (Some(&numbers), ["fidelity", "latency"], "/evaluation_dataset_id", "label_unknown"),
    ] {
        let answer = app.post("/v1/jobs", &job(evaluation.map(String::as_str), &metrics)).await.expect(422);
        assert_eq!(answer.problems(), [(pointer.to_owned(), code.to_owned())], "{metrics:?}");
    }
}

fn source(folder: &Path, file: &str, text: &str) -> Source {
    std::fs::write(folder.join(file), text).unwrap();
    Source { name: file.to_owned(), files: vec![input(folder, file).unwrap()] }
}

fn compress(datasets: Datasets, evaluate: &Value, ctx: &RunContext<'_>) -> Output {
    let recipe = json!({"version": 1, "stages": [{"method": "quantize", "params": {"bits": 4}}], "evaluate": evaluate});
    let recipe = Recipe::parse(&recipe).unwrap();
    let task = Task::Compress { model: model(&own("tickets")), recipe, plan: None, datasets };
    run(
        &Input { task, threads: 2, device: "cpu".into(), memory_limit_bytes: None, checkpoint: None, statistics: None },
        ctx,
    )
    .unwrap()
}

fn failed(output: Output) -> Vec<Problem> {
    match output {
        Output::Failed { problems } => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_engine_refuses_shared_rows_by_itself() {
    let folder = tempdir().unwrap();
    let evaluation = source(folder.path(), "test.jsonl", &rows(&EVALUATION));
    let other = source(folder.path(), "other.jsonl", &rows(&OTHER));
    let with = |fill: fn(&mut Datasets, Source)| {
        let mut datasets = Datasets { evaluation: Some(evaluation.clone()), ..Datasets::default() };
        fill(&mut datasets, other.clone());
        datasets
    };
    for (role, datasets) in [
        ("calibration", with(|datasets, other| datasets.calibration = Some(other))),
        ("training", with(|datasets, other| datasets.training = Some(other))),
        ("validation", with(|datasets, other| datasets.validation = Some(other))),
    ] {
        let problems = with_context(|ctx| failed(compress(datasets.clone(), &json!({"max_seq_length": 8}), ctx)));
        assert_eq!(
            (problems.len(), problems[0].code, &*problems[0].pointer),
            (1, Code::DatasetsOverlap, "/evaluation")
        );
        let wanted = format!(
            "2 rows of the evaluation data stand in the {role} data too: \"test.jsonl\" line 1 is \"other.jsonl\" line 3, \
             \"test.jsonl\" line 3 is \"other.jsonl\" line 2. What"
        );
        assert!(problems[0].detail.starts_with(&wanted), "{}", problems[0]);
        let task =
            Task::Evaluate { model: model(&own("tickets")), reference: None, evaluate: Evaluate::default(), datasets };
        let input = Input {
            task,
            threads: 2,
            device: "cpu".into(),
            memory_limit_bytes: None,
            checkpoint: None,
            statistics: None,
        };
        let problems = with_context(|ctx| failed(run(&input, ctx).unwrap()));
        assert_eq!(problems[0].code, Code::DatasetsOverlap);
    }
}

#[test]
fn the_report_has_the_metrics_that_were_asked_for() {
    let test = std::fs::read_to_string(own("tickets/data/test.jsonl")).unwrap();
    let folder = tempdir().unwrap();
    let few: String = test.lines().take(200).map(|line| format!("{line}\n")).collect();
    let evaluation = source(folder.path(), "few.jsonl", &few);
    let quality = |evaluate: Value| {
        let datasets = Datasets { evaluation: Some(evaluation.clone()), ..Datasets::default() };
        with_context(|ctx| {
            let Output::Files { .. } = compress(datasets, &evaluate, ctx) else { panic!("it failed") };
            let path: PathBuf = ctx.scratch.join(OUT).join("report.json");
            let report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            [report["result"]["after"]["quality"].clone(), report["result"]["after"]["quality_change"].clone()]
        })
    };
    let names = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let [all, change] = quality(json!({"max_seq_length": 64, "metrics": ["accuracy", "macro_f1", "mcc"]}));
    assert_eq!(
        (names(&all), names(&change)),
        (names(&change), vec!["accuracy".into(), "macro_f1".into(), "mcc".into()])
    );
    // Eight classes of like size: Matthews' coefficient is accuracy over what chance gives, about (a - 1/8) / (7/8)
    let value = |metric: &str| all[metric]["value"].as_f64().unwrap();
    assert!((value("mcc") - (value("accuracy") - 0.125) / 0.875).abs() < 0.03, "{all}");
    assert_eq!(change["mcc"]["test"], "paired_bootstrap");
    let [only, _] = quality(json!({"max_seq_length": 64, "metrics": ["mcc"]}));
    assert_eq!((names(&only), &only["mcc"]), (vec!["mcc".to_owned()], &all["mcc"]));
}
