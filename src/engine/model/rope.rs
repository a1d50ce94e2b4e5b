//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864): queries and keys are turned by their position.
//!
//! Pair `i` of a head's `d` numbers turns by `p · ω_i` at position `p`, `ω_i = θ^(-2i/d)`; what is stretched to longer texts
//! has other `ω`. Only the stretches that stock readers know are here, with their formulas.

use serde::{Deserialize, Serialize};

/// What turns queries and keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// `θ`.
    pub theta: f64,
    /// How it was stretched.
    pub scaling: RopeScaling,
}

/// How positions were stretched to longer texts than were trained on first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// `ω / factor` (Chen et al. 2023, arXiv 2306.15595).
    Linear {
        /// The stretch.
        factor: f64,
    },
    /// Slow pairs are stretched, fast ones not, those between in part (Llama 3.1).
    Llama3 {
        /// The stretch.
        factor: f64,
        /// Pairs of longer waves than `original_positions / low_freq_factor` are slow.
        low_freq_factor: f64,
        /// Pairs of shorter waves than `original_positions / high_freq_factor` are fast.
        high_freq_factor: f64,
        /// Positions that were trained on first.
        original_positions: f64,
    },
    /// The same idea by turns within the original length, and sharper attention (Peng et al. 2023, arXiv 2309.00071).
    Yarn {
        /// The stretch.
        factor: f64,
        /// Pairs with more turns than this are fast.
        beta_fast: f64,
        /// Pairs with fewer turns are slow.
        beta_slow: f64,
        /// Positions that were trained on first.
        original_positions: f64,
        /// What queries and keys are multiplied by.
        attention_factor: f64,
        /// Whether the range between fast and slow has whole ends.
        truncate: bool,
    },
}

impl Rope {
    /// `ω_i` of the `head_dim / 2` pairs, in f64.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let dim = head_dim as f64;
        let plain = (0..head_dim / 2).map(|i| self.theta.powf(-2.0 * i as f64 / dim));
        match self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|w| w / factor).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => plain
                .map(|w| {
                    let turns = original_positions * w / std::f64::consts::TAU;
                    if turns > high_freq_factor {
                        w
                    } else if turns < low_freq_factor {
                        w / factor
                    } else {
                        let fast = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        (1.0 - fast) * w / factor + fast * w
                    }
                })
                .collect(),
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original_positions, truncate, .. } => {
                // The pair that makes so many turns within the original length
                let pair = |turns: f64| {
                    dim * (original_positions / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.theta.ln())
                };
                let (low, high) = (pair(beta_fast), pair(beta_slow));
                let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
                if low == high {
                    high += 0.001; // as the reference has it, so that nothing is divided by 0
                }
                let slow = |i: usize| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                plain.enumerate().map(|(i, w)| w / factor * slow(i) + w * (1.0 - slow(i))).collect()
            }
        }
    }

    /// What queries and keys are multiplied by besides.
    pub const fn attention_factor(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: RopeScaling) -> Vec<f64> {
        Rope { theta: 10_000.0, scaling }.frequencies(64)
    }

    fn yarn(factor: f64) -> RopeScaling {
        RopeScaling::Yarn {
            factor,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_positions: 4096.0,
            attention_factor: 1.0,
            truncate: true,
        }
    }

    #[test]
    fn a_stretch_by_one_is_none() {
        let plain = frequencies(RopeScaling::None);
        assert_eq!((plain[0], plain.len()), (1.0, 32));
        let (low_freq_factor, high_freq_factor, original_positions) = (1.0, 4.0, 8192.0);
        let llama3 = RopeScaling::Llama3 { factor: 1.0, low_freq_factor, high_freq_factor, original_positions };
        for same in [RopeScaling::Linear { factor: 1.0 }, llama3, yarn(1.0)] {
            for (a, b) in frequencies(same).iter().zip(&plain) {
                assert!((a - b).abs() <= 1e-15 * b.abs().max(1e-300), "{a} is not {b}"); // one rounding
            }
        }
    }

    #[test]
    fn fast_pairs_stay_and_slow_ones_are_stretched_whole() {
        let plain = frequencies(RopeScaling::None);
        let (low_freq_factor, high_freq_factor, original_positions) = (1.0, 4.0, 8192.0);
        let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor, high_freq_factor, original_positions };
        for stretched in [frequencies(llama3), frequencies(yarn(8.0))] {
            assert_eq!(stretched[0], plain[0]);
            assert!((stretched[31] * 8.0 / plain[31] - 1.0).abs() < 1e-12);
            assert!(stretched.is_sorted_by(|a, b| a > b), "slower and slower");
        }
    }
}
