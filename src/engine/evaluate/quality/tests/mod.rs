mod classification;
mod goldens;
mod regression;
mod tokens;

use super::super::{Scores, fixture};
use super::*;

/// Logits that answer `predicted`.
fn answers(predicted: &[usize], n_labels: usize) -> Scores {
    let values = predicted.iter().flat_map(|&answer| (0..n_labels).map(move |label| f32::from(label == answer)));
    Scores { width: n_labels, values: values.collect() }
}

/// Numbers from 0 to `below` - 1 that look drawn, the same each time.
fn drawn(count: usize, below: usize, seed: u64) -> Vec<usize> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    (0..count).map(|_| next()).collect()
}
