//! Labels that a model draws for its own answers, and how the loss of a row grows with each number of an answer.
//!
//! The loss of a row is `L = -Σ ln p(y | z)` over its answers `z`, each with a label `y` of its own that is drawn from the `p` that
//! the model itself gives: then `E[∂L/∂θ] = 0`, and `E[(∂L/∂θ)²]` is the Fisher information. With labels from data it would be the
//! "empirical" one, which is neither (Kunstner et al. 2019, arXiv 1905.12558).
//!
//! `p` is the softmax of logits, for texts, tokens, hidden words and next words alike; and a Gaussian of variance 1 around a
//! regression's number or around each number of an embedding, where the Fisher is the Gauss-Newton matrix `JᵀJ` of half the
//! squared distance. Every token's answer counts: a masked model is asked about the tokens that it sees, too, so whoever wants
//! it to be asked about hidden ones hides them in the rows.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::rows::draw;
use crate::engine::kernels::logits::log_sum_exp;
use crate::engine::model::spec::Head;

/// What a row's labels are drawn with: the same ones in whichever batch it stands.
pub(super) fn of_row(seed: u64, row: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(row as u64);
    rng
}

/// `∂L/∂z` of answers `[answers, width]` to labels that are drawn for them, one after another: `softmax(z) - onehot(y)` of
/// logits, `z - y` of numbers.
pub(super) fn drawn(head: &Head, answers: &[f32], width: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    match head {
        Head::Regression | Head::Embedding { .. } => answers.iter().map(|_| normal(rng)).collect(),
        _ => answers.chunks_exact(width.max(1)).flat_map(|logits| of_logits(logits, rng.next_u64())).collect(),
    }
}

fn of_logits(logits: &[f32], random: u64) -> Vec<f32> {
    let (label, log_sum) = (draw(logits, random) as usize, log_sum_exp(logits));
    let probability = |z: &f32| (f64::from(*z) - log_sum).exp();
    let hit = |i: usize| f64::from(u8::from(i == label));
    logits.iter().enumerate().map(|(i, z)| (probability(z) - hit(i)) as f32).collect()
}

/// Box & Muller 1958.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    // In (0, 1], so that there is a logarithm
    let mut unit = || ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    let (length, turn) = ((-2.0 * unit().ln()).sqrt(), std::f64::consts::TAU * unit());
    (length * turn.cos()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 20_000;

    fn classes() -> Head {
        Head::Classification { labels: vec!["a".into(), "b".into(), "c".into()] }
    }

    /// `E[s]` and `E[s sᵀ]` of what is drawn for one answer again and again.
    fn averages(head: &Head, answer: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let (width, mut rng) = (answer.len(), of_row(3, 0));
        let (mut mean, mut square) = (vec![0.0; width], vec![0.0; width * width]);
        for _ in 0..DRAWS {
            let s = drawn(head, answer, width, &mut rng);
            for (i, a) in s.iter().enumerate() {
                mean[i] += f64::from(*a) / DRAWS as f64;
                s.iter().enumerate().for_each(|(j, b)| square[i * width + j] += f64::from(a * b) / DRAWS as f64);
            }
        }
        (mean, square)
    }

    #[test]
    fn scores_average_to_0_and_their_squares_to_the_fisher_information() {
        let logits = [0.0f32, 1.0, -0.5];
        let sum: f64 = logits.iter().map(|z| f64::from(*z).exp()).sum();
        let p: Vec<f64> = logits.iter().map(|z| f64::from(*z).exp() / sum).collect();
        let softmax = |i: usize, j: usize| f64::from(u8::from(i == j)) * p[i] - p[i] * p[j];
        let identity = |i: usize, j: usize| f64::from(u8::from(i == j));
        let embedding = Head::Embedding { pooling: crate::engine::model::spec::Pooling::Mean, normalize: true };
        for (head, fisher) in [(classes(), &softmax as &dyn Fn(usize, usize) -> f64), (embedding, &identity)] {
            let (mean, square) = averages(&head, &logits);
            // Four standard errors: numbers of variance 1 at most, squares of variance 2 at most
            let bound = 4.0 * (2.0 / DRAWS as f64).sqrt();
            assert!(mean.iter().all(|mean| mean.abs() < bound), "{head:?}: {mean:?}");
            for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
                assert!((square[i * 3 + j] - fisher(i, j)).abs() < bound, "{head:?} at {i}, {j}: {square:?}");
            }
        }
    }

    #[test]
    fn a_row_draws_the_same_wherever_it_stands_and_others_draw_their_own() {
        let draws = |seed, row| drawn(&classes(), &[0.1; 90], 3, &mut of_row(seed, row));
        assert_eq!(draws(1, 5), draws(1, 5));
        assert_ne!(draws(1, 5), draws(1, 6));
        assert_ne!(draws(1, 5), draws(2, 5));
    }
}
