//! The readers of weight files, for those who give them any bytes at all: `fuzz/`.

pub use super::header::Entry;
use super::place;
use crate::engine::findings::Findings;
use crate::engine::model::TensorInfo;
use crate::engine::problem::Problem;

/// The path that the bytes are said to lie at.
const PATH: &str = "model.safetensors";

/// Reads and checks the header of a safetensors file of which `file` are all bytes.
///
/// # Errors
///
/// What is wrong with it.
pub fn header(file: &[u8]) -> Result<Vec<Entry>, Vec<Problem>> {
    super::header::parse(PATH, file).map(|header| header.entries).map_err(Findings::into_problems)
}

/// The tensors of a safetensors file of which `file` are all bytes, each with the bytes that it is read from: those of the header,
/// coded ones as what they stand for, and those that are said to be others.
///
/// # Errors
///
/// What is wrong with it.
pub fn tensors(file: &[u8]) -> Result<Vec<(TensorInfo, &[u8])>, Vec<Problem>> {
    let header = super::header::parse(PATH, file).map_err(Findings::into_problems)?;
    let mut findings = Findings::up_to(super::SHOWN);
    let all = place::all(header, PATH, (0, file), &mut findings);
    if !findings.is_empty() {
        return Err(findings.into_problems());
    }
    Ok(all.into_iter().map(|(info, place)| (info, place.within(file).unwrap_or_default())).collect())
}
