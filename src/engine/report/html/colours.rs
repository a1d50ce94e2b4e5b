//! Which number has which colour: equal steps of its logarithm.

use super::each;
use super::format::{brief, small};
use super::svg::{group, rect, text};

/// Colours, from the least number to the largest.
const LEVELS: usize = 7;

/// A scale of colours over positive numbers.
pub(super) struct Colours {
    least: f64,
    most: f64,
}

impl Colours {
    /// From the least to the largest number. What is less than the largest by more than `range` times is as good as nothing.
    pub(super) fn new(least: f64, most: f64, range: f64) -> Self {
        let most = if most > 0.0 { most.min(1e12) } else { 1.0 };
        let least = if least.is_finite() { least.max(most / range) } else { most / 10.0 };
        Self { least: least.min(most / 1.5), most }
    }

    /// The colour of a number: 0 to 6.
    pub(super) fn level(&self, number: f64) -> usize {
        let share = (number.max(self.least) / self.least).ln() / (self.most / self.least).ln();
        ((share * LEVELS as f64) as usize).min(LEVELS - 1)
    }

    /// What the colours mean, from a place on; `title` stands before it.
    pub(super) fn legend(&self, (left, top): (f64, f64), title: &str) -> String {
        const EACH: f64 = 72.0;
        let edge = |level: usize| self.least * (self.most / self.least).powf(level as f64 / LEVELS as f64);
        let boxes = each(0..LEVELS, |level| {
            let cell = rect("", (left + level as f64 * EACH, top), (EACH, 12.0), "");
            group(&format!("heat h{level}"), &format!("{} to {}", small(edge(level)), small(edge(level + 1))), &cell)
        });
        let edges = each(0..=LEVELS, |level| {
            text("tick", (left + level as f64 * EACH, top + 28.0), "middle", &brief(edge(level)))
        });
        text("tick", (left - 34.0, top + 11.0), "end", title) + &boxes + &edges
    }
}
