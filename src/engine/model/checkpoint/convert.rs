//! Stored floats as `f32`. Each conversion is exact.

use half::bf16;
use rayon::prelude::*;

use crate::engine::kernels::half::f16_to_f32;
use crate::engine::model::Dtype;

/// Elements that one task converts.
const CHUNK: usize = 1 << 16;

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

fn convert<const N: usize>(bytes: &[u8], each: impl Fn(&[[u8; N]], &mut [f32]) + Sync) -> Vec<f32> {
    let elements = bytes.as_chunks::<N>().0;
    let mut numbers = vec![0.0; elements.len()];
    numbers.par_chunks_mut(CHUNK).zip(elements.par_chunks(CHUNK)).for_each(|(to, from)| each(from, to));
    numbers
}
