//! NaN and infinity among stored floats, found in their bits, without conversion.

use rayon::prelude::*;

use crate::engine::model::Dtype;

/// Bytes that one task looks at: a multiple of every element's size.
const CHUNK_BYTES: usize = 1 << 18;

/// How many elements are not finite, and the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotFinite {
    pub(super) count: usize,
    /// Its index among the elements, row by row.
    pub(super) first: usize,
}

/// Whether elements of `dtype` can be NaN or infinite.
pub(super) const fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 | Dtype::F8_E5M2 | Dtype::F8_E4M3)
}

/// Counts the elements of a tensor's little-endian `bytes` that are not finite. `None`: there are none.
///
/// Cost: one pass over the bytes, in parallel; no memory. Bytes need no alignment.
pub(super) fn not_finite(dtype: Dtype, bytes: &[u8]) -> Option<NotFinite> {
    match dtype {
        // The exponent's bits are all ones.
        Dtype::F16 => scan::<2>(bytes, |b| u16::from_le_bytes(b) & 0x7c00 == 0x7c00),
        Dtype::BF16 => scan::<2>(bytes, |b| u16::from_le_bytes(b) & 0x7f80 == 0x7f80),
        Dtype::F32 => scan::<4>(bytes, |b| u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000),
        Dtype::F64 => scan::<8>(bytes, |b| !f64::from_le_bytes(b).is_finite()),
        Dtype::F8_E5M2 => scan::<1>(bytes, |[b]| b & 0x7c == 0x7c),
        // No infinity, and one NaN with either sign (OCP 8-bit floating point, E4M3).
        Dtype::F8_E4M3 => scan::<1>(bytes, |[b]| b & 0x7f == 0x7f),
        _ => None,
    }
}

fn scan<const N: usize>(bytes: &[u8], bad: impl Fn([u8; N]) -> bool + Sync) -> Option<NotFinite> {
    let in_chunk = |(index, chunk): (usize, &[u8])| {
        let elements = chunk.as_chunks::<N>().0;
        let count = elements.iter().filter(|element| bad(**element)).count();
        // Only looked for where there is one, so that the pass above stays a plain loop.
        let first = if count == 0 { None } else { elements.iter().position(|element| bad(*element)) };
        first.map(|first| NotFinite { count, first: index * (CHUNK_BYTES / N) + first })
    };
    bytes
        .par_chunks(CHUNK_BYTES)
        .enumerate()
        .filter_map(in_chunk)
        .reduce_with(|a, b| NotFinite { count: a.count + b.count, first: a.first.min(b.first) })
}

/// The place of element `index` of a tensor of `shape`: `[3, 5]`.
pub(super) fn place(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut place = vec![0; shape.len()];
    for (at, &n) in place.iter_mut().zip(shape).rev() {
        let n = n.max(1);
        *at = index % n;
        index /= n;
    }
    place
}
