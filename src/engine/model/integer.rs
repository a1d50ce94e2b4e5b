//! Codes laid out for the kernel of whole numbers.

use std::sync::Arc;

use candle_core::Tensor;

use super::grouped::Grouped;
use super::layout::{Dtype, Layout};
use crate::engine::error::Result;
use crate::engine::kernels::int8::{self, MOST_COLUMNS, Packed};

/// What codes of 8 bits with one scale a row become where inputs have 8 bits, too: the same numbers in another order.
#[derive(Debug, Clone)]
pub struct Integer {
    packed: Arc<Packed>,
    scale_dtype: Dtype,
}

impl Integer {
    /// Of codes that the kernel multiplies as they are; `None` of others.
    ///
    /// # Errors
    ///
    /// Codes and scales that are not as many as the shape says.
    pub fn new(grouped: &Grouped) -> Result<Option<Self>> {
        if grouped.bits != 8
            || grouped.group_size.is_some()
            || grouped.per_tensor
            || grouped.zeros.is_some()
            || grouped.r#in > MOST_COLUMNS
        {
            return Ok(None);
        }
        let packed = Packed::new(&grouped.codes, &grouped.scales, (grouped.out, grouped.r#in))?;
        Ok(Some(Self { packed: Arc::new(packed), scale_dtype: grouped.scale_dtype }))
    }

    /// The codes as they are stored.
    pub fn grouped(&self) -> Grouped {
        let (out, r#in) = self.packed.shape();
        Grouped {
            out,
            r#in,
            bits: 8,
            group_size: None,
            per_tensor: false,
            codes: self.packed.codes(),
            scales: self.packed.scales().to_vec(),
            zeros: None,
            scale_dtype: self.scale_dtype,
        }
    }

    /// The form and shape that it is stored in.
    pub fn layout(&self) -> Layout {
        let (out, r#in) = self.packed.shape();
        let scale_dtype = self.scale_dtype;
        Layout::Grouped { out, r#in, bits: 8, group_size: None, per_tensor: false, symmetric: true, scale_dtype }
    }

    /// [`int8::linear()`].
    pub(super) fn forward(&self, x: &Tensor, bias: Option<&Tensor>, scale: Option<f32>) -> Result<Tensor> {
        Ok(int8::linear(x, &self.packed, bias, scale)?)
    }
}
