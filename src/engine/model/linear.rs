//! A linear map in whichever form the last method left it.
//!
//! Forms are few and matched in few places: here (`forward`, `rows`, `to_dense`, `layout`) and where they are stored
//! (`export::store`). A new form is a variant; the compiler lists the places.

use candle_core::{Device, Tensor};

use super::grouped::Grouped;
pub use super::input::Input;
use super::integer::Integer;
use super::layout::{Dtype, Layout};
use super::sparse::{Codebook, Masked};
use super::stored::Stored;
use crate::engine::error::{EngineError, Result};
use crate::engine::kernels;

/// `y = map(input(x)) + bias`. `map: [out, in]`, `x: [tokens, in]`, `y: [tokens, out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// The map.
    pub map: LinearMap,
    /// `[out]`, f32, already rounded to `bias_dtype`.
    pub bias: Option<Tensor>,
    /// What the bias is stored as.
    pub bias_dtype: Dtype,
    /// What happens to `x` first.
    pub input: Input,
}

/// The numbers of a linear map `[out, in]`. Closed, and nests.
#[derive(Debug, Clone)]
pub enum LinearMap {
    /// Plain numbers.
    Dense(Dense),
    /// Codes with scales and perhaps zero points per row and group.
    Grouped(Grouped),
    /// Indices into tables of centroids.
    Codebook(Codebook),
    /// Kept values and where they stand.
    Masked(Masked),
    /// `left · right`, `[out, rank] · [rank, in]`: low rank. Each side is a map of any form.
    Product(Box<Self>, Box<Self>),
    /// The sum of maps of one shape: low rank plus sparse.
    Sum(Vec<Self>),
    /// Codes of 8 bits, laid out for inputs of 8 bits.
    Integer(Integer),
    /// Any of these, still in its file.
    Stored(Stored),
}

/// Plain numbers, held as f32 and stored as `dtype`.
#[derive(Debug, Clone)]
pub struct Dense {
    /// `[out, in]`, f32.
    pub weight: Tensor,
    /// What it is stored as; the numbers are already rounded to it.
    pub dtype: Dtype,
    /// Whether it is stored as `[in, out]`.
    pub transposed: bool,
}

impl Dense {
    /// Takes `[out, in]` f32 numbers and rounds them to what they will be stored as.
    pub fn new(values: Vec<f32>, (out, r#in): (usize, usize), dtype: Dtype, device: &Device) -> Result<Self> {
        let mut values = values;
        dtype.round(&mut values);
        Ok(Self { weight: Tensor::from_vec(values, (out, r#in), device)?, dtype, transposed: false })
    }
}

impl Linear {
    /// `y = map(input(x)) + bias`. `x: [tokens, in]`, `y: [tokens, out]`.
    ///
    /// # Cost
    ///
    /// Forms with codes are decoded at every call: [`Self::realized`] first where there are many.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.input {
            Input::None => self.map.forward(x, self.bias.as_ref()),
            Input::Scale(scale) => self.map.forward(&x.broadcast_mul(scale)?, self.bias.as_ref()),
            Input::DynamicInt8 | Input::StaticInt8 { .. } => {
                self.map.forward_int8(x, self.bias.as_ref(), self.input.scale())
            }
        }
    }

    /// The rows of an embedding table with these ids, `[ids, in]`. `ids` must lie below `out`.
    pub fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        self.map.rows(ids)
    }

    /// The same map in memory, in the form that it has.
    pub fn read(&self) -> Result<Self> {
        Ok(match &self.map {
            LinearMap::Stored(stored) => Self { map: stored.read()?, ..self.clone() },
            _ => self.clone(),
        })
    }

    /// The same map, decoded for many calls of [`Self::forward`]: products stay products, codes of 8 bits are laid out where
    /// inputs have 8 bits, all else becomes dense.
    pub fn realized(&self) -> Result<Self> {
        Ok(Self { map: self.map.realized(self.input.is_int8())?, ..self.clone() })
    }
}

impl LinearMap {
    fn forward(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Dense(dense) => Ok(kernels::linear::linear(x, &dense.weight, bias)?),
            Self::Product(left, right) => left.forward(&right.forward(x, None)?, bias),
            Self::Grouped(_) | Self::Codebook(_) | Self::Masked(_) | Self::Integer(_) => {
                Ok(kernels::linear::linear(x, &self.to_dense(x.device())?, bias)?)
            }
            Self::Sum(terms) => {
                let mut terms = terms.iter();
                let first = terms.next().ok_or_else(|| EngineError::Internal("a sum of no maps".into()))?;
                terms.try_fold(first.forward(x, bias)?, |y, term| Ok((y + term.forward(x, None)?)?))
            }
            Self::Stored(stored) => stored.read()?.forward(x, bias),
        }
    }

    /// The same of inputs that are rounded to 8 bits, with one scale for all tokens or one for each: by whole numbers where the
    /// map's codes have 8 bits and one scale a row. Of two factors both are fed so, the second with a scale for each token.
    fn forward_int8(&self, x: &Tensor, bias: Option<&Tensor>, scale: Option<f32>) -> Result<Tensor> {
        match self {
            Self::Integer(integer) => integer.forward(x, bias, scale),
            Self::Product(left, right) => left.forward_int8(&right.forward_int8(x, None, scale)?, bias, None),
            Self::Stored(stored) => stored.read()?.forward_int8(x, bias, scale),
            Self::Grouped(grouped) => match Integer::new(grouped)? {
                Some(integer) => integer.forward(x, bias, scale),
                None => self.forward(&kernels::int8::rounded(x, scale)?, bias),
            },
            _ => self.forward(&kernels::int8::rounded(x, scale)?, bias),
        }
    }

    fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(dense) => Ok(dense.weight.index_select(ids, 0)?),
            Self::Product(left, right) => {
                let right = right.to_dense(ids.device())?;
                Ok(left.rows(ids)?.matmul(&right)?)
            }
            Self::Grouped(_) | Self::Codebook(_) | Self::Masked(_) | Self::Sum(_) | Self::Integer(_) => {
                Ok(self.to_dense(ids.device())?.index_select(ids, 0)?)
            }
            Self::Stored(stored) => stored.rows(ids),
        }
    }

    /// `[out, in]`, f32.
    pub fn to_dense(&self, device: &Device) -> Result<Tensor> {
        match self {
            Self::Dense(dense) => Ok(dense.weight.clone()),
            Self::Grouped(grouped) => Ok(Tensor::from_vec(grouped.decode(), (grouped.out, grouped.r#in), device)?),
            Self::Integer(integer) => Self::Grouped(integer.grouped()).to_dense(device),
            Self::Codebook(codebook) => Ok(Tensor::from_vec(codebook.decode(), codebook.shape(), device)?),
            Self::Masked(masked) => Ok(Tensor::from_vec(masked.decode(), masked.shape(), device)?),
            Self::Product(left, right) => Ok(left.to_dense(device)?.matmul(&right.to_dense(device)?)?),
            Self::Sum(terms) => {
                let mut terms = terms.iter();
                let first = terms.next().ok_or_else(|| EngineError::Internal("a sum of no maps".into()))?;
                terms.try_fold(first.to_dense(device)?, |sum, term| Ok((sum + term.to_dense(device)?)?))
            }
            Self::Stored(stored) => stored.read()?.to_dense(device),
        }
    }

    /// `[out, in]` numbers, row by row.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        match self {
            Self::Grouped(grouped) => return Ok(grouped.decode()),
            Self::Stored(stored) => return stored.read()?.to_vec(),
            _ => {}
        }
        Ok(self.to_dense(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?)
    }

    /// Looks at the `[out, in]` numbers, row by row, without a copy of those that lie so in this machine's memory.
    pub fn look<R>(&self, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
        match self {
            Self::Dense(dense) => Ok(kernels::look(&dense.weight, look)?),
            _ => Ok(look(&self.to_vec()?)),
        }
    }

    /// `keeps_codes`: those that inputs of 8 bits are multiplied with are laid out for it.
    pub(super) fn realized(&self, keeps_codes: bool) -> Result<Self> {
        let side = |map: &Self| map.realized(keeps_codes).map(Box::new);
        if let Self::Grouped(grouped) = self
            && keeps_codes
            && let Some(integer) = Integer::new(grouped)?
        {
            return Ok(Self::Integer(integer));
        }
        Ok(match self {
            Self::Stored(stored) => stored.read()?.realized(keeps_codes)?,
            Self::Product(left, right) => Self::Product(side(left)?, side(right)?),
            Self::Integer(_) if keeps_codes => self.clone(),
            Self::Dense(_) => self.clone(),
            _ => Self::Dense(Dense { weight: self.to_dense(&Device::Cpu)?, dtype: Dtype::F32, transposed: false }),
        })
    }

    /// The form and shape, without the numbers.
    pub fn layout(&self) -> Layout {
        match self {
            Self::Dense(dense) => {
                let (out, r#in) = dense.weight.dims2().unwrap_or_default();
                Layout::Dense { out, r#in, dtype: dense.dtype, transposed: dense.transposed }
            }
            Self::Grouped(grouped) => grouped.layout(),
            Self::Integer(integer) => integer.layout(),
            Self::Codebook(codebook) => codebook.layout(),
            Self::Masked(masked) => masked.layout(),
            Self::Product(left, right) => {
                Layout::Product { left: Box::new(left.layout()), right: Box::new(right.layout()) }
            }
            Self::Sum(terms) => Layout::Sum { terms: terms.iter().map(Self::layout).collect() },
            Self::Stored(stored) => stored.layout().clone(),
        }
    }
}

impl Dtype {
    /// Rounds f32 numbers to what this type can hold, to nearest, ties to even.
    pub fn round(self, values: &mut [f32]) {
        match self {
            Self::F16 => values.iter_mut().for_each(|v| *v = half::f16::from_f32(*v).to_f32()),
            Self::BF16 => values.iter_mut().for_each(|v| *v = half::bf16::from_f32(*v).to_f32()),
            _ => {}
        }
    }

    /// The nearest number that this type can hold.
    pub fn rounded(self, value: f32) -> f32 {
        let mut one = [value];
        self.round(&mut one);
        one[0]
    }
}
