//! Heads of numbers and of tags, held against data: every number of the report beside one that is worked out here, row by row.

mod brute;
mod made;
mod over_http;
mod refused;

use pare::engine::job::{Datasets, Task};
use pare::engine::recipe::Recipe;
use pare::engine::report::Report;
use pare::engine::report::verify::State;
use pare::engine::run::verify::{Effort, Given};
use serde_json::{Value, json};

use self::brute::{entity_f1, kl, pearson, rms, spearman, token_f1};
use self::made::{Answered, LENGTH, Made};
use crate::support::engine::{model, own};
use crate::support::verified::{Told, all, dataset, differing, told, verified, with};

/// A row of a batch is summed in another order than a row alone.
const ROUNDING: f64 = 2e-4;

/// A compression to 8 bits, measured on `evaluation`, on held-out rows of `calibration`, or on random tokens.
fn int8(made: &Made, evaluation: Option<&str>, calibration: Option<&str>) -> Told {
    let recipe = json!({
        "version": 1, "stages": [{ "method": "quantize", "params": { "bits": 8 } }],
        "evaluate": { "max_seq_length": LENGTH },
    });
    let mut recipe = Recipe::parse(&recipe).unwrap();
    recipe.evaluate.metrics = Some(made.metrics(evaluation.is_some_and(|name| name.starts_with("labelled"))));
    told(|_| {
        let named = |name: Option<&str>| name.map(|name| dataset(&made.folder().join(name)));
        let datasets =
            Datasets { evaluation: named(evaluation), calibration: named(calibration), ..Datasets::default() };
        let source = model(&made.model());
        let given = Given { model: source.clone(), reference: None, artifact: None, datasets: datasets.clone() };
        (Task::Compress { model: source, recipe, plan: None, datasets }, given)
    })
}

fn document(report: &Report) -> Value {
    let document = serde_json::to_value(report).unwrap();
    let schema = std::fs::read(own("../../report.schema.json")).unwrap();
    let schema = jsonschema::draft202012::new(&serde_json::from_slice(&schema).unwrap()).unwrap();
    let errors: Vec<String> = schema.iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    document
}

fn near(document: &Value, pointer: &str, wanted: f64) {
    let found = document.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer}: {document}"));
    assert!((found - wanted).abs() <= ROUNDING * wanted.abs().max(1.0), "{pointer}: {found}, not {wanted}");
}

/// An untouched report holds; another number at one of these places is found.
fn holds(told: &Told, pointers: &[&str]) {
    for effort in [Effort::Files, Effort::Evaluate, Effort::Recompress] {
        let done = verified(&told.report, &told.given, effort);
        assert_eq!(differing(&done), [""; 0], "{effort:?}: {:?}", all(&done, State::Differs));
    }
    for pointer in pointers {
        // Its last stage is the result, and says the same
        let twin = pointer.replace("/result/after/", "/result/stages/0/");
        let document = serde_json::to_value(&told.report).unwrap();
        let lie = json!(document.pointer(pointer).and_then(Value::as_f64).unwrap() + 0.001);
        let mut lies = vec![(*pointer, lie.clone())];
        if document.pointer(&twin).is_some() {
            lies.push((twin.as_str(), lie));
        }
        let found = differing(&verified(&with(&told.report, &lies), &told.given, Effort::Evaluate));
        assert!(found.iter().any(|found| found == pointer), "{pointer}: {found:?}");
    }
}

#[test]
fn numbers_are_what_they_are_row_by_row() {
    let made = Made::regression();
    let told = int8(&made, Some("labelled.jsonl"), None);
    let found = document(&told.report);
    let (before, after) = (made.numbers(&made.model()), made.numbers(&told.folder.path().join("out")));
    for (side, answers) in [("before", &before), ("after", &after)] {
        near(&found, &format!("/result/{side}/quality/pearson/value"), pearson(answers, &made.labels()));
        near(&found, &format!("/result/{side}/quality/spearman/value"), spearman(answers, &made.labels()));
    }
    let moved = pearson(&after, &made.labels()) - pearson(&before, &made.labels());
    near(&found, "/result/after/quality_change/pearson/value", moved);
    for metric in ["pearson", "spearman"] {
        let change = &found["result"]["after"]["quality_change"][metric];
        assert_eq!((&change["test"], change["n"].as_u64()), (&json!("paired_bootstrap"), Some(made.rows() as u64)));
        assert!(
            change["low"].as_f64() <= change["value"].as_f64() && change["value"].as_f64() <= change["high"].as_f64()
        );
        assert!(change["smallest_detectable_difference"].as_f64() > Some(0.0), "{change}");
    }
    let differences: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    let centre = before.iter().sum::<f64>() / before.len() as f64;
    let deviation = rms(&before.iter().map(|x| x - centre).collect::<Vec<f64>>());
    let at = |key: &str| format!("/result/after/fidelity/numbers/{key}");
    near(&found, &at("rms_difference"), rms(&differences));
    near(&found, &at("relative_rms_difference"), rms(&differences) / deviation);
    near(&found, &at("pearson"), pearson(&before, &after));
    near(&found, &at("spearman"), spearman(&before, &after));
    near(&found, &at("floor"), 0.0);
    assert!(found.pointer(&at("rms_difference")).unwrap().as_f64() > Some(0.0), "8 bits are not 16");
    let fidelity = &found["result"]["after"]["fidelity"];
    assert_eq!((fidelity["n"].as_u64(), &fidelity["cosine"], &fidelity["kl"]), (Some(80), &Value::Null, &Value::Null));
    assert!(found["unmeasured"]["/result/after/fidelity/cosine"].as_str().unwrap().contains("see numbers"));
    let summary = &told.report.result.verdict.summary;
    assert!(summary.contains("Pearson's correlation ") && !summary.contains("points"), "{summary}");
    let protocol = &told.report.provenance.protocol.as_ref().unwrap().description;
    assert!(protocol.starts_with("the number that the model answers with"), "{protocol}");
    holds(&told, &["/result/after/quality/spearman/value", "/result/after/fidelity/numbers/rms_difference"]);
}

fn check_tags(made: &Made) -> Told {
    let told = int8(made, Some("labelled.jsonl"), None);
    let found = document(&told.report);
    let (before, after) = (made.tagged(&made.model()), made.tagged(&told.folder.path().join("out")));
    for (side, answers) in [("before", &before), ("after", &after)] {
        near(&found, &format!("/result/{side}/quality/token_f1/value"), token_f1(&made.right(), &answers.names));
        near(&found, &format!("/result/{side}/quality/entity_f1/value"), entity_f1(&made.right(), &answers.names));
    }
    let change = &found["result"]["after"]["quality_change"]["entity_f1"];
    assert_eq!((&change["test"], change["n"].as_u64()), (&json!("paired_bootstrap"), Some(made.rows() as u64)));
    let words: usize = before.names.iter().map(Vec::len).sum();
    let same = before.names.iter().flatten().zip(after.names.iter().flatten()).filter(|(a, b)| a == b).count();
    near(&found, "/result/after/fidelity/top1_agreement/value", same as f64 / words as f64);
    let mean = |both: Vec<f64>| both.iter().sum::<f64>() / both.len() as f64;
    let divergences = before.logits.iter().zip(&after.logits).map(|(p, q)| kl(p, q)).collect();
    near(&found, "/result/after/fidelity/kl/mean", mean(divergences));
    let fidelity = &found["result"]["after"]["fidelity"];
    assert_eq!((fidelity["n"].as_u64(), &fidelity["unit"]), (Some(words as u64), &json!("word")));
    assert!(fidelity["kl"]["mean"].as_f64() > Some(0.0) && fidelity["kl"]["floor"].as_f64() == Some(0.0), "{fidelity}");
    told
}

#[test]
fn tags_are_read_at_the_first_token_of_every_word() {
    let made = Made::tags();
    let told = check_tags(&made);
    let summary = &told.report.result.verdict.summary;
    assert!(summary.contains("Entity-F1 ") && summary.contains('%'), "{summary}");
    let protocol = &told.report.provenance.protocol.as_ref().unwrap().description;
    let left_out = made.words() - made.right().iter().map(Vec::len).sum::<usize>();
    assert!(left_out > 0, "some rows are longer than the cut");
    assert!(protocol.contains(&format!("{left_out} of {} words have no token there", made.words())), "{protocol}");
    holds(&told, &["/result/after/quality/entity_f1/value", "/result/after/fidelity/kl/mean"]);
}

#[test]
fn tags_go_by_their_names_not_by_their_order() {
    let shuffled = Made::tags_shuffled();
    let told = check_tags(&shuffled);
    let plain = int8(&Made::tags(), Some("labelled.jsonl"), None);
    let f1 = |told: &Told| told.report.result.before.as_ref().unwrap().quality.as_ref().unwrap()["token_f1"].value;
    assert!((f1(&told) - f1(&plain)).abs() > 0.05, "other names of the same answers are right elsewhere");
}

#[test]
fn without_labels_there_is_fidelity_all_the_same() {
    for made in [Made::regression(), Made::tags()] {
        for (evaluation, calibration, on) in [
            (Some("plain.txt"), None, "evaluation"),
            (None, Some("plain.txt"), "held_out_calibration"),
            (None, None, "vocabulary"),
        ] {
            let told = int8(&made, evaluation, calibration);
            let found = document(&told.report);
            let after = &found["result"]["after"];
            assert_eq!((&after["fidelity"]["measured_on"], &after["quality"]), (&json!(on), &Value::Null));
            let (number, unit) = if made.is_regression() {
                ("/result/after/fidelity/numbers/relative_rms_difference", Value::Null)
            } else {
                ("/result/after/fidelity/kl/mean", json!("token"))
            };
            assert!(found.pointer(number).unwrap().as_f64() > Some(0.0), "{on}");
            assert_eq!(after["fidelity"]["unit"], unit);
            let wanted = if made.is_regression() { "standard deviation of the original's" } else { " tokens." };
            assert!(told.report.result.verdict.summary.contains(wanted), "{}", told.report.result.verdict.summary);
            let why = found["unmeasured"]["/result/after/quality"].as_str().unwrap();
            assert_eq!(why, "no labelled evaluation data was given");
            if on == "vocabulary" {
                holds(&told, &[number]);
            }
        }
    }
}

#[test]
fn every_token_of_a_text_counts_but_special_ones() {
    let made = Made::tags();
    let told = int8(&made, Some("plain.txt"), None);
    let Answered { logits: before, .. } = made.texts(&made.model());
    let Answered { logits: after, .. } = made.texts(&told.folder.path().join("out"));
    let found = document(&told.report);
    assert_eq!(found["result"]["after"]["fidelity"]["n"].as_u64(), Some(before.len() as u64));
    let mean = before.iter().zip(&after).map(|(p, q)| kl(p, q)).sum::<f64>() / before.len() as f64;
    near(&found, "/result/after/fidelity/kl/mean", mean);
}
