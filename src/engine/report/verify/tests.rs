use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::report::sample::{alone, compressed, embedding, without_labels};
use crate::engine::report::{Provenance, Report};

/// A sample whose numbers follow from one another: the samples' own are only near.
fn sound(report: &Report) -> Report {
    let mut report = own::again(report);
    report.explain().unwrap();
    report
}

fn changed(report: &Report, pointer: &str, value: Value) -> Report {
    let mut document = serde_json::to_value(report).unwrap();
    *document.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    serde_json::from_value(document).unwrap()
}

fn pointers(report: &Report) -> Vec<String> {
    own(report).into_iter().flat_map(|check| check.differences).map(|difference| difference.pointer).collect()
}

#[test]
fn a_sound_report_follows_from_itself() {
    for report in [compressed(), without_labels(), alone(), embedding()] {
        let report = sound(&report);
        assert_eq!(own::again(&report), own::again(&own::again(&report)));
        for check in own(&report) {
            assert_eq!(check.state, State::Ok, "{check:?}");
        }
    }
}

#[test]
fn a_number_that_does_not_follow_from_the_others_is_found() {
    let report = sound(&compressed());
    let cases = [
        ("/result/after/bits_per_weight", json!(4.0)),
        ("/result/after/ratio_to_stored", json!(3.0)),
        ("/result/after/ratio_to_f32", json!(3.0)),
        ("/result/after/quality/accuracy/low", json!(0.8)),
        ("/result/before/quality/accuracy/value", json!(0.849_01)),
        ("/result/after/quality_change/accuracy/p_value", json!(0.04)),
        ("/result/after/quality_change/accuracy/high", json!(0.1)),
        ("/result/after/fidelity/top1_agreement/high", json!(0.99)),
        ("/result/stages/1/fidelity/kl/mean", json!(0.001)),
        ("/result/stages/0/size_bytes", json!(1)),
        ("/result/stages/0/parameters", json!(1)),
        ("/result/sites/4/sqnr_db", json!(60.0)),
        ("/result/fallbacks", json!([])),
        ("/result/verdict/summary", json!("It is as good as before.")),
        ("/provenance/recipe_sha256", json!("0".repeat(64))),
        ("/provenance/seed", json!(7)),
        ("/provenance/protocol/max_seq_length", json!(64)),
        ("/measurements/predicted/size_bytes", json!(1)),
    ];
    for (pointer, value) in cases {
        let found = pointers(&changed(&report, pointer, value));
        assert!(found.iter().any(|found| found.starts_with(pointer)), "{pointer}: {found:?}");
    }
}

#[test]
fn sums_and_reasons_are_part_of_it() {
    let report = changed(&sound(&compressed()), "/result/bytes_by_category/mlp/after", json!(1));
    let check = own(&report).remove(0);
    assert_eq!(check.state, State::Differs);
    assert!(check.why.unwrap().contains("/result/bytes_by_category sums to"));
}

#[test]
fn numbers_out_of_all_bounds_are_differences_and_no_panic() {
    let report = sound(&compressed());
    for (pointer, value) in [
        ("/result/after/quality_change/accuracy/discordant/original_only", json!(u64::MAX)),
        ("/result/after/quality_change/accuracy/n", json!(0)),
        ("/result/before/quality/accuracy/value", json!(-1e300)),
        ("/result/before/quality/accuracy/n", json!(u64::MAX)),
        ("/result/after/size_bytes", json!(u64::MAX)),
        ("/result/bytes_by_category/mlp/before", json!(u64::MAX)),
        ("/result/sites/0/after_bytes", json!(u64::MAX)),
        ("/result/sites/0/relative_error", json!(-1e-300)),
        ("/provenance/threads", json!(u64::MAX)),
    ] {
        let report = changed(&report, pointer, value);
        let differs = own(&report).iter().any(|check| check.state == State::Differs);
        assert!(differs || pointer == "/provenance/threads", "{pointer}");
    }
}

#[allow(clippy::needless_pass_by_value)] // so that calls are short
fn near(pointer: &str, reported: Value, found: Value) -> bool {
    compare(pointer, Some(&reported), Some(&found), Precision::Near, &[]).differences.is_empty()
}

#[test]
fn the_tolerance_is_what_it_says() {
    let quality = |value: f64| json!({ "accuracy": { "value": value, "n": 100, "p_value": value } });
    // 0.005 and two rows of a hundred
    assert!(near("/result/after/quality", quality(0.8), quality(0.824)));
    assert!(!near("/result/after/quality", quality(0.8), quality(0.826)));
    assert!(near("/kl/mean", json!(1e-3), json!(1.009e-3)) && !near("/kl/mean", json!(1e-3), json!(1.02e-3)));
    assert!(near("/kl/mean", json!(0.0), json!(9e-7)) && !near("/kl/mean", json!(0.0), json!(2e-6)));
    assert!(near("/sqnr_db", json!(30.0), json!(30.09)) && !near("/sqnr_db", json!(30.0), json!(30.2)));
    assert!(!near("/size_bytes", json!(1_000_000), json!(1_000_001)) && !near("/site", json!("a"), json!("b")));
    let exact = |pointer: &str, a: f64, b: f64| {
        compare(pointer, Some(&json!(a)), Some(&json!(b)), Precision::Exact, &[]).differences.is_empty()
    };
    assert!(exact("/relative_error", 0.1, 0.100_000_5) && !exact("/relative_error", 0.1, 0.100_01));
    assert!(exact("/kl/mean", 0.1, 0.1) && !exact("/kl/mean", 0.1, 0.100_000_000_1));
    let rows = |n: u64| json!({ "discordant": { "original_only": n } });
    assert!(near("/change", rows(30), rows(33)) && !near("/change", rows(30), rows(34)));
}

#[test]
fn values_are_found_by_their_pointers_or_left_out() {
    let reported = json!({ "a": [{ "x": 1, "y": 2 }, { "x": 3 }], "b/c": null });
    let found = json!({ "a": [{ "x": 2, "y": 5 }], "b/c": 1, "d": 1 });
    let differ = |leave_out: &[&str]| -> Vec<String> {
        let found = compare("/p", Some(&reported), Some(&found), Precision::Exact, leave_out);
        found.differences.into_iter().map(|difference| difference.pointer).collect()
    };
    assert_eq!(differ(&[]), ["/p/a/0/x", "/p/a/0/y", "/p/a/1", "/p/b~1c", "/p/d"]);
    assert_eq!(differ(&["/p/a/*/x", "/p/d"]), ["/p/a/0/y", "/p/a/1", "/p/b~1c"]);
    assert_eq!(differ(&["/p/*"]), [""; 0]);
    let many = |n: u64| json!((0..200).map(|i| i * n).collect::<Vec<u64>>());
    let found = compare("", Some(&many(1)), Some(&many(2)), Precision::Exact, &[]);
    assert_eq!((found.compared, found.differences.len(), found.left_out), (200, MOST_DIFFERENCES, 149));
}

#[test]
fn equality_is_asked_for_under_equal_conditions_alone() {
    let reported = compressed().provenance;
    let basis = |change: &dyn Fn(&mut Provenance)| {
        let mut here = reported.clone();
        change(&mut here);
        Basis::between(&reported, &here)
    };
    assert_eq!(basis(&|_| {}).precision, Precision::Exact);
    assert_eq!(basis(&|here| here.host.binary_sha256 = None).precision, Precision::Exact);
    let other = basis(&|here| here.host.instruction_set = "x86_64 avx2 fma avx512".into());
    assert_eq!(other.precision, Precision::Near);
    assert!(other.why.starts_with("the instruction set is not the report's") && other.why.contains(TOLERANCE));
    for change in [
        &(|here: &mut Provenance| here.threads += 1) as &dyn Fn(&mut Provenance),
        &|here| here.pare_version = "9".into(),
        &|here| here.host.cpu = "another".into(),
        &|here| here.device = "cuda".into(),
    ] {
        assert_eq!(basis(change).precision, Precision::Near);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bytes that were changed, left out or doubled make another report or problems, and never a panic.
    #[test]
    fn any_damage_is_a_report_or_problems(at in 0.0..1.0_f64, length in 0..40_usize, put in "[0-9eE.,:{}\\[\\]\"-]{0,6}") {
        let text = String::from_utf8(compressed().finish().unwrap()).unwrap();
        let start = (at * text.len() as f64) as usize;
        let end = (start + length).min(text.len());
        let damaged = [&text.as_bytes()[..start], put.as_bytes(), &text.as_bytes()[end..]].concat();
        match Report::read(&damaged) {
            Ok(report) => drop(own(&report)),
            Err(problems) => prop_assert!(!problems.is_empty() && problems.iter().all(|p| p.detail.len() < 400)),
        }
    }
}
