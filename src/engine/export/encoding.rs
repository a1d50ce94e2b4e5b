//! How maps lie in a safetensors file: which tensors a layout becomes, and both ways between numbers and bytes.
//!
//! A site's module `M` (`bert.encoder.layer.0.output.dense`) is stored as
//!
//! | form | tensors |
//! |---|---|
//! | dense | `M.weight` `[out, in]` |
//! | grouped, 8 bits, one scale a row, symmetric | `M.weight` int8 `[out, in]`, `M.weight_scale` `[out, 1]` (`int-quantized`) |
//! | grouped, 4 and 8 bits otherwise; all of 2, 4 and 8 are read so | `M.weight_packed` int32 `[out, words]`, `M.weight_scale` `[out, groups]`, `M.weight_shape` int64 `[2]`, and with zero points `M.weight_zero_point` int32 `[words(out), groups]`, packed down the rows (`pack-quantized`) |
//! | grouped, 2, 3, 5, 6 and 7 bits | `M.weight_bits` uint8 `[out, bytes]`, `M.weight_scale`, `M.weight_shape`, and with zero points `M.weight_zero_bits` uint8 `[out, bytes]`: our own, [`super::bits`] |
//! | either, with one scale for all | `M.weight_scale` `[1]`, and with a zero point `M.weight_zero_point` int8 `[1]` |
//! | codebook | tables and indices: [`super::codebook`] |
//! | product | the two factors as modules of their own, `M.u` `[out, rank]` and `M.v` `[rank, in]`: `y = U (V x) + b` |

use candle_core::Device;

use super::{codebook, codes};
use crate::engine::error::{EngineError, Result};
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::linear::{Dense, LinearMap};
use crate::engine::model::spec::Category;
use crate::engine::model::{Dtype, Layout, TensorInfo};

/// What a module's tensor ends in that holds a map's numbers, in any of the forms.
pub const MAPS: &[&str] = &["weight", "weight_packed", "weight_bits", codebook::INDICES];

/// A tensor of a file, without its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What its bytes count as, if not as its site does.
    pub category: Option<Category>,
}

impl TensorSpec {
    pub(super) fn new(name: String, dtype: Dtype, shape: &[usize]) -> Self {
        Self { name, dtype, shape: shape.to_vec(), category: None }
    }

    pub(super) fn of(self, category: Category) -> Self {
        Self { category: Some(category), ..self }
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().fold(self.dtype.size_bytes(), |bytes, n| bytes.saturating_mul(*n as u64))
    }
}

/// The format name that compressed-tensors gives to a grouped layout.
pub fn format_name(bits: u32, group_size: Option<usize>, symmetric: bool) -> &'static str {
    if codes::is_plain_int8(bits, group_size, symmetric) { "int-quantized" } else { "pack-quantized" }
}

/// The tensors that a map of this layout becomes.
///
/// # Errors
///
/// Forms, and widths of codes, that no format of ours holds.
pub fn tensors(layout: &Layout, module: &str) -> Result<Vec<TensorSpec>> {
    let named = |suffix: &str| format!("{module}.{suffix}");
    match layout {
        Layout::Dense { out, r#in, dtype, transposed } => {
            let shape = if *transposed { [*r#in, *out] } else { [*out, *r#in] };
            Ok(vec![TensorSpec::new(named("weight"), *dtype, &shape)])
        }
        Layout::Grouped { .. } => codes::tensors(layout, module),
        Layout::Product { left, right } => {
            let mut list = tensors(left, &named("u"))?;
            list.extend(tensors(right, &named("v"))?);
            Ok(list)
        }
        Layout::Codebook { .. } => codebook::Shape::of(layout).map_or(Ok(Vec::new()), |shape| shape.tensors(module)),
        Layout::Masked { .. } | Layout::Sum { .. } => {
            Err(unsupported(module, &format!("the form '{}'", layout.form())))
        }
    }
}

/// The bytes of a map, tensor by tensor, in the order of [`tensors`].
pub fn encode(map: &LinearMap, module: &str) -> Result<Vec<(TensorSpec, Vec<u8>)>> {
    if let LinearMap::Stored(stored) = map {
        return encode(&stored.read()?, module);
    }
    let specs = tensors(&map.layout(), module)?;
    let contents = match map {
        LinearMap::Dense(dense) if dense.transposed => {
            vec![float_bytes(&dense.weight.t()?.flatten_all()?.to_vec1::<f32>()?, dense.dtype)]
        }
        LinearMap::Dense(dense) => vec![float_bytes(&map.to_vec()?, dense.dtype)],
        LinearMap::Grouped(grouped) => codes::bytes(grouped),
        LinearMap::Integer(integer) => codes::bytes(&integer.grouped()),
        LinearMap::Codebook(codebook) => codebook::bytes(codebook),
        LinearMap::Product(left, right) => {
            let mut list = encode(left, &format!("{module}.u"))?;
            list.extend(encode(right, &format!("{module}.v"))?);
            return Ok(list);
        }
        LinearMap::Masked(_) | LinearMap::Sum(_) | LinearMap::Stored(_) => Vec::new(),
    };
    Ok(specs.into_iter().zip(contents).collect())
}

/// Numbers as they lie on disk, little end first.
pub fn float_bytes(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// What the config says of a module's codes, where it names the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeHint {
    /// Bits of a code.
    pub bits: u32,
    /// Columns that share a scale.
    pub group_size: Option<usize>,
}

/// A tensor that contradicts its neighbours, and how.
pub type Contradiction = (String, String);

/// Finds out how a module is stored, from the tensors that are there. `None`: there is nothing of that module.
///
/// `hints` tells what the config says of a module's codes, and of those of its factors; `transposed`: plain numbers of it
/// lie as `[in, out]`.
///
/// # Errors
///
/// The tensor that contradicts the others, and how.
pub fn detect(
    module: &str,
    checkpoint: &Checkpoint,
    hints: &dyn Fn(&str) -> Option<CodeHint>,
    transposed: bool,
) -> std::result::Result<Option<Layout>, Contradiction> {
    let named = |suffix: &str| format!("{module}.{suffix}");
    let part = |suffix: &str| checkpoint.get(&named(suffix));
    if let Some(found) = codes::detect(module, checkpoint, hints(module))? {
        return fits(&found, module, checkpoint).map(|()| Some(found));
    }
    if part(codebook::INDICES).is_some() {
        let found = codebook::detect(module, checkpoint)?;
        return fits(&found, module, checkpoint).map(|()| Some(found));
    }
    if let Some(weight) = part("weight") {
        let [out, r#in] = matrix(weight)?;
        let (out, r#in) = if transposed { (r#in, out) } else { (out, r#in) };
        return Ok(Some(Layout::Dense { out, r#in, dtype: weight.dtype, transposed }));
    }
    // Factors do not nest: a product of products would let a name like M.u.u.u… recurse without end
    let factor = |name: &str| -> std::result::Result<Option<Layout>, Contradiction> {
        let stored = MAPS.iter().any(|suffix| checkpoint.get(&format!("{module}.{name}.{suffix}")).is_some());
        if stored { detect(&named(name), checkpoint, hints, false) } else { Ok(None) }
    };
    match (factor("u")?, factor("v")?) {
        (Some(left), Some(right)) if left.shape().1 == right.shape().0 => {
            Ok(Some(Layout::Product { left: Box::new(left), right: Box::new(right) }))
        }
        (Some(left), Some(right)) => {
            Err((named("u"), format!("factors {:?} and {:?} do not fit", left.shape(), right.shape())))
        }
        _ => Ok(None),
    }
}

/// The tensors that a map of this layout was found in, where `has` tells which are there: those of [`tensors`], but where others
/// write what we read otherwise.
///
/// # Errors
///
/// As [`tensors`].
pub fn tensors_found(layout: &Layout, module: &str, has: &dyn Fn(&str) -> bool) -> Result<Vec<TensorSpec>> {
    match layout {
        Layout::Grouped { .. } => codes::tensors_found(layout, module, has),
        Layout::Product { left, right } => {
            let mut list = tensors_found(left, &format!("{module}.u"), has)?;
            list.extend(tensors_found(right, &format!("{module}.v"), has)?);
            Ok(list)
        }
        _ => tensors(layout, module),
    }
}

/// Whether all tensors of a layout are there, each as it must be: what passes is read without a look at shapes.
fn fits(layout: &Layout, module: &str, checkpoint: &Checkpoint) -> std::result::Result<(), Contradiction> {
    let has = |name: &str| checkpoint.get(name).is_some();
    let specs = tensors_found(layout, module, &has).map_err(|error| (module.to_owned(), error.to_string()))?;
    for spec in specs {
        let wanted = format!("{} {:?} is needed", spec.dtype.as_str(), spec.shape);
        match checkpoint.get(&spec.name) {
            None => return Err((spec.name, format!("missing: {wanted}"))),
            Some(found) if found.shape != spec.shape || found.dtype != spec.dtype => {
                return Err((spec.name, format!("{} {:?} where {wanted}", found.dtype.as_str(), found.shape)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

pub(super) fn matrix(tensor: &TensorInfo) -> std::result::Result<[usize; 2], Contradiction> {
    match *tensor.shape.as_slice() {
        [a, b] => Ok([a, b]),
        _ => Err((tensor.name.clone(), format!("shape {:?} where a matrix is needed", tensor.shape))),
    }
}

/// Reads a map of a known layout. Every tensor's shape and dtype is checked against the layout before it is used.
pub fn decode(layout: &Layout, module: &str, checkpoint: &Checkpoint, device: &Device) -> Result<LinearMap> {
    if let Layout::Product { left, right } = layout {
        let left = decode(left, &format!("{module}.u"), checkpoint, device)?;
        let right = decode(right, &format!("{module}.v"), checkpoint, device)?;
        return Ok(LinearMap::Product(Box::new(left), Box::new(right)));
    }
    if fits(layout, module, checkpoint).is_err() {
        return Err(unsupported(module, "a tensor that is not what the header promised"));
    }
    match layout {
        Layout::Dense { out, r#in, dtype, transposed } => {
            let values = checkpoint.to_f32(&format!("{module}.weight"))?;
            if *transposed {
                let stored = Dense::new(values, (*r#in, *out), *dtype, device)?;
                let weight = stored.weight.t()?.contiguous()?;
                return Ok(LinearMap::Dense(Dense { weight, transposed: true, ..stored }));
            }
            Ok(LinearMap::Dense(Dense::new(values, (*out, *r#in), *dtype, device)?))
        }
        Layout::Grouped { .. } => codes::decode(layout, module, checkpoint).map(LinearMap::Grouped),
        Layout::Codebook { .. } => Ok(LinearMap::Codebook(codebook::decode(module, checkpoint)?)),
        _ => Err(unsupported(module, &format!("the form '{}'", layout.form()))),
    }
}

pub(super) fn unsupported(at: &str, what: &str) -> EngineError {
    EngineError::Internal(format!("{at}: {what} can't be stored as safetensors"))
}

#[cfg(test)]
mod tests;
