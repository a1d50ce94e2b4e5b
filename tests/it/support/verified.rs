//! Reports of real runs, to be believed or not.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use pare::engine::export::verify::input;
use pare::engine::job::{Datasets, Input, Output, Source, Task, run};
use pare::engine::recipe::{Evaluate, Recipe};
use pare::engine::report::Report;
use pare::engine::report::verify::{Check, State, Verification};
use pare::engine::run::OUT;
use pare::engine::run::verify::{Effort, Given, verify};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::engine::{model, own, with_context};

/// A job's report and what it speaks of.
pub(crate) struct Told {
    /// Holds the files.
    pub(crate) folder: TempDir,
    pub(crate) report: Report,
    pub(crate) given: Given,
}

/// What is measured on rows with labels.
const METRICS: [&str; 3] = ["accuracy", "macro_f1", "fidelity"];

/// The first rows of the small classifier's test data, as a file of their own.
pub(crate) fn few_rows(folder: &Path, name: &str, count: usize) -> PathBuf {
    let rows = std::fs::read_to_string(own("tickets/data/test.jsonl")).unwrap();
    let rows: String = rows.lines().take(count).map(|line| format!("{line}\n")).collect();
    let path = folder.join(name);
    std::fs::write(&path, rows).unwrap();
    path
}

/// A dataset of one file.
pub(crate) fn dataset(path: &Path) -> Source {
    let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
    Source { name: name.to_owned(), files: vec![input(folder, name).unwrap()] }
}

/// Runs a task, and keeps what it leaves in `folder/out`.
pub(crate) fn told(task: impl FnOnce(&Path) -> (Task, Given)) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let (task, mut given) = task(folder.path());
    let is_compression = matches!(task, Task::Compress { .. });
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let input =
        Input { task, threads: 2, device: "cpu".into(), memory_limit_bytes: None, checkpoint: None, statistics: None };
    with_context(|ctx| {
        let files = match run(&input, ctx).unwrap() {
            Output::Files { files } => files,
            other => panic!("{other:?}"),
        };
        for file in files {
            std::fs::copy(ctx.scratch.join(OUT).join(&file.path), out.join(&file.path)).unwrap();
        }
    });
    let report = Report::read(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    given.artifact = is_compression.then(|| model(&out));
    Told { folder, report, given }
}

/// A compression of a model of ours by those stages, measured on `evaluation` or on its own vocabulary.
pub(crate) fn compressed(of: &Path, stages: &Value, evaluation: Option<&Path>) -> Told {
    let metrics = if evaluation.is_some() { json!(METRICS) } else { json!(["fidelity"]) };
    let recipe = json!({ "version": 1, "stages": stages, "evaluate": { "metrics": metrics, "max_seq_length": 32 } });
    let recipe = Recipe::parse(&recipe).unwrap();
    told(|_| {
        let datasets = Datasets { evaluation: evaluation.map(dataset), ..Datasets::default() };
        let given = Given { model: model(of), reference: None, artifact: None, datasets: datasets.clone() };
        (Task::Compress { model: model(of), recipe, plan: None, datasets }, given)
    })
}

/// The small classifier in two stages, on 60 rows with labels. Made once.
pub(crate) fn tickets() -> &'static Told {
    static TOLD: LazyLock<(TempDir, Told)> = LazyLock::new(|| {
        let data = tempfile::tempdir().unwrap();
        let rows = few_rows(data.path(), "rows.jsonl", 60);
        let stages = json!([
            { "method": "factorize", "targets": ["block.*.mlp.*"], "params": { "rank_ratio": 0.8 } },
            { "method": "quantize", "params": { "bits": 4 } },
        ]);
        let told = compressed(&own("tickets"), &stages, Some(&rows));
        (data, told)
    });
    &TOLD.1
}

/// A model as it is, against another where one is given, on 40 rows.
pub(crate) fn measured(of: &Path, reference: Option<&Path>) -> Told {
    told(|folder| {
        let evaluation = Some(dataset(&few_rows(folder, "rows.jsonl", 40)));
        let datasets = Datasets { evaluation, ..Datasets::default() };
        let given =
            Given { model: model(of), reference: reference.map(model), artifact: None, datasets: datasets.clone() };
        let settings = json!({ "max_seq_length": 32, "metrics": METRICS, "reference_floor": 0.3 });
        let evaluate = Evaluate::parse(&settings).unwrap();
        (Task::Evaluate { model: model(of), reference: reference.map(model), evaluate, datasets }, given)
    })
}

/// Verifies under the conditions that the report was made under.
pub(crate) fn verified(report: &Report, given: &Given, effort: Effort) -> Verification {
    with_context(|ctx| verify(report, given, effort, ctx).unwrap())
}

/// The report with another value at a pointer.
pub(crate) fn with(report: &Report, changes: &[(&str, Value)]) -> Report {
    let mut document = serde_json::to_value(report).unwrap();
    for (pointer, value) in changes {
        *document.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

/// The checks in a state.
pub(crate) fn all(done: &Verification, state: State) -> Vec<&Check> {
    done.checks.iter().filter(|check| check.state == state).collect()
}

/// Where it differs: the pointers of values, or of checks that have none.
pub(crate) fn differing(done: &Verification) -> Vec<String> {
    let checks = done.checks.iter().filter(|check| check.state == State::Differs);
    let pointers = checks.flat_map(|check| {
        let values: Vec<String> = check.differences.iter().map(|difference| difference.pointer.clone()).collect();
        if values.is_empty() { vec![check.pointer.clone()] } else { values }
    });
    pointers.collect()
}
