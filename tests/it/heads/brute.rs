//! Metrics in their plainest form, by their definitions.

use std::collections::BTreeSet;

/// `Σ (x - x̄)(y - ȳ) / √(Σ (x - x̄)² Σ (y - ȳ)²)`.
pub(super) fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let sum = |f: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(x, y)| f(x - mean_x, y - mean_y)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// Pearson's of the ranks: how many are smaller, and half of those that are equal.
pub(super) fn spearman(x: &[f64], y: &[f64]) -> f64 {
    let ranks = |v: &[f64]| -> Vec<f64> {
        let rank = |one: &f64| {
            let smaller = v.iter().filter(|other| *other < one).count();
            let equal = v.iter().filter(|other| *other == one).count();
            smaller as f64 + equal as f64 / 2.0
        };
        v.iter().map(rank).collect()
    };
    pearson(&ranks(x), &ranks(y))
}

pub(super) fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt()
}

/// `Σ p ln (p / q)` of two softmaxes.
pub(super) fn kl(p: &[f64], q: &[f64]) -> f64 {
    let softmax = |logits: &[f64]| -> Vec<f64> {
        let sum: f64 = logits.iter().map(|x| x.exp()).sum();
        logits.iter().map(|x| x.exp() / sum).collect()
    };
    softmax(p).iter().zip(softmax(q)).map(|(p, q)| p * (p / q).ln()).sum()
}

fn f1(right: usize, guesses: usize, support: usize) -> f64 {
    let (precision, recall) = (right as f64 / guesses as f64, right as f64 / support as f64);
    2.0 * precision * recall / (precision + recall)
}

/// Of words that have a tag other than `O`.
pub(super) fn token_f1(right: &[Vec<String>], answers: &[Vec<String>]) -> f64 {
    let both = || right.iter().flatten().zip(answers.iter().flatten());
    let hits = both().filter(|(right, answer)| right == answer && *right != "O").count();
    f1(hits, both().filter(|(_, answer)| *answer != "O").count(), both().filter(|(right, _)| *right != "O").count())
}

/// Of spans `(row, kind, first, end)`; tags are `O`, `B-…` and `I-…`.
pub(super) fn entity_f1(right: &[Vec<String>], answers: &[Vec<String>]) -> f64 {
    let spans = |rows: &[Vec<String>]| -> BTreeSet<(usize, String, usize, usize)> {
        let mut spans = BTreeSet::new();
        for (number, row) in rows.iter().enumerate() {
            let kind = |at: usize| row.get(at).and_then(|tag| tag.split_once('-')).map(|(_, kind)| kind.to_owned());
            let goes_on = |at: usize| at > 0 && row[at].starts_with("I-") && kind(at) == kind(at - 1);
            for first in (0..row.len()).filter(|at| row[*at] != "O" && !goes_on(*at)) {
                let end = (first + 1..row.len()).find(|at| !goes_on(*at)).unwrap_or(row.len());
                spans.insert((number, kind(first).unwrap(), first, end));
            }
        }
        spans
    };
    let (right, answers) = (spans(right), spans(answers));
    f1(right.intersection(&answers).count(), answers.len(), right.len())
}
