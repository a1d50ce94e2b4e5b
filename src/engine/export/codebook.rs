//! Tables of centroids in a safetensors file. A module `M` is stored as
//!
//! | tensor | holds |
//! |---|---|
//! | `M.weight_codebook` `[tables, centroids]` | the tables, in order, in the model's type |
//! | `M.weight_indices` uint8 `[bytes]` | one index for every weight in row order, `ceil(log2(centroids))` bits each, one after another from the lowest bit of the first byte; what is left of the last byte is 0 |
//! | `M.weight_codebook_shape` int64 `[3]` | rows, columns, and the weights in row order that share a table; 0: all of them |
//! | `M.outlier_positions` uint32 `[n]`, `M.outlier_values` `[n]` | where there are weights that stand for themselves: their places in row order, ascending, and what they are |

use std::borrow::Cow;

use super::TensorSpec;
use super::encoding::float_bytes;
use crate::engine::error::{EngineError, Result};
use crate::engine::findings::tensor_pointer;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::sparse::{Codebook, Outliers};
use crate::engine::model::spec::Category;
use crate::engine::model::{Dtype, Layout};
use crate::engine::problem::Code;

/// Where a module's indices lie. Their being there says that it has this form.
pub const INDICES: &str = "weight_indices";
const TABLES: &str = "weight_codebook";
const SHAPE: &str = "weight_codebook_shape";
const POSITIONS: &str = "outlier_positions";
const VALUES: &str = "outlier_values";

/// Fewest and most entries of a table.
pub const CENTROIDS: std::ops::RangeInclusive<usize> = 2..=256;
/// Most rows, and most columns.
const LONGEST: i64 = 1 << 31;

/// Every tensor's name behind the module's.
pub const TENSORS: [&str; 5] = [INDICES, TABLES, SHAPE, POSITIONS, VALUES];

/// Bits of an index into so many centroids.
const fn bits(centroids: usize) -> u32 {
    centroids.next_power_of_two().trailing_zeros()
}

/// Bytes of so many indices.
fn index_bytes(weights: usize, centroids: usize) -> usize {
    (weights as u128 * u128::from(bits(centroids))).div_ceil(8) as usize
}

/// A codebook by its numbers' counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub out: usize,
    /// Columns.
    pub r#in: usize,
    /// Entries of a table.
    pub centroids: usize,
    /// Weights that share a table; `None`: all.
    pub group_size: Option<usize>,
    /// Weights that stand for themselves.
    pub outliers: usize,
    /// What centroids and outliers are stored as.
    pub dtype: Dtype,
}

impl Shape {
    /// The layout of that shape.
    pub const fn layout(self) -> Layout {
        let Self { out, r#in, centroids, group_size, outliers, dtype } = self;
        Layout::Codebook { out, r#in, centroids, group_size, outliers, dtype }
    }

    /// The shape of a layout that is a codebook's.
    pub const fn of(layout: &Layout) -> Option<Self> {
        match *layout {
            Layout::Codebook { out, r#in, centroids, group_size, outliers, dtype } => {
                Some(Self { out, r#in, centroids, group_size, outliers, dtype })
            }
            _ => None,
        }
    }

    /// The module's tensors.
    ///
    /// # Errors
    ///
    /// More weights than positions can tell, where there are outliers.
    pub(super) fn tensors(self, module: &str) -> Result<Vec<TensorSpec>> {
        let named = |suffix: &str| format!("{module}.{suffix}");
        let weights = self.out.saturating_mul(self.r#in);
        if self.outliers > 0 && u32::try_from(weights).is_err() {
            return Err(EngineError::Internal(format!(
                "{module}: outliers of [{}, {}] weights can't be stored: positions have 32 bits",
                self.out, self.r#in
            )));
        }
        let tables = [Codebook::tables(weights, self.group_size), self.centroids];
        let mut list = vec![
            TensorSpec::new(named(INDICES), Dtype::U8, &[index_bytes(weights, self.centroids)]),
            TensorSpec::new(named(TABLES), self.dtype, &tables).of(Category::ScalesAndZeros),
            TensorSpec::new(named(SHAPE), Dtype::I64, &[3]).of(Category::Metadata),
        ];
        if self.outliers > 0 {
            list.push(TensorSpec::new(named(POSITIONS), Dtype::U32, &[self.outliers]));
            list.push(TensorSpec::new(named(VALUES), self.dtype, &[self.outliers]));
        }
        Ok(list)
    }
}

/// The tensors' bytes, in the order of [`Shape::tensors`].
pub fn bytes(codebook: &Codebook) -> Vec<Vec<u8>> {
    let size = codebook.group_size.unwrap_or(0);
    let shape = [codebook.out, codebook.r#in, size].iter().flat_map(|n| (*n as i64).to_le_bytes()).collect();
    let mut list =
        vec![packed(&codebook.indices, bits(codebook.centroids)), float_bytes(&codebook.tables, codebook.dtype), shape];
    if !codebook.outliers.positions.is_empty() {
        list.push(codebook.outliers.positions.iter().flat_map(|at| at.to_le_bytes()).collect());
        list.push(float_bytes(&codebook.outliers.values, codebook.dtype));
    }
    list
}

fn packed(indices: &[u8], bits: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((indices.len() * bits as usize).div_ceil(8));
    let (mut word, mut filled) = (0u32, 0u32);
    for index in indices {
        word |= u32::from(*index) << filled;
        filled += bits;
        while filled >= 8 {
            bytes.push(word as u8);
            word >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        bytes.push(word as u8);
    }
    bytes
}

/// The first `count` indices; what is left of the bytes.
fn unpacked(bytes: &[u8], bits: u32, count: usize) -> (Vec<u8>, u32) {
    let mut indices = Vec::with_capacity(count.min(bytes.len().saturating_mul(8)));
    let mask = (1u32 << bits) - 1;
    let (mut word, mut filled) = (0u32, 0u32);
    for byte in bytes {
        word |= u32::from(*byte) << filled;
        filled += 8;
        while filled >= bits && indices.len() < count {
            indices.push((word & mask) as u8);
            word >>= bits;
            filled -= bits;
        }
    }
    (indices, word)
}

/// What a module's tensors are found to be, before those that are long are looked at: they may be coded.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    /// The bytes of the three numbers.
    pub shape: Cow<'a, [u8]>,
    /// Bytes of the indices.
    pub index_bytes: u64,
    /// How many tables of how many centroids.
    pub table_shape: [usize; 2],
    /// Bytes of positions and of values, where there are any.
    pub outlier_bytes: Option<(u64, u64)>,
    /// What tables and values are stored as.
    pub dtype: Dtype,
}

/// What the long ones hold.
#[derive(Debug, Clone)]
pub struct Numbers<'a> {
    /// The bytes of the indices.
    pub indices: &'a [u8],
    /// The tables, one after another.
    pub tables: Vec<f32>,
    /// The bytes of the outliers' places.
    pub positions: &'a [u8],
    /// What they are.
    pub values: Vec<f32>,
}

impl Found<'_> {
    /// The counts, without a look at indices and tables.
    ///
    /// # Errors
    ///
    /// Which tensor contradicts the others, and how.
    pub fn counts(&self) -> std::result::Result<Shape, (&'static str, String)> {
        let (numbers, rest) = self.shape.as_chunks::<8>();
        let ([out, r#in, size], []) = (numbers, rest) else {
            return Err((SHAPE, "three int64 are needed: rows, columns, weights that share a table".to_owned()));
        };
        let number = |bytes: &[u8; 8], low: i64, high: i64| {
            let n = i64::from_le_bytes(*bytes);
            let wrong = || (SHAPE, format!("{n} where {low} to {high} is needed"));
            usize::try_from(n).ok().filter(|_| (low..=high).contains(&n)).ok_or_else(wrong)
        };
        let (out, r#in) = (number(out, 1, LONGEST)?, number(r#in, 1, LONGEST)?);
        let weights = out.saturating_mul(r#in);
        let size = number(size, 0, weights.saturating_sub(1).try_into().unwrap_or(i64::MAX))?;
        let group_size = Some(size).filter(|size| *size > 0);
        let [tables, centroids] = self.table_shape;
        if !CENTROIDS.contains(&centroids) || tables != Codebook::tables(weights, group_size) {
            let wanted = Codebook::tables(weights, group_size);
            return Err((TABLES, format!("[{tables}, {centroids}] where {wanted} tables of 2 to 256 are needed")));
        }
        if !self.dtype.is_weight() {
            return Err((TABLES, format!("{}: centroids are F32, F16 or BF16", self.dtype.as_str())));
        }
        let (found, bytes) = (self.index_bytes, index_bytes(weights, centroids));
        if found != bytes as u64 {
            return Err((
                INDICES,
                format!("{found} bytes where {weights} indices of {} bits take {bytes}", bits(centroids)),
            ));
        }
        let outliers = match self.outlier_bytes.map(|(positions, values)| (positions / 4, values)) {
            None => 0,
            Some((outliers, _)) if weights - 1 > u32::MAX as usize => {
                return Err((POSITIONS, format!("{outliers} of {weights} weights: 32 bits do not tell them")));
            }
            Some((outliers @ 1.., values)) if outliers.checked_mul(self.dtype.size_bytes()) == Some(values) => {
                outliers as usize
            }
            Some(_) => return Err((VALUES, "another number than 'outlier_positions', or none".to_owned())),
        };
        Ok(Shape { out, r#in, centroids, group_size, outliers, dtype: self.dtype })
    }

    /// The codebook of these numbers.
    ///
    /// # Errors
    ///
    /// As [`Found::counts`]; other numbers of them than were found; an index beyond its table; positions that do not ascend,
    /// or lie beyond the weights.
    pub fn read(&self, numbers: Numbers<'_>) -> std::result::Result<Codebook, (&'static str, String)> {
        let Shape { out, r#in, centroids, group_size, outliers, dtype } = self.counts()?;
        let weights = out.saturating_mul(r#in);
        let (indices, rest) = unpacked(numbers.indices, bits(centroids), weights);
        let (positions, tables) = (numbers.positions.as_chunks::<4>().0, Codebook::tables(weights, group_size));
        let other = |suffix: &'static str| (suffix, "other numbers than its shape says".to_owned());
        if indices.len() != weights {
            return Err(other(INDICES));
        }
        if Some(numbers.tables.len()) != tables.checked_mul(centroids) {
            return Err(other(TABLES));
        }
        if (positions.len(), numbers.values.len()) != (outliers, outliers) {
            return Err(other(VALUES));
        }
        if let Some(at) = indices.iter().position(|index| usize::from(*index) >= centroids) {
            let index = indices.get(at).copied().unwrap_or_default();
            return Err((INDICES, format!("index {index} of weight {at} is beyond its {centroids} centroids")));
        }
        if rest != 0 {
            return Err((INDICES, "bits behind the last index are not 0".to_owned()));
        }
        let positions: Vec<u32> = positions.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let ascend = positions.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascend || positions.last().is_some_and(|last| *last as usize >= weights) {
            return Err((POSITIONS, format!("places do not ascend, or lie beyond {weights} weights")));
        }
        let outliers = Outliers { positions, values: numbers.values };
        Ok(Codebook { out, r#in, indices, tables: numbers.tables, centroids, group_size, outliers, dtype })
    }
}

/// What is there of a module that has indices.
fn found<'a>(module: &str, checkpoint: &'a Checkpoint) -> std::result::Result<Found<'a>, (&'static str, String)> {
    let missing = |suffix: &'static str| (suffix, "missing beside 'weight_indices'".to_owned());
    let part = |suffix: &'static str| checkpoint.get(&format!("{module}.{suffix}")).ok_or_else(|| missing(suffix));
    let bytes_of = |suffix: &'static str, dtype: Dtype| match part(suffix)? {
        info if info.dtype == dtype => Ok(info.plain_bytes()),
        info => Err((suffix, format!("{} where {} is needed", info.dtype.as_str(), dtype.as_str()))),
    };
    let tables = part(TABLES)?;
    let table_shape = match *tables.shape.as_slice() {
        [tables, centroids] => [tables, centroids],
        _ => return Err((TABLES, format!("shape {:?} where [tables, centroids] is needed", tables.shape))),
    };
    let has_outliers = part(POSITIONS).is_ok() || part(VALUES).is_ok();
    let outliers = || Ok((bytes_of(POSITIONS, Dtype::U32)?, bytes_of(VALUES, tables.dtype)?));
    // Not before its length is known: it may be coded, and decode to any length
    let shape = match bytes_of(SHAPE, Dtype::I64)? {
        24 => checkpoint.read(&format!("{module}.{SHAPE}")).map_err(|_| (SHAPE, "does not decode".to_owned()))?,
        _ => Cow::Borrowed(&[][..]),
    };
    Ok(Found {
        shape,
        index_bytes: bytes_of(INDICES, Dtype::U8)?,
        table_shape,
        outlier_bytes: has_outliers.then(outliers).transpose()?,
        dtype: tables.dtype,
    })
}

/// The layout of a module that has indices.
///
/// # Errors
///
/// The tensor that contradicts the others, and how.
pub(super) fn detect(module: &str, checkpoint: &Checkpoint) -> std::result::Result<Layout, (String, String)> {
    let named = |(suffix, detail): (&str, String)| (format!("{module}.{suffix}"), detail);
    let counts = found(module, checkpoint).and_then(|found| found.counts()).map_err(named)?;
    Ok(counts.layout())
}

/// Reads a module's codebook.
///
/// # Errors
///
/// `tensor_shape` where a tensor contradicts the others, or holds what points nowhere; as [`Checkpoint::read`].
pub(super) fn decode(module: &str, checkpoint: &Checkpoint) -> Result<Codebook> {
    let named = |suffix: &str| format!("{module}.{suffix}");
    let wrong = |(suffix, detail): (&str, String)| {
        EngineError::invalid(tensor_pointer(&named(suffix)), Code::TensorShape, detail)
    };
    let found = found(module, checkpoint).map_err(wrong)?;
    let (positions, values) = match found.outlier_bytes {
        Some(_) => (checkpoint.read(&named(POSITIONS))?, checkpoint.to_f32(&named(VALUES))?),
        None => (Cow::Borrowed(&[][..]), Vec::new()),
    };
    let (indices, tables) = (checkpoint.read(&named(INDICES))?, checkpoint.to_f32(&named(TABLES))?);
    found.read(Numbers { indices: &indices, tables, positions: &positions, values }).map_err(wrong)
}

#[cfg(test)]
mod tests;
