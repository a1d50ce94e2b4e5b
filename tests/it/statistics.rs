//! What an original's sites are fed is summed up once: a later run uses the sums again, and comes to the same bytes.

mod service;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pare::engine::calibrate::Statistics;
use pare::engine::calibrate::statistics::{Asked, GivenStatistics, NAME, key};
use pare::engine::checkpoint::{self, Checkpoint, FOLDER, Given, GivenFile};
use pare::engine::context::{Event, Host, Observer, RunContext};
use pare::engine::error::EngineError;
use pare::engine::export::verify::input;
use pare::engine::job::{Datasets, Input, Output, Role, Source, Task, run};
use pare::engine::model::inspect::inspect;
use pare::engine::plan::{self, Available};
use pare::engine::recipe::Recipe;
use pare::engine::run::OUT;
use serde_json::{Value, json};

use crate::support::engine::{model, own, shared, with_context};

/// Listens, and stops the run once so many blocks were worked out.
struct Stopper {
    events: Mutex<Vec<Event>>,
    after: usize,
}

/// Steps of one kind: `batches` of rows that went through the model, `blocks` that were changed.
fn steps(events: &[Event], of: &str) -> usize {
    events.iter().filter(|event| matches!(event, Event::Progress { unit, .. } if unit == of)).count()
}

impl Observer for Stopper {
    fn on(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn should_stop(&self) -> bool {
        steps(&self.events.lock().unwrap(), "blocks") >= self.after
    }
}

/// What a run came to.
struct Ran {
    events: Vec<Event>,
    /// Weights and report, where it came to its end.
    result: Option<(Vec<u8>, Value)>,
    /// Statistics that it left.
    left: Option<GivenStatistics>,
    checkpoint: Option<Given>,
}

impl Ran {
    fn batches(&self) -> usize {
        steps(&self.events, "batches")
    }

    fn notes(&self) -> String {
        let notes = self.events.iter().filter_map(|event| match event {
            Event::Note { message } => Some(message.as_str()),
            _ => None,
        });
        notes.collect::<Vec<_>>().join("\n")
    }

    fn is_reused(&self) -> Option<bool> {
        self.result.as_ref().unwrap().1["provenance"]["statistics"]["is_reused"].as_bool()
    }
}

/// Hashes are known, as they are of uploads.
fn hashed(mut source: Source) -> Source {
    for file in &mut source.files {
        file.sha256 = Some(pare::store::Digest::of_file(&file.location).unwrap().0.to_string());
    }
    source
}

fn text(folder: &Path, name: &str, word: &str) -> Source {
    let rows: String = (0..40).map(|i| format!("a ticket about {word} {i} that is out of paper {}\n", i * 7)).collect();
    fs::write(folder.join(name), rows).unwrap();
    Source { name: "rows".into(), files: vec![input(folder, name).unwrap()] }
}

fn recipe(bits: u64, targets: &str, seed: u64, samples: u64) -> Value {
    let params = json!({ "bits": bits, "observer": "weighted_mse" });
    json!({
        "version": 1, "seed": seed, "evaluate": { "metrics": [] },
        "stages": [{ "method": "quantize", "targets": [targets], "params": params }],
        "calibration": { "num_calibration_samples": samples, "max_seq_length": 32 },
    })
}

fn task(folder: &Path, rows: Source, recipe: &Value) -> Task {
    let recipe = Recipe::parse(recipe).unwrap();
    let model = hashed(model(folder));
    let available = Available { calibration_rows: Some(40), ..Available::default() };
    let plan = plan::resolve(&recipe, &inspect(&model.files).unwrap().0.header, &available).unwrap();
    let datasets = Datasets { calibration: Some(hashed(rows)), ..Datasets::default() };
    Task::Compress { model, recipe, plan: Some(plan), datasets }
}

fn key_of(task: &Task) -> Option<String> {
    key(task, "cpu", &Host::default()).unwrap()
}

/// Runs a task with an earlier job's statistics, and what an attempt before it left. Files of its own are kept in `keep`.
fn go(task: &Task, given: Option<&GivenStatistics>, before: Option<&Given>, after: usize, keep: &Path) -> Ran {
    let statistics = Some(Asked { key: key_of(task).unwrap(), given: given.cloned() });
    let (threads, device) = (2, "cpu".to_owned());
    let input = Input { task: task.clone(), threads, device, memory_limit_bytes: None, checkpoint: None, statistics };
    let stopper = Stopper { events: Mutex::default(), after };
    with_context(|ctx| {
        let ctx = &RunContext {
            observer: &stopper,
            kept: Checkpoint::open(before, &checkpoint::key(&input, &ctx.host).unwrap(), &stopper),
            statistics: Statistics::open(input.statistics.as_ref(), key_of(task), &stopper),
            stopwatch: ctx.stopwatch,
            device: ctx.device.clone(),
            threads: ctx.threads,
            resident_bytes: ctx.resident_bytes,
            scratch: ctx.scratch.clone(),
            host: ctx.host.clone(),
        };
        let (mut left, mut result) = (None, None);
        match run(&input, ctx) {
            Ok(Output::Files { files }) => {
                let out = ctx.scratch.join(OUT);
                let report = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
                result = Some((fs::read(out.join("model.safetensors")).unwrap(), report));
                left = files.into_iter().find(|file| file.role == Role::Statistics).map(|file| {
                    assert_eq!(file.path, NAME);
                    let location = keep.join(&file.sha256);
                    fs::copy(out.join(NAME), &location).unwrap();
                    GivenStatistics { sha256: file.sha256, location }
                });
            }
            Err(EngineError::Stopped) => {}
            other => panic!("{other:?}"),
        }
        let events = stopper.events.lock().unwrap().clone();
        let checkpoint = events.iter().rev().find_map(|event| match event {
            Event::Checkpoint { step, key, files } => Some((*step, key.clone(), files.clone())),
            _ => None,
        });
        let checkpoint = checkpoint.map(|(step, key, files)| {
            let files = files.into_iter().map(|file| {
                let (from, location) = (ctx.scratch.join(FOLDER).join(&file.name), keep.join(&file.name));
                if from.exists() {
                    fs::copy(from, &location).unwrap();
                }
                GivenFile { file, location }
            });
            Given { step, key, files: files.collect() }
        });
        Ran { events, result, left, checkpoint }
    })
}

/// A run with other bits uses the sums again, and no row goes through the model.
fn check(folder: &Path, rows: impl Fn() -> Source, targets: &str) {
    let keep = tempfile::tempdir().unwrap();
    let eight = task(folder, rows(), &recipe(8, targets, 1, 16));
    let four = task(folder, rows(), &recipe(4, targets, 1, 16));
    let whole = |task: &Task, given: Option<&GivenStatistics>| go(task, given, None, usize::MAX, keep.path());
    let first = whole(&eight, None);
    assert!(first.batches() > 0 && first.is_reused() == Some(false), "{}", first.notes());
    let left = first.left.unwrap();
    let (again, alone) = (whole(&four, Some(&left)), whole(&four, None));
    assert_eq!((again.batches(), again.is_reused()), (0, Some(true)), "{}", again.notes());
    assert!(again.notes().contains(&format!("{} are used again", left.sha256)), "{}", again.notes());
    assert!(again.left.is_none(), "what is there is not left again");
    let ((again, said), (alone, plain)) = (again.result.unwrap(), alone.result.unwrap());
    assert!(again == alone, "other bytes than of a run that took the sums itself");
    assert_eq!(said["result"], plain["result"]);
    assert_eq!(said["provenance"]["statistics"]["sha256"], left.sha256);
    assert_eq!(said["provenance"]["statistics"]["key"], plain["provenance"]["statistics"]["key"]);
}

#[test]
fn our_own_classifier_is_looked_at_once() {
    let place = tempfile::tempdir().unwrap();
    check(&own("tickets"), || text(place.path(), "rows.txt", "printer"), "**");
}

#[test]
fn real_models_are_looked_at_once() {
    for (folder, data, name) in
        [("minilm-sections", "data/sections", "calibration.jsonl"), ("docs-llama", "data/docs-text", "valid.txt")]
    {
        if let (Some(folder), Some(data)) = (shared(folder), shared(data)) {
            let rows = || Source { name: "rows".into(), files: vec![input(&data, name).unwrap()] };
            check(&folder, rows, "block.**");
        }
    }
}

#[test]
fn what_does_not_fit_is_said_and_never_used() {
    let (place, keep) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rows = || text(place.path(), "rows.txt", "printer");
    let all = task(&own("tickets"), rows(), &recipe(8, "block.**", 1, 16));
    let whole = |task: &Task, given: Option<&GivenStatistics>| go(task, given, None, usize::MAX, keep.path());
    let plain = whole(&all, None);
    let left = plain.left.clone().unwrap();
    let (want, batches) = (plain.result.as_ref().unwrap().0.clone(), plain.batches());
    let with = |bytes: Vec<u8>, sha256: &str| {
        let location: PathBuf = keep.path().join("other");
        fs::write(&location, bytes).unwrap();
        whole(&all, Some(&GivenStatistics { sha256: sha256.to_owned(), location }))
    };
    let good = fs::read(&left.location).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    // As another program would have written it: whole, and of nothing that this one knows
    let mut renamed = good.clone();
    let at = good.windows(7).position(|part| part == b"squares").unwrap();
    renamed[at] = b'z';
    let digest = |bytes: &[u8]| pare::store::Digest::of(bytes).to_string();
    let nonsense = b"nonsense".to_vec();
    for (ran, why) in [
        (with(damaged, &left.sha256), "damaged"),
        (with(good[..good.len() - 1].to_vec(), &left.sha256), "damaged"),
        (with(nonsense.clone(), &digest(&nonsense)), "can't be read"),
        (with(renamed.clone(), &digest(&renamed)), "not of the site"),
    ] {
        assert!(ran.notes().contains(why) && ran.notes().contains("anew"), "{why}: {}", ran.notes());
        assert_eq!((ran.batches(), ran.is_reused()), (batches, Some(false)), "{why}");
        assert!(ran.result.unwrap().0 == want, "{why}: other bytes");
        assert_eq!(ran.left.unwrap().sha256, left.sha256, "{why}: the same sums are left again");
    }
    // Under another key nothing is used, and nothing kept: whoever asks and whoever runs do not agree
    let asked = Asked { key: "another".into(), given: Some(left) };
    let stopper = Stopper { events: Mutex::default(), after: usize::MAX };
    let closed = Statistics::open(Some(&asked), key_of(&all), &stopper);
    assert!(closed.leave(keep.path()).unwrap().is_none());
    assert!(
        matches!(&stopper.events.lock().unwrap()[..], [Event::Note { message }] if message.contains("something else"))
    );
}

/// Attempts with and without an earlier job's sums go on from one another.
#[test]
fn attempts_go_on_whether_they_were_given_sums_or_not() {
    let (place, keep) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let task = task(&own("tickets"), text(place.path(), "rows.txt", "printer"), &recipe(4, "**", 1, 16));
    let plain = go(&task, None, None, usize::MAX, keep.path());
    let left = plain.left.unwrap();
    for (first, second) in [(Some(&left), None), (None, Some(&left)), (Some(&left), Some(&left))] {
        let keep = tempfile::tempdir().unwrap();
        let begun = go(&task, first, None, 1, keep.path());
        assert!(begun.result.is_none() && begun.checkpoint.is_some());
        let ended = go(&task, second, begun.checkpoint.as_ref(), usize::MAX, keep.path());
        assert!(ended.events.contains(&Event::Resumed { step: 1 }), "{}", ended.notes());
        assert!(ended.left.is_none(), "it has not seen all blocks");
        let result = ended.result.unwrap();
        assert!(result.0 == plain.result.as_ref().unwrap().0, "other bytes");
        assert_eq!(result.1["result"], plain.result.as_ref().unwrap().1["result"]);
    }
}

#[test]
fn the_key_is_of_what_the_sums_depend_on() {
    let place = tempfile::tempdir().unwrap();
    let rows = |word| text(place.path(), &format!("{word}.txt"), word);
    // their names differ too: a path may say what a file is
    let of = |rows, recipe: &Value| key_of(&task(&own("tickets"), rows, recipe));
    let basis = of(rows("printer"), &recipe(8, "**", 1, 16)).unwrap();
    assert_eq!(of(rows("printer"), &recipe(4, "**", 1, 16)).unwrap(), basis, "bits are none of it");
    for other in [recipe(8, "**", 2, 16), recipe(8, "**", 1, 17), recipe(8, "block.0.**", 1, 16)] {
        assert_ne!(of(rows("printer"), &other).unwrap(), basis, "{other}");
    }
    assert_ne!(of(rows("scanner"), &recipe(8, "**", 1, 16)).unwrap(), basis);
    let base = task(&own("tickets"), rows("printer"), &recipe(8, "**", 1, 16));
    let Task::Compress { model, recipe: written, plan, datasets } = base.clone() else { panic!() };
    let with = |model: &Source, datasets: &Datasets| {
        let (model, datasets) = (model.clone(), datasets.clone());
        Task::Compress { model, recipe: written.clone(), plan: plan.clone(), datasets }
    };
    let mut renamed = model.clone();
    renamed.name = "mdl_another".into();
    renamed.files.iter_mut().for_each(|file| file.location = "/elsewhere".into());
    assert_eq!(key_of(&with(&renamed, &datasets)).unwrap(), basis, "neither names nor places are of it");
    renamed.files[0].sha256 = Some("other bytes".into());
    assert_ne!(key_of(&with(&renamed, &datasets)).unwrap(), basis);
    renamed.files[0].sha256 = None;
    assert_eq!(key_of(&with(&renamed, &datasets)), None, "unknown bytes");
    assert_eq!(key_of(&with(&model, &Datasets::default())), None, "rows that are made up");
    let host = |host: &Host| key(&base, "cpu", host).unwrap().unwrap();
    assert_eq!(host(&Host { os: "a newer one".into(), ..Host::default() }), basis);
    assert_ne!(host(&Host { cpu: "another".into(), ..Host::default() }), basis);
    assert_ne!(host(&Host { binary_sha256: Some("another".into()), ..Host::default() }), basis);
    let plain = json!({ "version": 1, "stages": [{ "method": "quantize" }], "evaluate": { "metrics": [] } });
    assert_eq!(of(rows("printer"), &plain), None, "nothing is looked at");
}
