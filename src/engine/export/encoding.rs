//! How maps lie in a safetensors file: which tensors a layout becomes, and both ways between numbers and bytes.
//!
//! A site's module `M` (`bert.encoder.layer.0.output.dense`) is stored as
//!
//! | form | tensors |
//! |---|---|
//! | dense | `M.weight` `[out, in]` |
//! | grouped, 8 bits, one scale a row, symmetric | `M.weight` int8 `[out, in]`, `M.weight_scale` `[out, 1]` (`int-quantized`) |
//! | grouped, otherwise | `M.weight_packed` int32 `[out, words]`, `M.weight_scale` `[out, groups]`, `M.weight_shape` int64 `[2]`, and with zero points `M.weight_zero_point` int32 `[words(out), groups]`, packed down the rows (`pack-quantized`) |
//! | product | the two factors as modules of their own, `M.u` `[out, rank]` and `M.v` `[rank, in]`: `y = U (V x) + b` |

use candle_core::Device;

use super::pack;
use crate::engine::error::{EngineError, Result};
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::grouped::Grouped;
use crate::engine::model::linear::{Dense, LinearMap};
use crate::engine::model::spec::Category;
use crate::engine::model::{Dtype, Layout, TensorInfo};

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
    fn new(name: String, dtype: Dtype, shape: &[usize]) -> Self {
        Self { name, dtype, shape: shape.to_vec(), category: None }
    }

    fn of(self, category: Category) -> Self {
        Self { category: Some(category), ..self }
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().fold(self.dtype.size_bytes(), |bytes, n| bytes.saturating_mul(*n as u64))
    }
}

/// Whether a grouped layout is stored as plain int8.
fn is_plain_int8(bits: u32, group_size: Option<usize>, symmetric: bool) -> bool {
    bits == 8 && group_size.is_none() && symmetric
}

/// The format name that compressed-tensors gives to a grouped layout.
pub fn format_name(bits: u32, group_size: Option<usize>, symmetric: bool) -> &'static str {
    if is_plain_int8(bits, group_size, symmetric) { "int-quantized" } else { "pack-quantized" }
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
        Layout::Grouped { out, r#in, bits, group_size, symmetric, scale_dtype } => {
            let groups = Grouped::groups(*r#in, *group_size);
            let scale =
                TensorSpec::new(named("weight_scale"), *scale_dtype, &[*out, groups]).of(Category::ScalesAndZeros);
            if is_plain_int8(*bits, *group_size, *symmetric) {
                return Ok(vec![TensorSpec::new(named("weight"), Dtype::I8, &[*out, *r#in]), scale]);
            }
            if !matches!(bits, 2 | 4 | 8) {
                return Err(unsupported(module, &format!("{bits}-bit codes: 2, 4 and 8 can be stored")));
            }
            let packed = [*out, pack::words(*r#in, *bits)];
            let shape = TensorSpec::new(named("weight_shape"), Dtype::I64, &[2]).of(Category::Metadata);
            let mut list = vec![TensorSpec::new(named("weight_packed"), Dtype::I32, &packed), scale, shape];
            if !symmetric {
                let zeros = [pack::words(*out, *bits), groups];
                let zeros = TensorSpec::new(named("weight_zero_point"), Dtype::I32, &zeros);
                list.push(zeros.of(Category::ScalesAndZeros));
            }
            Ok(list)
        }
        Layout::Product { left, right } => {
            let mut list = tensors(left, &named("u"))?;
            list.extend(tensors(right, &named("v"))?);
            Ok(list)
        }
        Layout::Codebook { .. } | Layout::Masked { .. } | Layout::Sum { .. } => {
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
        LinearMap::Grouped(grouped) => grouped_bytes(grouped),
        LinearMap::Product(left, right) => {
            let mut list = encode(left, &format!("{module}.u"))?;
            list.extend(encode(right, &format!("{module}.v"))?);
            return Ok(list);
        }
        LinearMap::Codebook(_) | LinearMap::Masked(_) | LinearMap::Sum(_) | LinearMap::Stored(_) => Vec::new(),
    };
    Ok(specs.into_iter().zip(contents).collect())
}

fn grouped_bytes(g: &Grouped) -> Vec<Vec<u8>> {
    let scales = float_bytes(&g.scales, g.scale_dtype);
    if is_plain_int8(g.bits, g.group_size, g.zeros.is_none()) {
        return vec![g.codes.iter().map(|code| code.cast_unsigned()).collect(), scales];
    }
    let mut packed = Vec::with_capacity(g.out * pack::words(g.r#in, g.bits));
    for row in g.codes.chunks(g.r#in.max(1)) {
        pack::pack(row.iter().copied(), g.bits, &mut packed);
    }
    let words = |words: &[i32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let shape = [g.out as i64, g.r#in as i64].iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut list = vec![words(&packed), scales, shape];
    if let Some(zeros) = &g.zeros {
        // Packed down the rows: each column of groups is a run, and the runs lie side by side
        let groups = Grouped::groups(g.r#in, g.group_size);
        let height = pack::words(g.out, g.bits);
        let mut table = vec![0i32; height * groups];
        for group in 0..groups {
            let mut run = Vec::with_capacity(height);
            pack::pack(zeros.iter().skip(group).step_by(groups).copied(), g.bits, &mut run);
            for (cell, word) in table.iter_mut().skip(group).step_by(groups).zip(run) {
                *cell = word;
            }
        }
        list.push(words(&table));
    }
    list
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
    if let Some(packed) = part("weight_packed") {
        return detect_packed(module, packed, checkpoint, hints(module)).map(Some);
    }
    if let Some(weight) = part("weight") {
        let [out, r#in] = matrix(weight)?;
        if weight.dtype != Dtype::I8 {
            let (out, r#in) = if transposed { (r#in, out) } else { (out, r#in) };
            return Ok(Some(Layout::Dense { out, r#in, dtype: weight.dtype, transposed }));
        }
        let without = || (named("weight"), "int8 without a 'weight_scale' beside it".to_owned());
        let scale = part("weight_scale").ok_or_else(without)?;
        if scale.shape != [out, 1] || !scale.dtype.is_weight() {
            return Err((scale.name.clone(), format!("shape {:?} where [{out}, 1] is needed", scale.shape)));
        }
        let scale_dtype = scale.dtype;
        return Ok(Some(Layout::Grouped { out, r#in, bits: 8, group_size: None, symmetric: true, scale_dtype }));
    }
    // Factors do not nest: a product of products would let a name like M.u.u.u… recurse without end
    let factor = |name: &str| -> std::result::Result<Option<Layout>, Contradiction> {
        let stored =
            ["weight", "weight_packed"].iter().any(|s| checkpoint.get(&format!("{module}.{name}.{s}")).is_some());
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

fn detect_packed(
    module: &str,
    packed: &TensorInfo,
    checkpoint: &Checkpoint,
    hint: Option<CodeHint>,
) -> std::result::Result<Layout, Contradiction> {
    let wrong = |detail: String| (packed.name.clone(), detail);
    let scale = checkpoint
        .get(&format!("{module}.weight_scale"))
        .ok_or_else(|| wrong("packed codes without a 'weight_scale'".to_owned()))?;
    let ([rows, width], [scale_rows, groups]) = (matrix(packed)?, matrix(scale)?);
    let (out, r#in) = stored_shape(module, checkpoint)
        .ok_or_else(|| wrong("packed codes without a 'weight_shape' of two numbers".to_owned()))?;
    if rows != out || scale_rows != out || packed.dtype != Dtype::I32 || !scale.dtype.is_weight() {
        return Err(wrong(
            format!("{:?} does not fit shape [{out}, {in}] and scales {:?}", packed.shape, scale.shape, in = r#in),
        ));
    }
    let fits = |bits: u32| pack::words(r#in, bits) == width;
    let bits = hint.map(|h| h.bits).filter(|bits| matches!(bits, 2 | 4 | 8) && fits(*bits));
    // Without the config's word: rows that are not tiny fit one width only
    let bits = bits.or_else(|| [4, 8, 2].into_iter().find(|bits| fits(*bits)));
    let bits =
        bits.ok_or_else(|| wrong(format!("{width} words a row do not hold {in} codes of 2, 4 or 8 bits", in = r#in)))?;
    let hinted = hint.map(|h| h.group_size).filter(|size| Grouped::groups(r#in, *size) == groups);
    let group_size = match hinted {
        Some(size) => size,
        None if groups == 1 => None,
        None if groups > 0 && r#in % groups == 0 => Some(r#in / groups),
        None => return Err(wrong(format!("{groups} groups do not divide {in} columns", in = r#in))),
    };
    let symmetric = checkpoint.get(&format!("{module}.weight_zero_point")).is_none();
    Ok(Layout::Grouped { out, r#in, bits, group_size, symmetric, scale_dtype: scale.dtype })
}

/// What `weight_shape` holds.
fn stored_shape(module: &str, checkpoint: &Checkpoint) -> Option<(usize, usize)> {
    let name = format!("{module}.weight_shape");
    let size = checkpoint.get(&name)?.dtype.size_bytes() as usize;
    let bytes = checkpoint.bytes(&name)?;
    if bytes.len() != 2 * size {
        return None;
    }
    let number = |b: &[u8]| match b.len() {
        8 => b.try_into().ok().map(i64::from_le_bytes),
        4 => b.try_into().ok().map(|b| i64::from(i32::from_le_bytes(b))),
        _ => None,
    };
    let (out, r#in) = bytes.split_at(size);
    let bounded = |n: i64| usize::try_from(n).ok().filter(|n| (1..=1 << 31).contains(n));
    Some((bounded(number(out)?)?, bounded(number(r#in)?)?))
}

fn matrix(tensor: &TensorInfo) -> std::result::Result<[usize; 2], Contradiction> {
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
    let specs = tensors(layout, module)?;
    for spec in &specs {
        let found = checkpoint.get(&spec.name);
        if found.is_none_or(|t| t.shape != spec.shape || t.dtype != spec.dtype) {
            return Err(unsupported(&spec.name, "a tensor that is not what the header promised"));
        }
    }
    let bytes = |suffix: &str| checkpoint.bytes(&format!("{module}.{suffix}")).unwrap_or_default();
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
        Layout::Grouped { out, r#in, bits, group_size, symmetric, scale_dtype } => {
            let (out, r#in, bits, group_size) = (*out, *r#in, *bits, *group_size);
            let scales = checkpoint.to_f32(&format!("{module}.weight_scale"))?;
            let codes = if is_plain_int8(bits, group_size, *symmetric) {
                bytes("weight").iter().map(|b| b.cast_signed()).collect()
            } else {
                let packed = int32(bytes("weight_packed"));
                let width = pack::words(r#in, bits).max(1);
                packed.chunks(width).flat_map(|row| pack::unpack(row, r#in, bits)).collect()
            };
            let groups = Grouped::groups(r#in, group_size);
            let zeros = (!symmetric).then(|| unpack_zeros(&int32(bytes("weight_zero_point")), out, groups, bits));
            let scale_dtype = *scale_dtype;
            Ok(LinearMap::Grouped(Grouped { out, r#in, bits, group_size, codes, scales, zeros, scale_dtype }))
        }
        _ => Err(unsupported(module, &format!("the form '{}'", layout.form()))),
    }
}

fn unpack_zeros(table: &[i32], out: usize, groups: usize, bits: u32) -> Vec<i8> {
    let mut zeros = vec![0i8; out * groups];
    for group in 0..groups {
        let run: Vec<i32> = table.iter().skip(group).step_by(groups).copied().collect();
        for (cell, zero) in zeros.iter_mut().skip(group).step_by(groups).zip(pack::unpack(&run, out, bits)) {
            *cell = zero;
        }
    }
    zeros
}

fn int32(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()
}

fn unsupported(at: &str, what: &str) -> EngineError {
    EngineError::Internal(format!("{at}: {what} can't be stored as safetensors"))
}
