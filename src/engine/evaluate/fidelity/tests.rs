use super::super::fixture;
use super::*;

fn scores(width: usize, values: &[f32]) -> Scores {
    Scores { width, values: values.to_vec() }
}

#[test]
fn a_model_agrees_with_itself_exactly() {
    let original = scores(3, &[1.0, -2.0, 0.5, 800.0, -800.0, 0.0, 1e-30, 0.0, 0.0]);
    let fidelity = classification(&original, &original, Some(&original), MeasuredOn::Evaluation).unwrap();
    let kl = fidelity.kl.unwrap();
    assert_eq!((kl.mean, kl.median, kl.max, kl.floor), (0.0, 0.0, 0.0, Some(0.0)));
    let agreement = fidelity.top1_agreement.unwrap();
    assert_eq!((agreement.value, agreement.high, fidelity.n), (1.0, 1.0, 3));
    assert!((fidelity.cosine.unwrap() - 1.0).abs() < 1e-15);
}

#[test]
fn divergence_of_two_outcomes_equals_its_formula() {
    // p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2). The logit ln 3 is rounded to f32: 1e-7.
    let original = scores(2, &[3_f32.ln(), 0.0]);
    let result = scores(2, &[7.0, 7.0]);
    let fidelity = classification(&original, &result, None, MeasuredOn::Vocabulary).unwrap();
    let expected = 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln();
    let kl = fidelity.kl.unwrap();
    assert!((kl.mean - expected).abs() < 1e-7, "{} against {expected}", kl.mean);
    assert_eq!((kl.mean, kl.floor), (kl.max, None));
    assert_eq!(fidelity.top1_agreement.unwrap().value, 1.0, "of equal logits the first is the answer");
    assert_eq!(fidelity.measured_on, MeasuredOn::Vocabulary);
}

#[test]
fn divergence_is_not_symmetric_and_starts_from_the_original() {
    let sure = scores(2, &[5.0, 0.0]);
    let unsure = scores(2, &[0.1, 0.0]);
    let mean = |a, b| classification(a, b, None, MeasuredOn::Evaluation).unwrap().kl.unwrap().mean;
    assert!(mean(&sure, &unsure) < 0.9 * mean(&unsure, &sure));
}

#[test]
fn real_logits_give_what_scipy_gives() {
    let Some((original, _, _)) = fixture::minilm() else { return };
    let result = fixture::rounded(&original, 0.25);
    let fidelity = classification(&original, &result, Some(&original), MeasuredOn::Evaluation).unwrap();
    let kl = fidelity.kl.unwrap();
    // log_softmax in f64 with scipy 1.16, numpy's percentile; the sums differ in order only.
    for (found, expected) in [
        (kl.mean, 0.000_651_476_954_085_786_8),
        (kl.median, 0.000_319_445_538_646_352_5),
        (kl.p95, 0.002_327_860_091_423_969),
        (kl.p99, 0.003_627_961_645_909_471_4),
        (kl.max, 0.004_793_028_085_052_975),
        (fidelity.cosine.unwrap(), 0.998_860_865_208_853_3),
        (fidelity.top1_agreement.unwrap().value, 511.0 / 512.0),
    ] {
        assert!((found - expected).abs() < 1e-11, "{found} against {expected}");
    }
    assert_eq!(kl.floor, Some(0.0));
    // Among the rounded rows many cosines are equal but for their last bits, and those bits order them: 1e-6.
    let spearman = embedding(&original, &result, MeasuredOn::Evaluation).unwrap().similarity_spearman.unwrap();
    assert!((spearman - 0.997_353_962_032_941_6).abs() < 1e-6, "{spearman}");
}

#[test]
fn embeddings_are_compared_by_direction_and_by_neighbourhood() {
    let original = scores(2, &[1.0, 0.0, 0.0, 1.0, 1.0, 0.5, -1.0, 0.2]);
    let longer = scores(2, &original.values.iter().map(|x| 3.0 * x).collect::<Vec<_>>());
    let same = embedding(&original, &longer, MeasuredOn::Evaluation).unwrap();
    assert!((same.cosine.unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(same.similarity_spearman, Some(1.0));
    assert!(same.kl.is_none() && same.top1_agreement.is_none());
    let mirrored = scores(2, &original.values.iter().map(|x| -x).collect::<Vec<_>>());
    let turned = embedding(&original, &mirrored, MeasuredOn::Evaluation).unwrap();
    assert!((turned.cosine.unwrap() + 1.0).abs() < 1e-12);
    assert_eq!(turned.similarity_spearman, Some(1.0), "neighbours stay neighbours");
    let one = embedding(&scores(2, &[1.0, 2.0]), &scores(2, &[1.0, 2.0]), MeasuredOn::Evaluation).unwrap();
    assert_eq!(one.similarity_spearman, None);
}

#[test]
fn rows_of_similarity_are_taken_evenly() {
    let many = Scores { width: 1, values: vec![1.0; 10 * SIMILARITY_ROWS + 3] };
    assert_eq!(similarities(&many).len(), SIMILARITY_ROWS * (SIMILARITY_ROWS - 1) / 2);
}

#[test]
fn zero_vectors_are_alike_and_nothing_else_is_like_them() {
    assert_eq!((cosine(&[0.0], &[0.0]), cosine(&[0.0], &[1.0])), (1.0, 0.0));
}

#[test]
fn scores_that_do_not_fit_are_refused() {
    let a = scores(2, &[0.0, 1.0]);
    for b in [scores(2, &[0.0, 1.0, 2.0, 3.0]), scores(1, &[0.0, 1.0]), scores(2, &[0.0, f32::NAN]), scores(2, &[])] {
        assert!(classification(&a, &b, None, MeasuredOn::Evaluation).is_err());
        assert!(classification(&a, &a, Some(&b), MeasuredOn::Evaluation).is_err());
        assert!(embedding(&a, &b, MeasuredOn::Evaluation).is_err());
    }
}
