//! Rows of like length go together.

/// Puts rows of these `lengths` into batches of at most `max_rows` rows and, were they padded to the
/// longest, at most `max_tokens` tokens. A row longer than that is a batch by itself.
///
/// Rows are taken from short to long, equal ones in order, so that the work of a batch is even: the answer's batches hold each
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
