use std::path::Path;

use super::*;
use crate::engine::export::verify::input;
use crate::engine::model::inspect::inspect;
use crate::engine::model::spec::Pooling;

/// Our own classifier's header.
fn classifier() -> ModelHeader {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tickets");
    let files = ["config.json", "model.safetensors", "tokenizer.json"].map(|name| input(&folder, name).unwrap());
    inspect(&files).unwrap().0.header
}

fn embedder() -> ModelHeader {
    let mut header = classifier();
    if let Some(spec) = &mut header.spec {
        spec.head = Head::Embedding { pooling: Pooling::Mean, normalize: true };
    }
    header
}

fn rows(target: Target, has_numbers: bool) -> Available {
    Available {
        evaluation_rows: Some(10),
        evaluation_target: target,
        evaluation_has_numbers: has_numbers,
        ..Available::default()
    }
}

fn asked(metrics: &[&str], header: &ModelHeader, available: &Available) -> Result<Vec<String>, Vec<Problem>> {
    let metrics: Vec<String> = metrics.iter().map(|metric| (*metric).to_owned()).collect();
    chosen(Some(&metrics), header, available)
}

#[test]
fn all_that_apply_are_measured_where_nothing_is_asked_for() {
    let default = |header: &ModelHeader, available: &Available| chosen(None, header, available).unwrap();
    let labelled = rows(Target::Class, false);
    assert_eq!(default(&classifier(), &labelled), ["accuracy", "macro_f1", "mcc", "fidelity", "latency"]);
    for available in [Available::default(), rows(Target::None, false), rows(Target::Tags, false)] {
        assert_eq!(default(&classifier(), &available), ["fidelity", "latency"]);
    }
    assert_eq!(default(&embedder(), &labelled), ["fidelity", "latency"]);
    let mut weights = classifier();
    weights.spec = None;
    assert!(default(&weights, &labelled).is_empty());
}

#[test]
fn numbers_and_tags_have_metrics_of_their_own() {
    let with = |head: Head| {
        let mut header = classifier();
        if let Some(spec) = &mut header.spec {
            spec.head = head;
        }
        header
    };
    let tagger = |labels: &[&str]| {
        with(Head::TokenClassification { labels: labels.iter().map(|label| (*label).to_owned()).collect() })
    };
    let default = |header: &ModelHeader, available: &Available| chosen(None, header, available).unwrap();
    let numbers = ["pearson", "spearman", "fidelity", "latency"];
    assert_eq!(default(&with(Head::Regression), &rows(Target::Regression, true)), numbers);
    assert_eq!(default(&with(Head::Regression), &rows(Target::Class, true)), numbers, "whole numbers are numbers");
    assert_eq!(default(&with(Head::Regression), &rows(Target::None, false)), ["fidelity", "latency"]);
    let entities = tagger(&["O", "B-PER", "I-PER"]);
    let tagged = rows(Target::Tags, false);
    assert_eq!(default(&entities, &tagged), ["token_f1", "entity_f1", "fidelity", "latency"]);
    let parts = tagger(&["NOUN", "VERB"]);
    assert_eq!(default(&parts, &tagged), ["token_f1", "fidelity", "latency"], "such tags spell no entities");
    let problems = asked(&["entity_f1"], &parts, &tagged).unwrap_err();
    assert!(problems[0].code == Code::OutOfRange && problems[0].detail.contains("ask for token_f1"), "{problems:?}");
}

#[test]
fn what_is_asked_for_is_kept_in_its_order() {
    let found = asked(&["latency", "mcc"], &classifier(), &rows(Target::Class, true)).unwrap();
    assert_eq!(found, ["latency", "mcc"]);
    assert!(asked(&[], &classifier(), &Available::default()).unwrap().is_empty());
}

#[test]
fn what_does_not_apply_is_refused_with_a_hint() {
    let mut weights = classifier();
    weights.spec = None;
    let labelled = rows(Target::Class, true);
    let none = Available::default();
    for (metric, header, available, code, hint) in [
        ("pearson", classifier(), labelled, Code::OutOfRange, "ask for accuracy, macro_f1, mcc, fidelity, latency"),
        ("token_f1", classifier(), labelled, Code::OutOfRange, "answer with a tag a word"),
        ("mcc", embedder(), labelled, Code::OutOfRange, "ask for fidelity, latency"),
        ("mcc", classifier(), none, Code::DataMissing, "no evaluation data was given"),
        ("accuracy", classifier(), rows(Target::None, false), Code::DataMissing, "the evaluation rows have none"),
        ("macro_f1", classifier(), rows(Target::Regression, true), Code::DataMissing, "numbers with a fraction"),
        ("fidelity", weights, labelled, Code::UnsupportedModel, "leave 'metrics' out"),
    ] {
        let problems = asked(&["latency", metric][usize::from(header.spec.is_none())..], &header, &available);
        let problems = problems.unwrap_err();
        let at = usize::from(header.spec.is_some());
        assert_eq!((problems.len(), problems[0].code), (1, code), "{metric}: {problems:?}");
        assert_eq!(problems[0].pointer, format!("/evaluate/metrics/{at}"));
        assert!(problems[0].detail.contains(hint), "{}", problems[0]);
    }
    let problems = asked(&["mcc", "pearson", "latency"], &classifier(), &none).unwrap_err();
    assert_eq!(problems.len(), 2, "all at once: {problems:?}");
}
