use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::sample::{alone, compressed, embedding, table, without_labels};
use super::*;
use crate::engine::evaluate::statistics::Interval;

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("report.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
});

fn all() -> [(&'static str, Report); 5] {
    [
        ("compressed", compressed()),
        ("without labels", without_labels()),
        ("alone", alone()),
        ("embedding", embedding()),
        ("table", table()),
    ]
}

fn finished(mut report: Report) -> Value {
    serde_json::from_slice(&report.finish().unwrap()).unwrap()
}

fn schema_errors(document: &Value) -> Vec<String> {
    SCHEMA.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn every_kind_of_report_is_complete_and_fits_the_schema() {
    for (name, report) in all() {
        let document = finished(report.clone());
        assert_eq!(schema_errors(&document), Vec::<String>::new(), "{name}");
        let again: Report = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), document, "{name} reads back");
    }
}

#[test]
fn the_top_has_exactly_its_keys_in_order() {
    let document = finished(compressed());
    let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["version", "model", "recipe", "plan", "result", "measurements", "provenance", "unmeasured"]);
}

#[test]
fn a_null_without_a_reason_is_refused_by_check_and_schema() {
    for pointer in [
        "/result/probes",
        "/result/probes/long_range/change",
        "/result/probes/long_range/quartiles/3/quality",
        "/result/probes/positions/worth/ratio",
        "/result/probes/head_balance/layers/2/original",
        "/result/after/quality",
        "/result/after/fidelity",
        "/result/after/fidelity/kl",
        "/result/stages/0/quality",
        "/result/sites/3/relative_error",
        "/measurements/latency",
        "/provenance/host/binary_sha256",
    ] {
        let mut document = finished(compressed());
        *document.pointer_mut(pointer).unwrap() = Value::Null;
        let unmeasured = document["unmeasured"].as_object_mut().unwrap();
        unmeasured.retain(|key, _| !pointer.starts_with(key.as_str()));
        assert!(!schema_errors(&document).is_empty(), "the schema takes a null at {pointer}");
        let report: Report = serde_json::from_value(document).unwrap();
        let wrong = report.check().unwrap_err();
        assert!(wrong.iter().any(|wrong| wrong.starts_with(pointer)), "{pointer}: {wrong:?}");
    }
}

#[test]
fn what_was_measured_needs_no_reason_and_what_was_not_cannot_do_without() {
    let mut report = compressed();
    report.measurements.latency = None;
    let Err(ReportError::Incomplete(wrong)) = report.finish() else { panic!("it was accepted") };
    assert_eq!(wrong, ["/measurements/latency is null without a reason in unmeasured"]);
    report.unmeasured("/measurements/latency", "not asked for").finish().unwrap();
    report.unmeasured("/measurements/compression", "it is there");
    assert_eq!(report.check().unwrap_err().len(), 1, "a reason where nothing is null");
    report.unmeasured.remove("/measurements/compression");
    report.unmeasured("/measurements/latency", " ");
    assert_eq!(report.check().unwrap_err(), ["the reason for /measurements/latency in unmeasured is empty"]);
}

#[test]
fn a_reason_covers_what_is_below_it_and_not_its_neighbours() {
    let mut report = compressed();
    report.explain().unwrap();
    report.unmeasured.retain(|pointer, _| !pointer.starts_with("/result/sites/"));
    assert!(report.check().is_err());
    report.unmeasured("/result/site", "a neighbour");
    assert!(report.check().unwrap_err().iter().any(|wrong| wrong.contains("/result/sites/0/rank")));
    report.unmeasured.remove("/result/site");
    report.unmeasured("/result/sites", "a parent").check().unwrap();
}

#[test]
fn settings_may_be_null_and_pointers_are_escaped() {
    let mut report = compressed();
    report.recipe.as_mut().unwrap().stages[0].params.insert("a/b~c".into(), Value::Null);
    let document = finished(report);
    assert!(document["unmeasured"]["/recipe/stages/0/params/a~1b~0c"].is_string());
    assert!(document["unmeasured"]["/recipe/stages/1/params/group_size"].is_string());
}

#[test]
fn a_model_measured_against_another_needs_no_errors_site_by_site() {
    let mut report = alone();
    report.result.before = compressed().result.before;
    report.result.bytes_by_category = compressed().result.bytes_by_category;
    report.result.probes = compressed().result.probes;
    report.result.after = compressed().result.after;
    report.result.verdict = compressed().result.verdict;
    report.measurements.latency = compressed().measurements.latency;
    let document = finished(report);
    assert_eq!(schema_errors(&document), Vec::<String>::new());
    let reason =
        |key: &str| document["unmeasured"][format!("/result/sites/0/{key}")].as_str().unwrap_or("none").to_owned();
    assert!(reason("relative_error").contains("measured as it is"));
    assert!(reason("before_bytes").contains("no such site"));
}

#[test]
fn numbers_that_are_not_finite_are_refused_even_with_a_reason() {
    for bad in [f64::NAN, f64::INFINITY] {
        let mut report = compressed();
        report.result.after.bits_per_weight = Some(bad);
        report.unmeasured("/result/after/bits_per_weight", "a reason");
        assert!(matches!(report.finish(), Err(ReportError::NotFinite(_))));
        assert!(report.check().is_err());
    }
}

#[test]
fn sums_are_checked_to_the_byte() {
    for (side, change) in [("after", 1), ("before", 1)] {
        let mut report = compressed();
        let bytes = report.result.bytes_by_category.get_mut(&crate::engine::model::Category::Mlp).unwrap();
        if side == "after" {
            bytes.after += change;
        } else {
            bytes.before = bytes.before.map(|before| before + change);
        }
        let wrong = report.finish().unwrap_err().to_string();
        assert!(wrong.contains("/result/bytes_by_category") && wrong.contains(side), "{wrong}");
    }
}

#[test]
fn the_result_is_the_same_bytes_whatever_the_clock_says() {
    let (first, mut second) = (compressed(), compressed());
    second.measurements.compression.as_mut().unwrap().wall_seconds *= 2.0;
    second.provenance.host.cpu = "another".into();
    assert_eq!(serde_json::to_vec(&first.result).unwrap(), serde_json::to_vec(&second.result).unwrap());
}

#[test]
fn ratios_follow_their_formulas() {
    let before = Before { size_bytes: 2_000, total_bytes: 2_100, parameters: 1_000, quality: None };
    let after = After::new(Some(&before), 500, 600, 900);
    assert_eq!((after.bits_per_weight, after.ratio_to_stored, after.ratio_to_f32), (Some(4.0), Some(4.0), Some(8.0)));
    let empty = After::new(Some(&Before { size_bytes: 0, parameters: 0, ..before }), 0, 0, 0);
    assert_eq!((empty.bits_per_weight, empty.ratio_to_stored, empty.ratio_to_f32), (None, None, None));
}

#[test]
fn sqnr_follows_from_the_relative_error() {
    let site = compressed().result.sites[0].clone();
    // A tenth of the norm is a hundredth of the power: 20 dB.
    assert!((site.clone().with_error(0.1).sqnr_db.unwrap() - 20.0).abs() < 1e-12);
    assert_eq!(site.with_error(0.0).sqnr_db, None);
}

#[test]
fn the_verdict_says_what_happened() {
    let report = compressed();
    let verdict = &report.result.verdict;
    assert_eq!(
        verdict.summary,
        "45.5 MB became 12.4 MB, 3.65 times smaller. Accuracy fell by 0.65 points to 84.20% (95% interval -1.33 to \
         +0.03, n = 2000), a difference that chance can explain."
    );
    assert_eq!(verdict.change.map(|Interval { value, .. }| value), Some(-0.0065));
    assert_eq!(verdict.reference_floor.unwrap().below, Some(false));
    let low = Verdict::new(report.result.before.as_ref(), &report.result.after, Some(0.9));
    assert!(low.summary.ends_with("It is below the reference floor of 90.00%: a trivial baseline does better."));
    assert_eq!(low.reference_floor.unwrap().below, Some(true));
    assert!(without_labels().result.verdict.summary.contains("Task quality was not measured"));
    assert!(embedding().result.verdict.summary.contains("mean cosine of 0.9983"));
    assert!(alone().result.verdict.summary.starts_with("The weights take 12.4 MB. Accuracy is 84.20% on 2000 rows."));
}

#[test]
fn defaults_are_what_the_plan_has_and_the_recipe_has_not() {
    let defaults = compressed().provenance.resolved_defaults;
    let expected = [
        ("/plan/evaluate/metrics", json!(["accuracy", "fidelity", "latency"])),
        ("/plan/stages/0/params/objective", json!("plain")),
        ("/plan/stages/1/params/symmetric", json!(false)),
    ];
    assert_eq!(defaults, expected.map(|(pointer, value)| (pointer.to_owned(), value)).into());
}

/// The sample as it stands in `tests/fixtures/report`, for tests of what reads reports.
fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/report").join(name)
}

#[test]
fn the_fixtures_are_what_is_written_today() {
    for (name, mut report) in all() {
        let path = fixture(&format!("{}.json", name.replace(' ', "-")));
        let written = std::fs::read(&path).unwrap_or_default();
        assert!(
            report.finish().unwrap() == written,
            "{} is out of date: cargo test --lib report::tests::write -- --ignored",
            path.display()
        );
    }
}

#[test]
#[ignore = "writes the fixtures"]
fn write_the_fixtures() {
    for (name, mut report) in all() {
        std::fs::write(fixture(&format!("{}.json", name.replace(' ', "-"))), report.finish().unwrap()).unwrap();
    }
}
