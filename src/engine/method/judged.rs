//! Candidates for a site's weights, judged by the outputs that they give.

use super::Fed;
use crate::engine::calibrate::Moments;
use crate::engine::calibrate::anchored::Judge;
use crate::engine::error::Result;
use crate::engine::method::feedback::Feedback;

/// What tells what candidates cost, on rows that are fitted to and on others where there are any.
pub(super) struct Judges<'a> {
    fit: Judge<'a>,
    held_out: Option<Judge<'a>>,
}

impl<'a> Judges<'a> {
    /// For `original: [out, in]`, as [`Judge::new`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(super) fn new(original: &'a [f32], fed: &Fed<'_>, is_centered: bool) -> Result<Self> {
        let judge = |moments: &Moments| Judge::new(original, moments, is_centered);
        Ok(Self { fit: judge(fed.fit)?, held_out: fed.held_out.map(judge).transpose()? })
    }

    /// What is to be approximated, `[out, in]`, so that outputs come near to the original's: the anchored target `W*`.
    pub(super) fn target(&self, feedback: &Feedback) -> Vec<f32> {
        self.fit.target(|pull| feedback.by_inverse(pull))
    }

    fn cost(&self, weights: &[f32]) -> (f64, Option<f64>) {
        (self.fit.cost(weights), self.held_out.as_ref().map(|judge| judge.cost(weights)))
    }
}

/// The best candidate so far.
pub(super) struct Best<'a, T> {
    /// What it is.
    pub(super) found: T,
    cost: (f64, Option<f64>),
    /// What tells.
    pub(super) judges: Judges<'a>,
}

impl<'a, T> Best<'a, T> {
    /// Starts with one whose weights are these.
    pub(super) fn new(judges: Judges<'a>, found: T, weights: &[f32]) -> Self {
        Self { found, cost: judges.cost(weights), judges }
    }

    /// Takes a candidate that costs less on rows that were not fitted to, and no more on those that were; tells whether it did.
    pub(super) fn offer(&mut self, found: T, weights: &[f32]) -> bool {
        let held_out = self.judges.held_out.as_ref().map(|judge| judge.cost(weights));
        if held_out.zip(self.cost.1).is_some_and(|(new, old)| new >= old) {
            return false;
        }
        let cost = (self.judges.fit.cost(weights), held_out);
        let is_less = if held_out.is_some() { cost.0 <= self.cost.0 } else { cost.0 < self.cost.0 };
        if is_less {
            (self.found, self.cost) = (found, cost);
        }
        is_less
    }
}
