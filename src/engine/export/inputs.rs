//! How what happens to a map's input lies in a safetensors file: `M.input_scale` `[1]` where all tokens have one scale, and
//! nothing where each has its own. Of two factors it is the first one's, `M.v.input_scale`.

use super::TensorSpec;
use super::encoding::float_bytes;
use crate::engine::error::{EngineError, Result};
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::linear::{Input, Linear};
use crate::engine::model::spec::Category;
use crate::engine::model::{Dtype, InputForm, Layout, TensorInfo};
use crate::engine::problem::{Code, Problem, escape_pointer};

/// The module whose input the map's is, and its layout: the first factor of a product.
pub fn entry<'a>(layout: &'a Layout, module: &str) -> (String, &'a Layout) {
    match layout {
        Layout::Product { right, .. } => entry(right, &format!("{module}.v")),
        _ => (module.to_owned(), layout),
    }
}

fn name(layout: &Layout, module: &str) -> String {
    format!("{}.input_scale", entry(layout, module).0)
}

/// The tensor that a form becomes, if any.
pub fn tensor(input: InputForm, layout: &Layout, module: &str) -> Option<TensorSpec> {
    let InputForm::StaticInt8 { scale_dtype: dtype } = input else { return None };
    Some(TensorSpec { name: name(layout, module), dtype, shape: vec![1], category: Some(Category::ScalesAndZeros) })
}

/// The same with its bytes.
pub fn encode(linear: &Linear, module: &str) -> Option<(TensorSpec, Vec<u8>)> {
    let spec = tensor(linear.input.form(), &linear.map.layout(), module)?;
    let bytes = float_bytes(&[linear.input.scale()?], spec.dtype);
    Some((spec, bytes))
}

/// The form of an input that the config says to have one scale.
///
/// # Errors
///
/// A scale that is missing, or is no single float.
pub fn detect(layout: &Layout, module: &str, checkpoint: &Checkpoint) -> std::result::Result<InputForm, Problem> {
    let name = name(layout, module);
    let problem = |code, detail: String| Problem::new(format!("/tensors/{}", escape_pointer(&name)), code, detail);
    let missing = || {
        problem(
            Code::TensorMissing,
            format!("'{name}' is missing: the config gives '{module}' one scale for its inputs"),
        )
    };
    let TensorInfo { dtype, shape, .. } = checkpoint.get(&name).ok_or_else(missing)?;
    if shape.iter().any(|n| *n != 1) {
        return Err(problem(Code::TensorShape, format!("'{name}' is {shape:?}: [1] is needed")));
    }
    if !dtype.is_weight() {
        let detail = format!("'{name}' is {}: scales are F32, F16 or BF16", dtype.as_str());
        return Err(problem(Code::TensorDtype, detail));
    }
    Ok(InputForm::StaticInt8 { scale_dtype: *dtype })
}

/// Reads what happens to an input of a known form.
///
/// # Errors
///
/// A scale that is not there, or is no positive number.
pub fn decode(input: InputForm, layout: &Layout, module: &str, checkpoint: &Checkpoint) -> Result<Input> {
    let dtype: Dtype = match input {
        InputForm::None => return Ok(Input::None),
        InputForm::DynamicInt8 => return Ok(Input::DynamicInt8),
        InputForm::StaticInt8 { scale_dtype } => scale_dtype,
    };
    let name = name(layout, module);
    let scale = checkpoint.to_f32(&name)?.first().copied().unwrap_or(0.0);
    if !scale.is_finite() || scale <= 0.0 {
        let detail = format!("'{name}' is {scale}: a scale is above 0 and finite");
        return Err(EngineError::invalid(format!("/tensors/{}", escape_pointer(&name)), Code::OutOfRange, detail));
    }
    Ok(Input::StaticInt8 { scale, dtype })
}
