//! Rows of like length, padded to one.

use super::tokenize::Encoded;

/// Puts rows of these `lengths` into batches of at most `max_rows` rows and, padded to the longest, at most
/// `max_tokens` tokens. A row longer than that is a batch by itself.
///
/// Rows are taken from short to long, equal ones in order, so that little is padded: the answer's batches hold each
/// row's place once. Cost: a sort.
pub fn batches(lengths: &[usize], max_rows: usize, max_tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<(usize, usize)> = lengths.iter().copied().enumerate().collect();
    order.sort_by_key(|&(_, length)| length);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for (row, length) in order {
        match batches.last_mut() {
            // Its length is the longest of the batch: lengths grow.
            Some(batch) if batch.len() < max_rows && (batch.len() + 1).saturating_mul(length) <= max_tokens => {
                batch.push(row);
            }
            _ => batches.push(vec![row]),
        }
    }
    batches
}

/// Some rows' tokens, padded on the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The rows' places in what was encoded.
    pub rows: Vec<usize>,
    /// Tokens of the longest row: the length that all are padded to.
    pub tokens: usize,
    /// `[rows, tokens]`.
    pub ids: Vec<u32>,
    /// `[rows, tokens]`; 0 where padded.
    pub type_ids: Vec<u32>,
    /// Each row's tokens without padding.
    pub lengths: Vec<usize>,
}

impl Batch {
    /// The rows at `places`, padded with `pad_id`. Places beyond the end are rows without tokens.
    pub fn of(encoded: &Encoded, places: &[usize], pad_id: u32) -> Self {
        let lengths: Vec<usize> = places.iter().map(|&at| encoded.ids.get(at).map_or(0, Vec::len)).collect();
        let tokens = lengths.iter().copied().max().unwrap_or(0);
        let ids = padded(&encoded.ids, places, tokens, pad_id);
        let type_ids = padded(&encoded.type_ids, places, tokens, 0);
        Self { rows: places.to_vec(), tokens, ids, type_ids, lengths }
    }
}

/// The `rows` at `places` one after another, each filled up with `with` to `tokens`.
fn padded(rows: &[Vec<u32>], places: &[usize], tokens: usize, with: u32) -> Vec<u32> {
    let mut all = Vec::with_capacity(places.len().saturating_mul(tokens));
    for (&at, n) in places.iter().zip(1..) {
        all.extend_from_slice(rows.get(at).map_or(&[], Vec::as_slice));
        all.resize(n * tokens, with);
    }
    all
}
