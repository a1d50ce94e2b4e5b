//! Against scikit-learn, scipy and seqeval: `scripts/goldens/metrics.py`.

use serde_json::Value;

use super::*;

/// Both sides compute in 64 bits; sums of a few hundred terms differ in their last digits.
const TOLERANCE: f64 = 1e-12;

fn cases(kind: &str) -> Vec<Value> {
    let text = include_str!("../../../../../tests/goldens/metrics.json");
    let cases: Value = serde_json::from_str(text).unwrap();
    cases[kind].as_array().unwrap().clone()
}

fn list<T: serde::de::DeserializeOwned>(case: &Value, name: &str) -> Vec<T> {
    serde_json::from_value(case[name].clone()).unwrap()
}

fn check(found: &Quality, case: &Value, metrics: &[&str]) {
    for metric in metrics {
        let expected = case[*metric].as_f64();
        let value = found.get(*metric).map(|estimate| estimate.value);
        let near = match (value, expected) {
            (Some(value), Some(expected)) => (value - expected).abs() <= TOLERANCE,
            (value, expected) => value == expected,
        };
        assert!(near, "{metric}: {value:?} against {expected:?} of {case}");
    }
}

#[test]
fn classes_are_scored_as_scikit_learn_does() {
    for case in cases("classes") {
        let (labels, predicted): (Vec<usize>, Vec<usize>) = (list(&case, "labels"), list(&case, "predicted"));
        let count = case["classes"].as_u64().unwrap() as usize;
        check(&classification(&answers(&predicted, count), &labels, count).unwrap(), &case, OF_CLASSES);
    }
}

#[test]
fn numbers_are_scored_as_scipy_does() {
    for case in cases("numbers") {
        let scores = Scores { width: 1, values: list(&case, "answers") };
        check(&regression(&scores, &list::<f64>(&case, "targets")).unwrap(), &case, OF_NUMBERS);
    }
}

#[test]
fn tags_are_scored_as_scikit_learn_and_seqeval_do() {
    for case in cases("tags") {
        let names: Vec<String> = list(&case, "names");
        let (tagged, answered): (Vec<Vec<String>>, Vec<Vec<String>>) = (list(&case, "tags"), list(&case, "answers"));
        let index = |tag: &String| names.iter().position(|name| name == tag).unwrap();
        let flat = |rows: &[Vec<String>]| -> Vec<usize> { rows.iter().flatten().map(index).collect() };
        let words: Vec<usize> = tagged.iter().map(Vec::len).collect();
        let right = flat(&tagged);
        let of = Tagged { tags: &right, words: &words, names: &names };
        check(&tags(&answers(&flat(&answered), names.len()), of).unwrap(), &case, OF_TAGS);

        let Some(expected) = case.get("entities") else { continue };
        let expected: Vec<Vec<(String, usize, usize)>> = serde_json::from_value(expected.clone()).unwrap();
        for (row, expected) in tagged.iter().zip(expected) {
            let found = entities(row.iter().map(String::as_str));
            let found: Vec<_> = found.iter().map(|one| (one.kind.to_owned(), one.first, one.last)).collect();
            assert_eq!(found, expected, "{row:?}");
        }
    }
}
