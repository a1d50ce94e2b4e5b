//! A weight file whose tensors are entropy-coded: the format `packed`.
//!
//! It is a safetensors file, as before, in which a tensor `T` that coding makes shorter stands as `T.rans`
//! ([`super::coded`]). What is read of it is what was written, to the bit. No runtime but pare loads it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::coded::{self, SUFFIX};
use super::{TensorSpec, safetensors, verify};
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::map::Map;
use crate::engine::method::Fallback;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::{Dtype, TensorInfo};

/// The format's name in recipes.
pub const FORMAT: &str = "packed";

/// Tensors below this are hardly worth a word.
const SMALL_BYTES: u64 = 4096;
/// Longest name that a tensor of a file may have.
const NAME_BYTES: usize = 512;

/// Writes the weight file at `path` anew, coded. Says which large tensors stay as they are.
///
/// The file never grows. Cost: [`coded::encode`] for every tensor, one after another; memory: twice the largest; on the disk
/// the file three times for a while.
///
/// # Errors
///
/// A file that can't be read or written.
pub fn rewrite(path: &Path, ctx: &RunContext<'_>) -> Result<Vec<Fallback>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(EngineError::Internal("a weight file without a name".into()));
    };
    let plain = Checkpoint::open(&[verify::input(folder, name)?])?;
    let (heap, next) = (ctx.scratch.join("packed.heap"), ctx.scratch.join("packed.safetensors"));
    let coded = code(&plain, &heap, ctx)?;
    write(&plain, &coded, (&heap, &next))?;
    let kept =
        plain.tensors().iter().zip(&coded).filter(|(info, length)| length.is_none() && info.bytes >= SMALL_BYTES);
    let kept: Vec<&TensorInfo> = kept.map(|(info, _)| info).collect();
    let told = kept.first().map(|first| Fallback {
        site: "**".to_owned(),
        what: format!(
            "{} tensors with {} bytes stay as they are, {} among them",
            kept.len(),
            kept.iter().map(|info| info.bytes).sum::<u64>(),
            first.name
        ),
        why: "entropy coding does not make them shorter".to_owned(),
    });
    drop(plain);
    std::fs::rename(&next, path).map_err(EngineError::io(path, "replaced"))?;
    std::fs::remove_file(&heap).map_err(EngineError::io(&heap, "removed"))?;
    Ok(told.into_iter().collect())
}

/// Codes every tensor, one after another, into the file at `heap`. Gives their lengths there; `None`: it stays as it is.
fn code(plain: &Checkpoint, heap: &Path, ctx: &RunContext<'_>) -> Result<Vec<Option<u64>>> {
    let failed = || EngineError::io(heap, "written");
    let mut out = BufWriter::new(File::create(heap).map_err(failed())?);
    let mut lengths = Vec::with_capacity(plain.tensors().len());
    for (done, info) in plain.tensors().iter().enumerate() {
        let name = format!("{}{SUFFIX}", info.name);
        let may = name.len() <= NAME_BYTES && plain.get(&name).is_none();
        let coded = if may { coded::encode(&plain.read(&info.name)?, info.dtype, &info.shape) } else { None };
        if let Some(coded) = &coded {
            out.write_all(coded).map_err(failed())?;
        }
        lengths.push(coded.map(|coded| coded.len() as u64));
        ctx.progress(done + 1, plain.tensors().len(), "tensors")?;
    }
    out.flush().map_err(failed())?;
    Ok(lengths)
}

/// Writes the file at `next` from the plain file and what lies in the heap.
fn write(plain: &Checkpoint, coded: &[Option<u64>], (heap, next): (&Path, &Path)) -> Result<()> {
    let failed = || EngineError::io(next, "written");
    let spec = |(info, coded): (&TensorInfo, &Option<u64>)| match coded {
        Some(length) => TensorSpec::new(format!("{}{SUFFIX}", info.name), Dtype::U8, &[*length as usize]),
        None => TensorSpec::new(info.name.clone(), info.dtype, &info.shape),
    };
    let mut specs: Vec<TensorSpec> = plain.tensors().iter().zip(coded).map(spec).collect();
    safetensors::sort(&mut specs);
    let file = File::create(next).map_err(failed())?;
    let mut writer = safetensors::Writer::new(BufWriter::with_capacity(1 << 20, file), &specs).map_err(failed())?;
    let heap = if coded.iter().any(Option::is_some) { Some(Map::open(heap)?) } else { None };
    let bytes = heap.as_ref().map_or(&[][..], Map::bytes);
    let mut start = 0;
    for (info, length) in plain.tensors().iter().zip(coded) {
        let Some(length) = length else {
            writer.tensor(&info.name, &plain.read(&info.name)?).map_err(failed())?;
            continue;
        };
        let end = start + *length as usize;
        let lost = || EngineError::Internal("what was coded is not there".into());
        let part = bytes.get(start..end).ok_or_else(lost)?;
        writer.tensor(&format!("{}{SUFFIX}", info.name), part).map_err(failed())?;
        start = end;
    }
    let file = writer.finish().map_err(failed())?;
    file.into_inner().map_err(|error| failed()(error.into_error()))?.sync_all().map_err(failed())
}
