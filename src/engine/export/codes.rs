//! How grouped codes lie: plain int8, whole codes in words ([`super::pack`]), or bit after bit ([`super::bits`]).

use super::encoding::{CodeHint, Contradiction, TensorSpec, float_bytes, matrix, unsupported};
use super::{bits, pack};
use crate::engine::error::Result;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::grouped::Grouped;
use crate::engine::model::spec::Category;
use crate::engine::model::{Dtype, Layout, TensorInfo};

/// Whether a grouped layout is stored as plain int8.
pub(super) fn is_plain_int8(bits: u32, group_size: Option<usize>, symmetric: bool) -> bool {
    bits == 8 && group_size.is_none() && symmetric
}

fn is_dense(bits: u32) -> bool {
    bits::WIDTHS.contains(&bits)
}

/// The tensors of a grouped layout, in the order of [`bytes()`].
pub(super) fn tensors(layout: &Layout, module: &str) -> Result<Vec<TensorSpec>> {
    tensors_as(layout, module, false)
}

/// The tensors that a grouped layout was found in: compressed-tensors may pack into words what we do not, codes of 2 bits, and of 8
/// with a scale a row.
pub(super) fn tensors_found(layout: &Layout, module: &str, has: &dyn Fn(&str) -> bool) -> Result<Vec<TensorSpec>> {
    tensors_as(layout, module, has(&format!("{module}.weight_packed")))
}

/// The same, packed into words whatever they are, or as we do.
fn tensors_as(layout: &Layout, module: &str, in_words: bool) -> Result<Vec<TensorSpec>> {
    let Layout::Grouped { out, r#in, bits, group_size, per_tensor, symmetric, scale_dtype } = layout else {
        return Err(unsupported(module, "a form without codes"));
    };
    let (out, r#in, bits) = (*out, *r#in, *bits);
    let tensor = |suffix: &str, dtype, shape: &[usize]| TensorSpec::new(format!("{module}.{suffix}"), dtype, shape);
    let groups = Grouped::groups(r#in, *group_size);
    let scales: &[usize] = if *per_tensor { &[1] } else { &[out, groups] };
    let scale = tensor("weight_scale", *scale_dtype, scales).of(Category::ScalesAndZeros);
    if !in_words && is_plain_int8(bits, *group_size, *symmetric) {
        return Ok(vec![tensor("weight", Dtype::I8, &[out, r#in]), scale]);
    }
    let (codes, zeros) = if !in_words && is_dense(bits) {
        let zeros = tensor("weight_zero_bits", Dtype::U8, &[out, bits::row_bytes(groups, bits)]);
        (tensor("weight_bits", Dtype::U8, &[out, bits::row_bytes(r#in, bits)]), zeros)
    } else if matches!(bits, 2 | 4 | 8) {
        let zeros = tensor("weight_zero_point", Dtype::I32, &[pack::words(out, bits), groups]);
        (tensor("weight_packed", Dtype::I32, &[out, pack::words(r#in, bits)]), zeros)
    } else {
        return Err(unsupported(module, &format!("{bits}-bit codes: 2 to 8 can be stored")));
    };
    let shape = tensor("weight_shape", Dtype::I64, &[2]).of(Category::Metadata);
    let mut list = vec![codes, scale, shape];
    if !symmetric {
        let zeros = if *per_tensor { tensor("weight_zero_point", Dtype::I8, &[1]) } else { zeros };
        list.push(zeros.of(Category::ScalesAndZeros));
    }
    Ok(list)
}

/// The bytes of grouped codes, in the order of [`tensors`].
pub(super) fn bytes(g: &Grouped) -> Vec<Vec<u8>> {
    let scales = float_bytes(&g.scales, g.scale_dtype);
    if is_plain_int8(g.bits, g.group_size, g.zeros.is_none()) {
        return vec![g.codes.iter().map(|code| code.cast_unsigned()).collect(), scales];
    }
    let rows = g.codes.chunks(g.r#in.max(1));
    let codes = if is_dense(g.bits) {
        let mut stream = Vec::with_capacity(g.out * bits::row_bytes(g.r#in, g.bits));
        rows.for_each(|row| bits::pack(row.iter().copied(), g.bits, &mut stream));
        stream
    } else {
        let mut packed = Vec::with_capacity(g.out * pack::words(g.r#in, g.bits));
        rows.for_each(|row| pack::pack(row.iter().copied(), g.bits, &mut packed));
        word_bytes(&packed)
    };
    let shape = [g.out as i64, g.r#in as i64].iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut list = vec![codes, scales, shape];
    if let Some(zeros) = &g.zeros {
        list.push(zero_bytes(zeros, g));
    }
    list
}

fn zero_bytes(zeros: &[i8], g: &Grouped) -> Vec<u8> {
    if g.per_tensor {
        return zeros.iter().map(|zero| zero.cast_unsigned()).collect();
    }
    let groups = Grouped::groups(g.r#in, g.group_size).max(1);
    if is_dense(g.bits) {
        let mut stream = Vec::new();
        zeros.chunks(groups).for_each(|row| bits::pack(row.iter().copied(), g.bits, &mut stream));
        return stream;
    }
    // Packed down the rows: each column of groups is a run, and the runs lie side by side
    let height = pack::words(g.out, g.bits);
    let mut table = vec![0i32; height * groups];
    for group in 0..groups {
        let mut run = Vec::with_capacity(height);
        pack::pack(zeros.iter().skip(group).step_by(groups).copied(), g.bits, &mut run);
        for (cell, word) in table.iter_mut().skip(group).step_by(groups).zip(run) {
            *cell = word;
        }
    }
    word_bytes(&table)
}

fn word_bytes(words: &[i32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Finds out whether a module has codes, and which. `None`: there are none, or only plain numbers.
///
/// # Errors
///
/// The tensor that contradicts the others, and how.
pub(super) fn detect(
    module: &str,
    checkpoint: &Checkpoint,
    hint: Option<CodeHint>,
) -> std::result::Result<Option<Layout>, Contradiction> {
    let part = |suffix: &str| checkpoint.get(&format!("{module}.{suffix}"));
    if let Some(packed) = part("weight_packed").or_else(|| part("weight_bits")) {
        let others = ["weight", "weight_bits", "weight_indices"].iter().filter_map(|suffix| part(suffix));
        if let Some(other) = others.into_iter().find(|other| other.name != packed.name) {
            return Err((packed.name.clone(), format!("codes beside '{}': one of the two is needed", other.name)));
        }
        return detect_packed(module, packed, checkpoint, hint).map(Some);
    }
    let Some(weight) = part("weight").filter(|weight| weight.dtype == Dtype::I8) else { return Ok(None) };
    let [out, r#in] = matrix(weight)?;
    no_zeros(module, checkpoint)?;
    let without = || (weight.name.clone(), "int8 without a 'weight_scale' beside it".to_owned());
    let scale = part("weight_scale").ok_or_else(without)?;
    let per_tensor = scale.shape == [1];
    if (scale.shape != [out, 1] && !per_tensor) || !scale.dtype.is_weight() {
        return Err((scale.name.clone(), format!("shape {:?} where [{out}, 1] or [1] is needed", scale.shape)));
    }
    let scale_dtype = scale.dtype;
    Ok(Some(Layout::Grouped { out, r#in, bits: 8, group_size: None, per_tensor, symmetric: true, scale_dtype }))
}

/// Refuses zero points beside plain int8, which is read as symmetric; such that are all 0 say nothing.
fn no_zeros(module: &str, checkpoint: &Checkpoint) -> std::result::Result<(), Contradiction> {
    let name = format!("{module}.weight_zero_point");
    if checkpoint.get(&name).is_none() {
        return Ok(());
    }
    let is_none = checkpoint.read(&name).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0));
    let detail =
        "zero points beside int8 codes: only symmetric ones are read; quantize to symmetric codes, or pack them";
    if is_none { Ok(()) } else { Err((name, detail.to_owned())) }
}

fn detect_packed(
    module: &str,
    packed: &TensorInfo,
    checkpoint: &Checkpoint,
    hint: Option<CodeHint>,
) -> std::result::Result<Layout, Contradiction> {
    let wrong = |detail: String| (packed.name.clone(), detail);
    let order = format!("{module}.weight_g_idx");
    if checkpoint.get(&order).is_some() {
        let detail = "columns whose groups are told one by one: only groups that lie in order are read (actorder 'static' or none)";
        return Err((order, detail.to_owned()));
    }
    let is_dense = packed.name.ends_with("bits");
    let scale = checkpoint
        .get(&format!("{module}.weight_scale"))
        .ok_or_else(|| wrong("packed codes without a 'weight_scale'".to_owned()))?;
    let (out, r#in) = stored_shape(module, checkpoint)
        .ok_or_else(|| wrong("packed codes without a 'weight_shape' of two numbers".to_owned()))?;
    let [rows, width] = matrix(packed)?;
    let per_tensor = scale.shape == [1];
    let [scale_rows, groups] = if per_tensor { [out, 1] } else { matrix(scale)? };
    let dtype = if is_dense { Dtype::U8 } else { Dtype::I32 };
    if rows != out || scale_rows != out || packed.dtype != dtype || !scale.dtype.is_weight() {
        return Err(wrong(
            format!("{:?} does not fit shape [{out}, {in}] and scales {:?}", packed.shape, scale.shape, in = r#in),
        ));
    }
    // Where the config says nothing, rows that are not tiny fit one width only
    let widths: &[u32] = if is_dense { &bits::WIDTHS } else { &[4, 8, 2] };
    let fits = |bits: u32| width == if is_dense { bits::row_bytes(r#in, bits) } else { pack::words(r#in, bits) };
    let hinted = hint.map(|hint| hint.bits).filter(|bits| widths.contains(bits));
    let bits = hinted.into_iter().chain(widths.iter().copied()).find(|bits| fits(*bits)).ok_or_else(|| {
        let unit = if is_dense { "bytes" } else { "words" };
        wrong(format!("{width} {unit} a row do not hold {in} codes of {widths:?} bits", in = r#in))
    })?;
    let hinted = hint.map(|h| h.group_size).filter(|size| Grouped::groups(r#in, *size) == groups);
    let group_size = match hinted {
        Some(size) => size.filter(|_| !per_tensor),
        None if groups == 1 => None,
        None if groups > 0 && r#in % groups == 0 => Some(r#in / groups),
        None => return Err(wrong(format!("{groups} groups do not divide {in} columns", in = r#in))),
    };
    let part = |suffix: &str| checkpoint.get(&format!("{module}.{suffix}"));
    let zeros = if is_dense && !per_tensor { part("weight_zero_bits") } else { part("weight_zero_point") };
    let symmetric = zeros.is_none();
    Ok(Layout::Grouped { out, r#in, bits, group_size, per_tensor, symmetric, scale_dtype: scale.dtype })
}

/// What `weight_shape` holds.
fn stored_shape(module: &str, checkpoint: &Checkpoint) -> Option<(usize, usize)> {
    let name = format!("{module}.weight_shape");
    let info = checkpoint.get(&name).filter(|info| info.shape == [2])?;
    let size = info.dtype.size_bytes() as usize;
    let bytes = checkpoint.read(&name).ok()?;
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

/// Reads codes whose tensors have the shapes that the layout asks for.
pub(super) fn decode(layout: &Layout, module: &str, checkpoint: &Checkpoint) -> Result<Grouped> {
    let Layout::Grouped { out, r#in, bits, group_size, per_tensor, symmetric, scale_dtype } = *layout else {
        return Err(unsupported(module, "a form without codes"));
    };
    let bytes = |suffix: &str| checkpoint.read(&format!("{module}.{suffix}"));
    let in_words = checkpoint.get(&format!("{module}.weight_packed")).is_some();
    let is_dense = is_dense(bits) && !in_words;
    let scales = checkpoint.to_f32(&format!("{module}.weight_scale"))?;
    let codes = if !in_words && is_plain_int8(bits, group_size, symmetric) {
        bytes("weight")?.iter().map(|b| b.cast_signed()).collect()
    } else if is_dense {
        dense_codes(&bytes("weight_bits")?, r#in, bits)
    } else {
        let packed = int32(&bytes("weight_packed")?);
        let width = pack::words(r#in, bits).max(1);
        packed.chunks(width).flat_map(|row| pack::unpack(row, r#in, bits)).collect()
    };
    let groups = Grouped::groups(r#in, group_size);
    let zeros = match (symmetric, per_tensor, is_dense) {
        (true, ..) => None,
        (false, true, _) => Some(bytes("weight_zero_point")?.iter().map(|b| b.cast_signed()).collect()),
        (false, false, true) => Some(dense_codes(&bytes("weight_zero_bits")?, groups, bits)),
        (false, false, false) => Some(unpack_zeros(&int32(&bytes("weight_zero_point")?), out, groups, bits)),
    };
    Ok(Grouped { out, r#in, bits, group_size, per_tensor, codes, scales, zeros, scale_dtype })
}

/// Rows of so many codes each.
fn dense_codes(bytes: &[u8], columns: usize, bits: u32) -> Vec<i8> {
    bytes.chunks(bits::row_bytes(columns, bits).max(1)).flat_map(|row| bits::unpack(row, columns, bits)).collect()
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
