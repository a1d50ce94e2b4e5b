//! What a file is that should have been safetensors: by its name and its first bytes, never by opening it.

use std::fs::File;
use std::io::Read;

use crate::engine::error::{EngineError, Result};
use crate::engine::findings::{Findings, file_pointer, shown};
use crate::engine::foreign::{Foreign, HEAD_BYTES};
use crate::engine::job::InputFile;
use crate::engine::problem::{Code, Problem};

/// Problems shown.
const SHOWN: usize = 20;

/// A file that calls itself safetensors and begins like something else.
pub(super) fn disguised(path: &str, bytes: &[u8]) -> Option<Problem> {
    Foreign::by_head(bytes.get(..HEAD_BYTES).unwrap_or(bytes)).map(|foreign| refused(path, foreign))
}

/// Why a model without a safetensors file is refused.
///
/// # Errors
///
/// [`EngineError::Io`] where a file can't be read.
pub(super) fn nothing(files: &[InputFile]) -> Result<EngineError> {
    let mut findings = Findings::up_to(SHOWN);
    for file in files {
        let mut head = Vec::new();
        File::open(&file.location)
            .and_then(|opened| opened.take(HEAD_BYTES as u64).read_to_end(&mut head))
            .map_err(EngineError::io(&file.location, "read"))?;
        if let Some(foreign) = Foreign::by_name(&file.path).or_else(|| Foreign::by_head(&head)) {
            findings.push(refused(&file.path, foreign));
        }
    }
    if findings.is_empty() {
        let detail = "the model has no .safetensors file: upload model.safetensors, or the shards and their index";
        findings.add("/files", Code::WeightsMissing, detail);
    }
    Ok(EngineError::Invalid(findings.into_problems()))
}

fn refused(path: &str, foreign: Foreign) -> Problem {
    let detail = format!("{}: {}", shown(path), foreign.instead_of_a_model());
    Problem::new(file_pointer(path), foreign.code(), detail)
}
