//! A weight file whose tensors are entropy-coded, and those of the same numbers stored once: the format `packed`.
//!
//! It is a safetensors file, as before, in which a tensor `T` that coding makes shorter stands as `T.rans`
//! ([`super::coded`]), and `T.same` in `__metadata__` names the tensor that a `T` that is left out is equal to. What is read of it is what was written, to the bit. No runtime but pare loads it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::coded::{self, SUFFIX};
use super::{TensorSpec, safetensors, verify};
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::hash::sha256;
use crate::engine::map::Map;
use crate::engine::method::Fallback;
use crate::engine::model::checkpoint::{Checkpoint, MOST_TWINS};
use crate::engine::model::{Dtype, TensorInfo};

/// The format's name in recipes.
pub const FORMAT: &str = "packed";

/// Tensors below this are hardly worth a word.
const SMALL_BYTES: u64 = 4096;
/// Longest name that a tensor of a file may have.
const NAME_BYTES: usize = 512;

/// How a tensor stands in the file.
enum Stored {
    Plain,
    /// In so many bytes.
    Coded(u64),
    /// As the tensor of that name.
    As(String),
}

/// Writes the weight file at `path` anew, coded. Says which large tensors stay as they are.
///
/// The file never grows. Cost: SHA-256 of tensors that share a shape, and [`coded::encode`] for every tensor that is stored, one
/// after another; memory: twice the largest; on the disk the file three times for a while.
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
    let mut coded = code(&plain, twins(&plain, ctx)?, &heap, ctx)?;
    if !may_be_read(&plain, &coded) {
        coded = code(&plain, vec![None; plain.tensors().len()], &heap, ctx)?;
    }
    write(&plain, &coded, (&heap, &next))?;
    let is_kept = |info: &TensorInfo, stored: &Stored| matches!(stored, Stored::Plain) && info.bytes >= SMALL_BYTES;
    let kept = plain.tensors().iter().zip(&coded).filter(|(info, stored)| is_kept(info, stored));
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

/// For each tensor the first one of the same numbers, if it is not the first itself.
fn twins(plain: &Checkpoint, ctx: &RunContext<'_>) -> Result<Vec<Option<String>>> {
    let large = |info: &TensorInfo| info.bytes >= SMALL_BYTES;
    let mut alike: HashMap<(Dtype, &[usize]), usize> = HashMap::new();
    for info in plain.tensors().iter().filter(|info| large(info)) {
        *alike.entry((info.dtype, &info.shape)).or_default() += 1;
    }
    let mut first: HashMap<(Dtype, &[usize], String), &str> = HashMap::new();
    let mut found = Vec::with_capacity(plain.tensors().len());
    for (done, info) in plain.tensors().iter().enumerate() {
        ctx.progress(done + 1, plain.tensors().len(), "tensors compared")?;
        let may = large(info) && alike.get(&(info.dtype, info.shape.as_slice())).is_some_and(|count| *count > 1);
        if !may {
            found.push(None);
            continue;
        }
        let bytes = plain.read(&info.name)?;
        let name = *first.entry((info.dtype, &info.shape, sha256(&bytes))).or_insert(&info.name);
        let is_twin = name != info.name && plain.read(name)? == bytes;
        found.push(is_twin.then(|| name.to_owned()));
    }
    Ok(found)
}

/// Whether twins stand for no more than a reader takes.
fn may_be_read(plain: &Checkpoint, stored: &[Stored]) -> bool {
    let (mut twins, mut file) = (0u64, 0u64);
    for (info, stored) in plain.tensors().iter().zip(stored) {
        match stored {
            Stored::Plain => file += info.bytes,
            Stored::Coded(bytes) => file += bytes,
            Stored::As(_) => twins += info.bytes,
        }
    }
    twins <= MOST_TWINS.saturating_mul(file)
}

/// Codes every tensor that is not another's twin, one after another, into the file at `heap`.
fn code(plain: &Checkpoint, twins: Vec<Option<String>>, heap: &Path, ctx: &RunContext<'_>) -> Result<Vec<Stored>> {
    let failed = || EngineError::io(heap, "written");
    let mut out = BufWriter::new(File::create(heap).map_err(failed())?);
    let mut all = Vec::with_capacity(plain.tensors().len());
    for (done, (info, twin)) in plain.tensors().iter().zip(twins).enumerate() {
        ctx.progress(done + 1, plain.tensors().len(), "tensors coded")?;
        if let Some(twin) = twin {
            all.push(Stored::As(twin));
            continue;
        }
        let name = format!("{}{SUFFIX}", info.name);
        let may = name.len() <= NAME_BYTES && plain.get(&name).is_none();
        let coded = if may { coded::encode(&plain.read(&info.name)?, info.dtype, &info.shape) } else { None };
        if let Some(coded) = &coded {
            out.write_all(coded).map_err(failed())?;
        }
        all.push(coded.map_or(Stored::Plain, |coded| Stored::Coded(coded.len() as u64)));
    }
    out.flush().map_err(failed())?;
    Ok(all)
}

/// Writes the file at `next` from the plain file and what lies in the heap.
fn write(plain: &Checkpoint, coded: &[Stored], (heap, next): (&Path, &Path)) -> Result<()> {
    let failed = || EngineError::io(next, "written");
    let (mut specs, mut same) = (Vec::new(), Vec::new());
    for (info, stored) in plain.tensors().iter().zip(coded) {
        match stored {
            Stored::Plain => specs.push(TensorSpec::new(info.name.clone(), info.dtype, &info.shape)),
            Stored::Coded(length) => {
                specs.push(TensorSpec::new(format!("{}{SUFFIX}", info.name), Dtype::U8, &[*length as usize]));
            }
            Stored::As(twin) => same.push((info.name.clone(), twin.clone())),
        }
    }
    safetensors::sort(&mut specs);
    let file = BufWriter::with_capacity(1 << 20, File::create(next).map_err(failed())?);
    let mut writer = safetensors::Writer::with_same(file, &specs, &same).map_err(failed())?;
    let heap = if std::fs::metadata(heap).map_err(failed())?.len() > 0 { Some(Map::open(heap)?) } else { None };
    let mut rest = heap.as_ref().map_or(&[][..], Map::bytes);
    for (info, stored) in plain.tensors().iter().zip(coded) {
        match stored {
            Stored::Plain => writer.tensor(&info.name, &plain.read(&info.name)?).map_err(failed())?,
            Stored::Coded(length) => {
                let lost = || EngineError::Internal("what was coded is not there".into());
                let (part, left) = rest.split_at_checked(*length as usize).ok_or_else(lost)?;
                writer.tensor(&format!("{}{SUFFIX}", info.name), part).map_err(failed())?;
                rest = left;
            }
            Stored::As(_) => {}
        }
    }
    let file = writer.finish().map_err(failed())?;
    file.into_inner().map_err(|error| failed()(error.into_error()))?.sync_all().map_err(failed())
}
