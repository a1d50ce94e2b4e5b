use super::*;

fn metric(predicted: &[usize], labels: &[usize], n_labels: usize, name: &str) -> Estimate {
    classification(&answers(predicted, n_labels), labels, n_labels).unwrap()[name]
}

#[test]
fn macro_f1_leaves_out_classes_that_do_not_occur() {
    // Class 0: tp 1, fp 1, fn 1 → 1/2. Class 1: tp 1, fp 0, fn 1 → 2/3. Class 2: predicted once, never right → 0.
    // Class 3 does not occur. sklearn.metrics.f1_score(labels, predicted, average='macro') = 7/18.
    let (labels, predicted) = ([0, 1, 1, 0], [0, 1, 0, 2]);
    let f1 = metric(&predicted, &labels, 4, MACRO_F1);
    let expected = (2.0 / 4.0 + 2.0 / 3.0 + 0.0) / 3.0;
    assert!((f1.value - expected).abs() < 1e-15, "{f1:?}");
    assert_eq!(metric(&predicted, &labels, 4, ACCURACY).value, 0.5);
}

#[test]
fn perfect_answers_are_perfect() {
    let labels = [0, 1, 2, 1];
    for name in [ACCURACY, MACRO_F1, MCC] {
        let estimate = metric(&labels, &labels, 3, name);
        assert_eq!((estimate.value, estimate.high, estimate.n), (1.0, 1.0, 4));
    }
    assert_eq!(metric(&labels, &labels, 3, MACRO_F1).low, 1.0);
}

#[test]
fn real_logits_give_what_scikit_learn_gives() {
    let Some((scores, labels, n_labels)) = fixture::minilm() else { return };
    let quality = classification(&scores, &labels, n_labels).unwrap();
    // accuracy_score and f1_score(average='macro') of scikit-learn on the same 512 rows.
    assert_eq!(quality[ACCURACY].value, 0.84375);
    assert!((quality[MACRO_F1].value - 0.816_131_975_687_216_1).abs() < 1e-12);
    assert!(quality[MACRO_F1].low < quality[MACRO_F1].value && quality[MACRO_F1].value < quality[MACRO_F1].high);

    let result = fixture::rounded(&scores, 3.0);
    let change = change(&scores, &result, &labels, n_labels).unwrap();
    let accuracy = change[ACCURACY];
    assert_eq!(accuracy.discordant, Some(Discordant { original_only: 33, result_only: 12 }));
    assert!((accuracy.value - (12.0 - 33.0) / 512.0).abs() < 1e-15);
    assert!((change[MACRO_F1].value - (0.704_955_381_248_231_1 - 0.816_131_975_687_216_1)).abs() < 1e-12);
    assert!(change[MACRO_F1].high < 0.0 && change[MACRO_F1].p_value < 0.01);
}

#[test]
fn accuracy_change_follows_its_formula() {
    // b = 2, c = 1 of 10: SE = √(3 - 1/10) / 10.
    let labels = [0; 10];
    let before = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    let after = [1, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    let change = change(&answers(&before, 2), &answers(&after, 2), &labels, 2).unwrap()[ACCURACY];
    let error = (3.0 - 0.1_f64).sqrt() / 10.0;
    assert!((change.value + 0.1).abs() < 1e-15);
    assert!((change.high - (change.value + 1.959_963_984_540_054 * error)).abs() < 1e-12);
    assert!((change.smallest_detectable_difference - 0.6).abs() < 1e-12, "six rows are needed: {change:?}");
    assert_eq!((change.p_value, change.test), (1.0, Test::McnemarExact));
}

#[test]
fn nothing_changes_between_equal_models() {
    let labels: Vec<usize> = (0..60).map(|row| row % 3).collect();
    let answered: Vec<usize> = (0..60).map(|row| if row % 7 == 0 { 0 } else { row % 3 }).collect();
    let model = answers(&answered, 3);
    for (name, change) in change(&model, &model, &labels, 3).unwrap() {
        assert_eq!((change.value, change.low, change.high, change.p_value), (0.0, 0.0, 0.0, 1.0), "{name}");
    }
}

#[test]
fn the_bootstrap_is_repeatable() {
    let labels: Vec<usize> = (0..200).map(|row| row % 4).collect();
    let answered: Vec<usize> = (0..200).map(|row| row * row % 4).collect();
    let model = answers(&answered, 4);
    assert_eq!(classification(&model, &labels, 4).unwrap(), classification(&model, &labels, 4).unwrap());
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    let model = answers(&[0, 1], 2);
    assert!(classification(&model, &[0], 2).is_err(), "a label is missing");
    assert!(classification(&model, &[0, 2], 2).is_err(), "there is no class 2");
    assert!(classification(&model, &[0, 1], 3).is_err(), "the logits have two classes");
    assert!(change(&model, &answers(&[0, 1], 3), &[0, 1], 2).is_err());
}

/// Pearson's correlation of one-hot labels and answers, over all rows and classes: Gorodkin's definition, each column
/// with its own mean.
fn mcc_by_its_definition(predicted: &[usize], labels: &[usize], n_labels: usize) -> f64 {
    let n = labels.len() as f64;
    let covariance = |a: &[usize], b: &[usize]| -> f64 {
        let of = |class: usize| {
            let share = |rows: &[usize]| rows.iter().filter(|row| **row == class).count() as f64 / n;
            let (mean_a, mean_b) = (share(a), share(b));
            let each =
                a.iter().zip(b).map(|(a, b)| (f64::from(*a == class) - mean_a) * (f64::from(*b == class) - mean_b));
            each.sum::<f64>()
        };
        (0..n_labels).map(of).sum()
    };
    covariance(predicted, labels) / (covariance(predicted, predicted) * covariance(labels, labels)).sqrt()
}

#[test]
fn mcc_is_the_correlation_of_labels_and_answers() {
    for (seed, n_labels) in [(1, 2), (2, 3), (3, 7), (4, 20)] {
        let (labels, predicted) = (drawn(150, n_labels, seed), drawn(150, n_labels, seed + 50));
        let expected = mcc_by_its_definition(&predicted, &labels, n_labels);
        let found = metric(&predicted, &labels, n_labels, MCC);
        assert!((found.value - expected).abs() < 1e-12, "{n_labels} classes: {found:?} against {expected}");
        assert!(found.low <= found.value && found.value <= found.high);
        // It is the same whichever of the two is the answer
        assert!((metric(&labels, &predicted, n_labels, MCC).value - expected).abs() < 1e-12);
    }
    // Of two classes: √χ²/n, here from the four counts. (6·3 - 1·2) / √(7·8·4·5)
    let labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1];
    let predicted = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0];
    let expected = (6.0 * 3.0 - 2.0 * 1.0) / (7.0_f64 * 8.0 * 4.0 * 5.0).sqrt();
    assert!((metric(&predicted, &labels, 2, MCC).value - expected).abs() < 1e-12);
    // One answer to everything says nothing
    assert_eq!(metric(&[1; 12], &labels, 2, MCC).value, 0.0);
}

#[test]
fn mcc_changes_with_the_answers() {
    let labels = drawn(300, 4, 7);
    let spoiled = |every: usize| -> Vec<usize> {
        labels.iter().enumerate().map(|(row, label)| if row % every == 0 { (label + 1) % 4 } else { *label }).collect()
    };
    let (before, after) = (answers(&spoiled(50), 4), answers(&spoiled(4), 4));
    let change = change(&before, &after, &labels, 4).unwrap()[MCC];
    let of = |scores: &Scores| classification(scores, &labels, 4).unwrap()[MCC].value;
    assert!((change.value - (of(&after) - of(&before))).abs() < 1e-15);
    assert!(change.low < change.value && change.high < 0.0 && change.p_value < 0.01, "{change:?}");
    assert_eq!((change.test, change.n, change.discordant), (Test::PairedBootstrap, 300, None));
}
