//! The form and shape of a linear map, without its numbers. Planning is a fold of layouts through the stages.

use serde::{Deserialize, Serialize};

/// Element types of safetensors files. Weights are floats; the rest are codes and shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(non_camel_case_types, missing_docs)] // the format's own names
#[rustfmt::skip]
pub enum Dtype { BOOL, U8, I8, F8_E5M2, F8_E4M3, I16, U16, F16, BF16, I32, U32, F32, F64, I64, U64 }

impl Dtype {
    /// Every type that we know.
    pub const ALL: &'static [Self] = &[
        Self::BOOL,
        Self::U8,
        Self::I8,
        Self::F8_E5M2,
        Self::F8_E4M3,
        Self::I16,
        Self::U16,
        Self::F16,
        Self::BF16,
        Self::I32,
        Self::U32,
        Self::F32,
        Self::F64,
        Self::I64,
        Self::U64,
    ];

    /// Bytes of one element.
    pub const fn size_bytes(self) -> u64 {
        match self {
            Self::BOOL | Self::U8 | Self::I8 | Self::F8_E5M2 | Self::F8_E4M3 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The name in a safetensors header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BOOL => "BOOL",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::F8_E5M2 => "F8_E5M2",
            Self::F8_E4M3 => "F8_E4M3",
            Self::I16 => "I16",
            Self::U16 => "U16",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I32 => "I32",
            Self::U32 => "U32",
            Self::F32 => "F32",
            Self::F64 => "F64",
            Self::I64 => "I64",
            Self::U64 => "U64",
        }
    }

    /// The type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dtype| dtype.as_str() == name)
    }

    /// Whether weights may be stored so.
    pub const fn is_weight(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32)
    }
}

/// The form and shape of a linear map `[out, in]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Layout {
    /// Plain numbers.
    Dense {
        /// Rows.
        out: usize,
        /// Columns.
        r#in: usize,
        /// Element type on disk.
        dtype: Dtype,
        /// Whether it lies as `[in, out]` on disk.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        transposed: bool,
    },
    /// Codes with one scale, and perhaps one zero point, per row and group of columns.
    Grouped {
        /// Rows.
        out: usize,
        /// Columns.
        r#in: usize,
        /// Bits of a code.
        bits: u32,
        /// Columns that share a scale; `None`: the whole row.
        group_size: Option<usize>,
        /// Whether the whole matrix shares one scale: then there is no `group_size`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        per_tensor: bool,
        /// Without zero points.
        symmetric: bool,
        /// Element type of the scales on disk.
        scale_dtype: Dtype,
    },
    /// Indices into tables of centroids, but for a few outliers.
    Codebook {
        /// Rows.
        out: usize,
        /// Columns.
        r#in: usize,
        /// Entries of a table.
        centroids: usize,
        /// Weights in row order that share a table; `None`: the whole tensor.
        group_size: Option<usize>,
        /// Weights that stand for themselves.
        #[serde(default, skip_serializing_if = "is_zero")]
        outliers: usize,
        /// Element type of centroids and outliers on disk.
        dtype: Dtype,
    },
    /// A mask and the values that it keeps. Reserved: no method makes it yet.
    Masked {
        /// Rows.
        out: usize,
        /// Columns.
        r#in: usize,
        /// Values kept.
        kept: usize,
        /// Element type of the values on disk.
        dtype: Dtype,
    },
    /// `left · right`: `[out, rank] · [rank, in]`.
    Product {
        /// `[out, rank]`.
        left: Box<Self>,
        /// `[rank, in]`.
        right: Box<Self>,
    },
    /// The sum of maps of equal shape. Reserved: no method makes it yet.
    Sum {
        /// The terms.
        terms: Vec<Self>,
    },
}

const fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Layout {
    /// Plain numbers that lie as they are read.
    pub const fn dense((out, r#in): (usize, usize), dtype: Dtype) -> Self {
        Self::Dense { out, r#in, dtype, transposed: false }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Dense { out, r#in, .. }
            | Self::Grouped { out, r#in, .. }
            | Self::Codebook { out, r#in, .. }
            | Self::Masked { out, r#in, .. } => (*out, *r#in),
            Self::Product { left, right } => (left.shape().0, right.shape().1),
            Self::Sum { terms } => terms.first().map_or((0, 0), Self::shape),
        }
    }

    /// Numbers that the map has to choose: weights, factors, kept values; not scales, zeros or indices' tables.
    pub fn parameters(&self) -> u64 {
        match self {
            Self::Dense { out, r#in, .. } | Self::Grouped { out, r#in, .. } | Self::Codebook { out, r#in, .. } => {
                (*out as u64).saturating_mul(*r#in as u64)
            }
            Self::Masked { kept, .. } => *kept as u64,
            Self::Product { left, right } => left.parameters() + right.parameters(),
            Self::Sum { terms } => terms.iter().map(Self::parameters).sum(),
        }
    }

    /// The form's name, as in JSON.
    pub const fn form(&self) -> &'static str {
        match self {
            Self::Dense { .. } => "dense",
            Self::Grouped { .. } => "grouped",
            Self::Codebook { .. } => "codebook",
            Self::Masked { .. } => "masked",
            Self::Product { .. } => "product",
            Self::Sum { .. } => "sum",
        }
    }

    /// Bits of a stored number: the codes' where there are codes, the widest where a map has several.
    pub fn bits(&self) -> u32 {
        match self {
            Self::Dense { dtype, .. } | Self::Masked { dtype, .. } => (dtype.size_bytes() * 8) as u32,
            Self::Grouped { bits, .. } => *bits,
            Self::Codebook { centroids, .. } => centroids.next_power_of_two().trailing_zeros(),
            Self::Product { left, right } => left.bits().max(right.bits()),
            Self::Sum { terms } => terms.iter().map(Self::bits).max().unwrap_or(0),
        }
    }

    /// The rank of a product.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Self::Product { right, .. } => Some(right.shape().0),
            _ => None,
        }
    }
}
