//! Which rows are run again, and their tokens in another order.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::engine::data::Encoded;

/// Where the draws start: fixed, so that reports on equal rows can be compared.
pub(super) const SEED: u64 = 16;

/// Places of at most `most` of `total` rows, ascending, drawn evenly.
pub(super) fn sample(total: usize, most: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut drawn: Vec<(u64, usize)> = (0..total).map(|row| (rng.next_u64(), row)).collect();
    drawn.sort_unstable();
    let mut places: Vec<usize> = drawn.into_iter().take(most).map(|(_, row)| row).collect();
    places.sort_unstable();
    places
}

/// Rows whose tokens stand in another order.
pub(super) struct Shuffled {
    pub(super) rows: Encoded,
    /// For each row: the place that each of its tokens stood at before.
    pub(super) from: Vec<Vec<usize>>,
}

/// Puts the tokens of every row in a random order. A token changes places with those of its own token type, so that of a pair
/// each text keeps its words; where `stays(row, place, id)`, it does not move.
pub(super) fn shuffled(rows: &Encoded, stays: impl Fn(usize, usize, u32) -> bool) -> Shuffled {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut all = Shuffled { rows: rows.clone(), from: Vec::with_capacity(rows.ids.len()) };
    for (row, (ids, types)) in all.rows.ids.iter_mut().zip(&rows.type_ids).enumerate() {
        let mut from: Vec<usize> = (0..ids.len()).collect();
        let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, (id, kind)) in ids.iter().zip(types).enumerate() {
            if !stays(row, place, *id) {
                groups.entry(*kind).or_default().push(place);
            }
        }
        for places in groups.values() {
            // Fisher and Yates's shuffle; multiply-shift is uniform but for a bias of n / 2^64
            for i in (1..places.len()).rev() {
                let j = ((u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64) as usize;
                if let (Some(a), Some(b)) = (places.get(i), places.get(j)) {
                    from.swap(*a, *b);
                }
            }
        }
        let old = rows.ids.get(row).map(Vec::as_slice).unwrap_or_default();
        for (id, place) in ids.iter_mut().zip(&from) {
            *id = old.get(*place).copied().unwrap_or(*id);
        }
        all.from.push(from);
    }
    all
}
