//! Codes with one scale, and perhaps one zero point, per row and group of columns.

use rayon::prelude::*;

use super::layout::{Dtype, Layout};

/// Rows that go to a thread, at least.
const ROWS: usize = 16;

/// `w_ij = (code_ij - zero_ig) · scale_ig`, where `g = j / group_size`; or one scale and zero for all.
///
/// Codes and zeros are signed, `-2^(bits-1) ..= 2^(bits-1) - 1`. The last group of a row may be short.
#[derive(Debug, Clone, PartialEq)]
pub struct Grouped {
    /// Rows.
    pub out: usize,
    /// Columns.
    pub r#in: usize,
    /// Bits of a code, 2 to 8.
    pub bits: u32,
    /// Columns that share a scale; `None`: the whole row.
    pub group_size: Option<usize>,
    /// Whether the whole matrix shares one scale: then there is no `group_size`.
    pub per_tensor: bool,
    /// `[out, in]`, row by row.
    pub codes: Vec<i8>,
    /// `[out, groups]`, or one; already rounded to `scale_dtype`.
    pub scales: Vec<f32>,
    /// As many as scales; `None`: all zero.
    pub zeros: Option<Vec<i8>>,
    /// What scales are stored as.
    pub scale_dtype: Dtype,
}

impl Grouped {
    /// Groups in a row of `columns`.
    pub fn groups(columns: usize, group_size: Option<usize>) -> usize {
        group_size.map_or(1, |size| columns.div_ceil(size.max(1)))
    }

    /// The weights, `[out, in]`, row by row.
    pub fn decode(&self) -> Vec<f32> {
        let size = self.group_size.unwrap_or(self.r#in).max(1);
        let groups = Self::groups(self.r#in, self.group_size);
        let columns = self.r#in.max(1);
        let mut weights = vec![0f32; self.codes.len()];
        let rows = weights.par_chunks_mut(columns).zip(self.codes.par_chunks(columns)).with_min_len(ROWS).enumerate();
        rows.for_each(|(row, (weights, codes))| {
            for (group, (weights, codes)) in weights.chunks_mut(size).zip(codes.chunks(size)).enumerate() {
                let at = if self.per_tensor { 0 } else { row * groups + group };
                let scale = self.scales.get(at).copied().unwrap_or(0.0);
                let zero = self.zeros.as_ref().and_then(|zeros| zeros.get(at)).copied().unwrap_or(0);
                let decoded = codes.iter().map(|code| f32::from(i16::from(*code) - i16::from(zero)) * scale);
                weights.iter_mut().zip(decoded).for_each(|(weight, decoded)| *weight = decoded);
            }
        });
        weights
    }

    /// The form and shape.
    pub fn layout(&self) -> Layout {
        Layout::Grouped {
            out: self.out,
            r#in: self.r#in,
            bits: self.bits,
            group_size: self.group_size,
            per_tensor: self.per_tensor,
            symmetric: self.zeros.is_none(),
            scale_dtype: self.scale_dtype,
        }
    }
}
