//! Stored floats as `f32`. Each conversion is exact.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::engine::model::Dtype;

/// Elements that one task converts.
const CHUNK: usize = 1 << 16;
/// Elements that are brought into alignment at a time.
const ALIGNED: usize = 512;

/// The elements of little-endian `bytes`, which need no alignment. `None` for other dtypes than F32, F16, BF16.
///
/// Cost: one pass, in parallel; the result is the only memory.
pub(super) fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(convert::<4>(bytes, |from, to| {
            for (x, b) in to.iter_mut().zip(from) {
                *x = f32::from_le_bytes(*b);
            }
        })),
        Dtype::BF16 => Some(convert::<2>(bytes, |from, to| {
            for (x, b) in to.iter_mut().zip(from) {
                *x = bf16::from_le_bytes(*b).to_f32();
            }
        })),
        Dtype::F16 => Some(convert::<2>(bytes, f16_to_f32)),
        _ => None,
    }
}

/// Through a small aligned buffer, so that `half` can use the processor's own conversion.
fn f16_to_f32(from: &[[u8; 2]], to: &mut [f32]) {
    let mut aligned = [f16::ZERO; ALIGNED];
    for (from, to) in from.chunks(ALIGNED).zip(to.chunks_mut(ALIGNED)) {
        for (x, b) in aligned.iter_mut().zip(from) {
            *x = f16::from_le_bytes(*b);
        }
        if let Some(aligned) = aligned.get(..to.len()) {
            aligned.convert_to_f32_slice(to);
        }
    }
}

fn convert<const N: usize>(bytes: &[u8], each: impl Fn(&[[u8; N]], &mut [f32]) + Sync) -> Vec<f32> {
    let elements = bytes.as_chunks::<N>().0;
    let mut numbers = vec![0.0; elements.len()];
    numbers.par_chunks_mut(CHUNK).zip(elements.par_chunks(CHUNK)).for_each(|(to, from)| each(from, to));
    numbers
}
