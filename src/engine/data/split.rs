//! Setting rows aside.

use std::collections::HashMap;
use std::hash::Hash;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::dataset::Dataset;

/// Places of rows, each side in the dataset's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The greater part.
    pub kept: Vec<usize>,
    /// What was set aside.
    pub held_out: Vec<usize>,
}

impl Dataset {
    /// Sets about `fraction` of the rows aside, drawn by `seed` alone (`ChaCha8`): the same rows, seed and fraction give
    /// the same split everywhere. Equal rows stay on one side, so that nothing held out is calibrated or trained on; what
    /// is held out may be larger than `fraction` by one such group. With two rows or more neither side is empty,
    /// whatever the fraction; where all rows are equal, the last is held out, for there is nothing to keep apart. A
    /// single row is kept.
    pub fn split_held_out(&self, seed: u64, fraction: f64) -> Split {
        split(self.hashes(), seed, fraction)
    }
}

/// Sets about `fraction` of the rows aside, as [`Dataset::split_held_out`] does, by what says whether two are equal.
pub fn split<H: Eq + Hash>(rows: impl IntoIterator<Item = H>, seed: u64, fraction: f64) -> Split {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<H, usize> = HashMap::new();
    let mut count = 0usize;
    for (at, hash) in rows.into_iter().enumerate() {
        count += 1;
        let group = *known.entry(hash).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    if let [all] = groups.as_mut_slice()
        && all.len() > 1
    {
        let last = all.split_off(all.len() - 1);
        groups.insert(0, last);
    } else {
        shuffle(&mut groups, &mut ChaCha8Rng::seed_from_u64(seed));
    }
    let wanted = ((count as f64 * fraction.clamp(0.0, 1.0)).round() as usize).max(1);
    let last = groups.len().saturating_sub(1);
    let mut held_out = Vec::new();
    let mut taken = 0;
    while taken < last && held_out.len() < wanted {
        held_out.append(&mut groups[taken]);
        taken += 1;
    }
    let mut kept: Vec<usize> = groups.drain(taken..).flatten().collect();
    kept.sort_unstable();
    held_out.sort_unstable();
    Split { kept, held_out }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i as u64 + 1) as usize);
    }
}

/// A number from 0 to `n` - 1. The bias of the multiplication is at most `n` in 2^64.
pub(super) fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}
