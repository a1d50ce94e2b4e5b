//! How well a language model foretells text: perplexity, `exp(Σ nll / tokens)` with `nll = -ln p(token)`.
//!
//! Tokens of a row are not independent, so rows are what is drawn in the bootstrap (a block bootstrap by sequence).

use super::language::Foretold;
use super::quality::{Change, Estimate, Quality, QualityChange, Test};
use super::statistics::{BOOTSTRAP_SEED, Bootstrap, RESAMPLES, Z_DETECTABLE};
use crate::engine::error::{EngineError, Result};

/// `exp` of the mean negative log-likelihood of a token.
pub const PERPLEXITY: &str = "perplexity";

/// Each row's negative log-likelihood and tokens, in f64.
struct Sums(Vec<(f64, f64)>);

impl Sums {
    fn new(nll: &[f32], offsets: &[usize]) -> Result<Self> {
        if offsets.last() != Some(&nll.len()) || nll.is_empty() {
            return Err(EngineError::Internal(format!("{} tokens do not fit the rows", nll.len())));
        }
        if let Some(at) = nll.iter().position(|x| !x.is_finite()) {
            return Err(EngineError::Internal(format!("the likelihood of token {at} is not finite")));
        }
        // Rows at which nothing is asked say nothing, and are not drawn
        let row = |w: &[usize]| {
            nll.get(w[0]..w[1])
                .filter(|row| !row.is_empty())
                .map(|row| (row.iter().map(|x| f64::from(*x)).sum(), row.len() as f64))
        };
        Ok(Self(offsets.windows(2).filter_map(row).collect()))
    }

    fn perplexity(&self, rows: impl Iterator<Item = usize>) -> f64 {
        let (nll, tokens) = rows
            .filter_map(|row| self.0.get(row))
            .fold((0f64, 0f64), |(nll, tokens), (row, count)| (nll + row, tokens + count));
        (nll / tokens).exp()
    }

    fn whole(&self) -> f64 {
        self.perplexity(0..self.0.len())
    }
}

/// Perplexity of what a model foretold; `offsets` are where each row's tokens begin.
///
/// # Errors
///
/// [`EngineError::Internal`] for tokens that are not the rows', or likelihoods that are not finite.
pub fn quality(foretold: &Foretold, offsets: &[usize]) -> Result<Quality> {
    let sums = Sums::new(&foretold.nll, offsets)?;
    let draw = |rows: &[usize]| sums.perplexity(rows.iter().copied());
    let interval = Bootstrap::new(sums.0.len(), RESAMPLES, BOOTSTRAP_SEED, draw).interval(sums.whole());
    let n = foretold.nll.len() as u64;
    let estimate = Estimate { value: interval.value, low: interval.low, high: interval.high, n };
    Ok(Quality::from([(PERPLEXITY.to_owned(), estimate)]))
}

/// The paired change of perplexity on the same tokens, result − original.
///
/// # Errors
///
/// As [`quality`], for both.
pub fn change(original: &Foretold, result: &Foretold, offsets: &[usize]) -> Result<QualityChange> {
    let (before, after) = (Sums::new(&original.nll, offsets)?, Sums::new(&result.nll, offsets)?);
    let difference = |rows: &[usize]| after.perplexity(rows.iter().copied()) - before.perplexity(rows.iter().copied());
    let bootstrap = Bootstrap::new(before.0.len(), RESAMPLES, BOOTSTRAP_SEED, difference);
    let interval = bootstrap.interval(after.whole() - before.whole());
    let change = Change {
        value: interval.value,
        low: interval.low,
        high: interval.high,
        p_value: bootstrap.p_value(),
        test: Test::PairedBootstrap,
        n: result.nll.len() as u64,
        smallest_detectable_difference: Z_DETECTABLE * bootstrap.standard_error(),
        discordant: None,
    };
    Ok(QualityChange::from([(PERPLEXITY.to_owned(), change)]))
}

/// The result's perplexity over the original's.
///
/// # Errors
///
/// As [`quality`], for both.
pub fn ratio(original: &Foretold, result: &Foretold, offsets: &[usize]) -> Result<f64> {
    Ok(Sums::new(&result.nll, offsets)?.whole() / Sums::new(&original.nll, offsets)?.whole())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foretold(nll: &[f32]) -> Foretold {
        Foretold { nll: nll.to_vec(), beside: None }
    }

    #[test]
    fn of_an_even_guess_it_is_the_number_of_choices() {
        let even = foretold(&[8f32.ln(); 6]);
        let found = quality(&even, &[0, 2, 2, 6]).unwrap()[PERPLEXITY];
        assert!((found.value - 8.0).abs() < 1e-5 && (found.high - found.low) < 1e-5, "{found:?}");
        assert_eq!(found.n, 6);
    }

    #[test]
    fn long_rows_count_for_more() {
        let found = quality(&foretold(&[0.0, 0.0, 0.0, 4.0]), &[0, 3, 4]).unwrap()[PERPLEXITY];
        assert!((found.value - 1f64.exp()).abs() < 1e-12 && found.low < found.value && found.value < found.high);
    }

    #[test]
    fn a_change_is_paired_and_nothing_changes_without_one() {
        let (a, b) = (foretold(&[1.0, 3.0, 2.0, 5.0]), foretold(&[1.5, 3.5, 2.5, 5.5]));
        let offsets = [0, 1, 2, 4];
        let same = change(&a, &a, &offsets).unwrap()[PERPLEXITY];
        assert_eq!((same.value, same.low, same.high, same.p_value), (0.0, 0.0, 0.0, 1.0));
        let worse = change(&a, &b, &offsets).unwrap()[PERPLEXITY];
        assert!(worse.low > 0.0 && worse.p_value < 0.01, "{worse:?}");
        assert!((ratio(&a, &b, &offsets).unwrap() - 0.5f64.exp()).abs() < 1e-7);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert!(quality(&foretold(&[]), &[0]).is_err());
        assert!(quality(&foretold(&[1.0]), &[0, 2]).is_err());
        assert!(quality(&foretold(&[f32::INFINITY]), &[0, 1]).is_err());
    }
}
