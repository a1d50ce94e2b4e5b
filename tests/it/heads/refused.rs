//! Data that a model can't be held against.

use pare::engine::job::{Datasets, Input, Output, Task, run};
use pare::engine::model::inspect::inspect;
use pare::engine::problem::{Code, Problem};
use pare::engine::recipe::Evaluate;
use serde_json::{Value, json};

use super::made::Made;
use crate::support::app::App;
use crate::support::engine::{model, with_context};
use crate::support::verified::dataset;

/// What is wrong with measuring a model on such rows.
fn problems(made: &Made, rows: &str) -> Vec<Problem> {
    let path = made.folder().join("wrong.jsonl");
    std::fs::write(&path, rows).unwrap();
    let datasets = Datasets { evaluation: Some(dataset(&path)), ..Datasets::default() };
    let evaluate = Evaluate::parse(&json!({ "metrics": ["fidelity"] })).unwrap();
    let task = Task::Evaluate { model: model(&made.model()), reference: None, evaluate, datasets };
    let input =
        Input { task, threads: 2, device: "cpu".into(), memory_limit_bytes: None, checkpoint: None, statistics: None };
    match with_context(|ctx| run(&input, ctx).unwrap()) {
        Output::Failed { problems } => problems,
        other => panic!("{other:?}"),
    }
}

const NAMES: &str = "{\"text\":\"ba\",\"label\":\"good\"}\n\n{\"text\":\"be\",\"label\":\"bad\"}\n\
    {\"text\":\"bi\",\"label\":\"good\"}\n";
const TAGS: &str = "{\"tokens\":[\"ba\",\"be\"],\"tags\":[\"O\",\"B-PER\"]}\n\
    {\"tokens\":[\"bi\",\"bo\"],\"tags\":[\"B-PERS\",\"B-PERS\"]}\n";

#[test]
fn with_how_many_there_are_and_where_the_first_stands() {
    let found = problems(&Made::regression(), NAMES);
    let details: Vec<&str> = found.iter().map(|problem| problem.detail.as_str()).collect();
    assert_eq!(
        details,
        [
            "the label \"good\" is no number, and the model answers with one: give every row the number that is right \
         (2 rows have it, the first at \"wrong.jsonl\" line 1)",
            "the label \"bad\" is no number, and the model answers with one: give every row the number that is right \
         (1 row has it, the first at \"wrong.jsonl\" line 3)",
        ]
    );
    assert!(
        found.iter().all(|one| one.code == Code::LabelUnknown && one.pointer == "/datasets/wrong.jsonl"),
        "{found:?}"
    );

    let found = problems(&Made::tags(), TAGS);
    let wanted =
        "the model has no tag \"B-PERS\": did you mean 'B-PER'? (2 words have it, the first at \"wrong.jsonl\" line 2)";
    assert_eq!((found.len(), found[0].detail.as_str()), (1, wanted));
    let other = problems(&Made::tags(), NAMES);
    assert!(
        other[0].detail.starts_with("the 3 rows' labels are one name a row, and the model answers with a tag"),
        "{other:?}"
    );
}

#[test]
fn several_numbers_a_text_are_refused() {
    let made = Made::regression();
    let path = made.model().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["id2label"] = json!({ "0": "valence", "1": "arousal" });
    std::fs::write(&path, config.to_string()).unwrap();
    let found = inspect(&model(&made.model()).files).unwrap_err().problems();
    assert!(found.iter().any(|one| one.detail.starts_with("2 numbers a text are not supported")), "{found:?}");
}

#[tokio::test]
async fn over_http_before_anything_runs() {
    let app = App::start().await;
    for (made, rows, wanted) in [
        (Made::regression(), NAMES, "(2 rows have it, the first at \"rows.jsonl\" line 1)"),
        (Made::tags(), TAGS, "(2 words have it, the first at \"rows.jsonl\" line 2)"),
    ] {
        let id = app.model(&made.model()).await;
        let path = made.folder().join("rows.jsonl");
        std::fs::write(&path, rows).unwrap();
        let summary = pare::engine::data::Dataset::read(&dataset(&path).files).unwrap().summary();
        let data = app.dataset(summary).await;
        let job = json!({"model_id": id, "recipe_name": "int8", "evaluation_dataset_id": data,
            "evaluate": {"max_seq_length": 24}});
        let answer = app.post("/v1/jobs", &job).await.expect(422);
        assert!(answer.problems().iter().all(|(at, code)| at == "/evaluation_dataset_id" && code == "label_unknown"));
        let text = String::from_utf8(answer.body.to_vec()).unwrap().replace("\\\"", "\"");
        assert!(text.contains(wanted), "{text}");
    }
}
