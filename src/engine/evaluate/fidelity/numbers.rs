//! Two models that answer with a number a row, side by side.

use serde::{Deserialize, Serialize};

use super::super::statistics::{mean, pearson, spearman};
use super::super::{Scores, finite};
use super::{Fidelity, MeasuredOn, Unit, no_rows};
use crate::engine::error::{EngineError, Result};

/// How far a result's numbers are from the original's on the same rows. Differences are result − original, in the unit of the
/// answers themselves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// Root mean square of the differences.
    #[serde(serialize_with = "finite::number")]
    pub rms_difference: f64,
    /// That over the standard deviation of the original's answers; `None` where these are all one number.
    #[serde(serialize_with = "finite::optional")]
    pub relative_rms_difference: Option<f64>,
    /// Mean of the differences: what all answers were shifted by.
    #[serde(serialize_with = "finite::number")]
    pub mean_difference: f64,
    /// The largest difference, without its sign.
    #[serde(serialize_with = "finite::number")]
    pub largest_difference: f64,
    /// Pearson's correlation of both models' answers; `None` where either's are all one number.
    #[serde(serialize_with = "finite::optional")]
    pub pearson: Option<f64>,
    /// Spearman's.
    #[serde(serialize_with = "finite::optional")]
    pub spearman: Option<f64>,
    /// Root mean square of the original's differences from a second scoring of itself, over the first rows (at most 64): 0
    /// unless something is broken.
    #[serde(serialize_with = "finite::optional")]
    pub floor: Option<f64>,
}

/// Fidelity of a model that answers with one number a row, from answers `[rows, 1]`.
///
/// A number is no distribution and no direction, so there is neither a divergence nor a cosine: `√(Σ (r - o)² / n)`, over
/// `√(Σ (o - ō)² / n)` where the original's answers vary, and both correlations. All in f64.
///
/// # Errors
///
/// As [`super::classification`], and where there is more than one number a row.
pub fn regression(original: &Scores, result: &Scores, measured_on: MeasuredOn) -> Result<Fidelity> {
    original.check_pair(result)?;
    if original.width != 1 {
        return Err(EngineError::Internal(format!("{} numbers a row where one is compared", original.width)));
    }
    let wide = |scores: &Scores| scores.values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let (before, after) = (wide(original), wide(result));
    let differences: Vec<f64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    let centre = mean(&before).ok_or_else(no_rows)?;
    let deviation = rms(before.iter().map(|x| x - centre));
    let rms_difference = rms(differences.iter().copied());
    let numbers = Numbers {
        rms_difference,
        relative_rms_difference: (deviation > 0.0).then(|| rms_difference / deviation),
        mean_difference: mean(&differences).ok_or_else(no_rows)?,
        largest_difference: differences.iter().map(|x| x.abs()).fold(0.0, f64::max),
        pearson: pearson(&before, &after),
        spearman: spearman(&before, &after),
        floor: None,
    };
    Ok(Fidelity {
        measured_on,
        n: before.len() as u64,
        unit: Unit::Row,
        kl: None,
        top1_agreement: None,
        cosine: None,
        similarity_spearman: None,
        perplexity_ratio: None,
        numbers: Some(numbers),
    })
}

/// Root of the mean square.
fn rms(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    (values.map(|x| x * x).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(before: &[f32], after: &[f32]) -> Numbers {
        let scores = |values: &[f32]| Scores { width: 1, values: values.to_vec() };
        let fidelity = regression(&scores(before), &scores(after), MeasuredOn::Evaluation).unwrap();
        assert_eq!((fidelity.kl, fidelity.top1_agreement, fidelity.cosine), (None, None, None));
        fidelity.numbers.unwrap()
    }

    #[test]
    fn differences_are_told_in_shares_of_how_the_original_varies() {
        // Deviation of 1, 3, 5, 7 is √5; the differences are 1, -1, 1, 1
        let found = numbers(&[1.0, 3.0, 5.0, 7.0], &[2.0, 2.0, 6.0, 8.0]);
        assert_eq!((found.rms_difference, found.mean_difference, found.largest_difference), (1.0, 0.5, 1.0));
        assert!((found.relative_rms_difference.unwrap() - 1.0 / 5_f64.sqrt()).abs() < 1e-15);
        // Σ xy = 22, Σ x² = 20, Σ y² = 27 about the means
        assert!((found.pearson.unwrap() - 22.0 / 540_f64.sqrt()).abs() < 1e-12);
        assert!(found.spearman.unwrap() < 1.0, "the first two are tied in the result");
    }

    #[test]
    fn a_shift_leaves_correlations_and_is_told() {
        let found = numbers(&[1.0, 2.0, 4.0], &[1.5, 2.5, 4.5]);
        assert_eq!((found.rms_difference, found.mean_difference), (0.5, 0.5));
        assert!((found.pearson.unwrap() - 1.0).abs() < 1e-12 && (found.spearman.unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_does_not_vary_has_no_share_and_no_correlation() {
        let found = numbers(&[2.0, 2.0], &[2.0, 3.0]);
        assert_eq!((found.relative_rms_difference, found.pearson, found.spearman), (None, None, None));
        assert!(
            regression(
                &Scores { width: 2, values: vec![1.0; 4] },
                &Scores { width: 2, values: vec![1.0; 4] },
                MeasuredOn::Evaluation
            )
            .is_err()
        );
    }
}
