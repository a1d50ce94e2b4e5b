//! Opens what was written again, as anyone would, and compares it with what is in memory.

use std::path::Path;

use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::job::InputFile;
use crate::engine::model::build::Model;
use crate::engine::model::inspect::{Inspected, inspect};
use crate::engine::problem::Code;

/// A model that was written and read back.
pub struct Reopened {
    /// What its files say.
    pub inspected: Inspected,
    /// What they hold.
    pub model: Model,
    /// Largest absolute difference of any number from the one in memory.
    pub parity: f64,
}

/// Reads a written folder and compares it with the model that it came from.
///
/// # Errors
///
/// `verification_failed` where the files can't be opened as a model, or any number differs.
pub fn reopen(written: &Model, folder: &Path, paths: &[String], ctx: &RunContext<'_>) -> Result<Reopened> {
    let files = paths.iter().map(|path| input(folder, path)).collect::<Result<Vec<_>>>()?;
    let (inspected, checkpoint) =
        inspect(&files).map_err(|error| failed("", format!("can't be opened again: {error}")))?;
    let model = Model::load(&inspected, &checkpoint, ctx)?;
    if model.sites != written.sites || model.norms.len() != written.norms.len() {
        return Err(failed("", "holds other sites than were written"));
    }
    let mut parity = 0f64;
    for ((site, a), b) in written.sites.iter().zip(&written.maps).zip(&model.maps) {
        if a.map.layout() != b.map.layout() {
            return Err(failed(&site.site, "reads back in another form"));
        }
        if (a.input.form(), a.input.scale()) != (b.input.form(), b.input.scale()) {
            return Err(failed(&site.site, "reads back with other inputs"));
        }
        parity = parity.max(difference(&a.map.to_vec()?, &b.map.to_vec()?));
        if let (Some(a), Some(b)) = (&a.bias, &b.bias) {
            parity = parity.max(difference(&a.to_vec1()?, &b.to_vec1()?));
        }
    }
    for (a, b) in written.norms.iter().zip(&model.norms) {
        parity = parity.max(difference(&a.gamma.to_vec1()?, &b.gamma.to_vec1()?));
        if let (Some(a), Some(b)) = (&a.beta, &b.beta) {
            parity = parity.max(difference(&a.to_vec1()?, &b.to_vec1()?));
        }
    }
    // Everything in memory was rounded to its stored type before, so nothing may differ at all
    if parity == 0.0 {
        Ok(Reopened { inspected, model, parity })
    } else {
        Err(failed("", format!("differs by {parity:e}")))
    }
}

/// `max |a - b|`; infinite where lengths differ or a difference is no number.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let off = |(a, b): (&f32, &f32)| if a == b { 0.0 } else { f64::from((a - b).abs()) };
    a.iter().zip(b).map(off).fold(0.0, |worst, x| if x.is_nan() { f64::INFINITY } else { worst.max(x) })
}

/// A file of a written folder as an input.
pub fn input(folder: &Path, path: &str) -> Result<InputFile> {
    let location = folder.join(path);
    let size_bytes = std::fs::metadata(&location).map_err(EngineError::io(&location, "read"))?.len();
    Ok(InputFile { path: path.to_owned(), location, size_bytes, sha256: None })
}

/// What was written is not what it should be: at that site, or as a whole.
pub fn failed(site: &str, what: impl std::fmt::Display) -> EngineError {
    let detail = format!("what was written {what}: nothing is published; please report this");
    EngineError::invalid(
        if site.is_empty() { String::new() } else { format!("/sites/{site}") },
        Code::VerificationFailed,
        detail,
    )
}
