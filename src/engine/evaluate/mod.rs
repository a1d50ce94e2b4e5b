//! What compression cost, in numbers: fidelity to the original, task quality, speed. Pure functions over scores.
//!
//! Every comparison is paired: original and result are scored on the same rows, in the same order, in one process.

pub mod cloze;
pub mod fidelity;
pub(crate) mod finite;
pub mod labels;
pub mod language;
mod language_rows;
pub mod latency;
pub mod marked;
pub mod metric;
pub mod onward;
mod pass;
pub mod perplexity;
pub mod probes;
pub mod quality;
pub mod rows;
pub mod score;
pub mod statistics;

#[cfg(test)]
mod fixture;

use super::error::{EngineError, Result};

/// What a model said about some rows: logits (classification) or pooled vectors (embedding), in the dataset's order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// Numbers in a row: labels, or the vector's dimension.
    pub width: usize,
    /// `[rows, width]`, row-major.
    pub values: Vec<f32>,
}

/// What a model answers to the rows that it is measured on.
#[derive(Debug, Clone)]
pub enum Answers {
    /// A line of numbers for a row, or for every token of it.
    Scores(Scores),
    /// What a language model foretold.
    Foretold(language::Foretold),
}

impl Scores {
    /// Number of rows. A trailing part of a row does not count.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }

    /// The column of the largest score of each row; of equal scores the first, as numpy's `argmax` has it.
    pub fn argmax(&self) -> Vec<usize> {
        self.iter().map(largest).collect()
    }

    /// # Errors
    ///
    /// [`EngineError::Internal`] when there are no rows, a row is cut off, or a score is NaN or infinite.
    pub(crate) fn check(&self, whose: &str) -> Result<()> {
        let error = |what: String| Err(EngineError::Internal(format!("the scores of {whose} {what}")));
        if self.width == 0 || self.values.is_empty() {
            return error(format!("are empty: {} values of width {}", self.values.len(), self.width));
        }
        if !self.values.len().is_multiple_of(self.width) {
            return error(format!("hold {} values, which are no whole rows of {}", self.values.len(), self.width));
        }
        match self.values.iter().position(|value| !value.is_finite()) {
            Some(at) => error(format!("are not finite in row {}, column {}", at / self.width, at % self.width)),
            None => Ok(()),
        }
    }

    /// # Errors
    ///
    /// As [`Scores::check`] for both, and when their shapes differ.
    pub(crate) fn check_pair(&self, result: &Self) -> Result<()> {
        self.check("the original")?;
        result.check("the result")?;
        if self.width != result.width || self.values.len() != result.values.len() {
            return Err(EngineError::Internal(format!(
                "original and result can't be compared: [{}, {}] against [{}, {}] scores",
                self.rows(),
                self.width,
                result.rows(),
                result.width
            )));
        }
        Ok(())
    }
}

pub(crate) fn largest(row: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (column, &value) in row.iter().enumerate() {
        if value > best.1 {
            best = (column, value);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_argmax_and_what_is_refused() {
        let scores = Scores { width: 3, values: vec![0.0, 2.0, 2.0, -1.0, -3.0, -2.0] };
        assert_eq!((scores.rows(), scores.argmax()), (2, vec![1, 0]));
        assert!(scores.check("it").is_ok());
        for (width, values) in [(0, vec![1.0]), (3, vec![]), (3, vec![1.0; 4]), (1, vec![f32::NAN])] {
            assert!(Scores { width, values }.check("it").is_err());
        }
        let other = Scores { width: 2, values: vec![0.0; 6] };
        assert!(scores.check_pair(&other).is_err());
    }
}
