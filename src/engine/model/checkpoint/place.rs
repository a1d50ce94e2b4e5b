//! Where a tensor's bytes are, and whether they are coded there.

use std::collections::HashMap;
use std::ops::Range;

use super::MOST_TWINS;
use super::header::{Entry, Header};
use crate::engine::error::{EngineError, Result};
use crate::engine::export::coded::{self, Broken};
use crate::engine::findings::{Findings, file_pointer, shown, tensor_pointer};
use crate::engine::map::Map;
use crate::engine::model::{Dtype, TensorInfo};
use crate::engine::problem::{Code, Problem};

/// Where a tensor's bytes are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    map: usize,
    range: Range<usize>,
    /// Whether they are entropy-coded, so that the file's entry is of other type, shape and name than the tensor.
    pub(super) is_coded: bool,
}

impl Place {
    /// The bytes as they stand in the file.
    pub(super) fn bytes<'a>(&self, maps: &'a [Map]) -> Option<&'a [u8]> {
        self.within(maps.get(self.map)?.bytes())
    }

    /// The bytes, where `file` is all of the file.
    pub(super) fn within<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        file.get(self.range.clone())
    }
}

/// The tensors of a file, of which `file` are all bytes, with where they are: those that its header has, and those that it says
/// to be others. What is wrong with any is a finding.
pub(super) fn all(
    header: Header,
    path: &str,
    (number, file): (usize, &[u8]),
    findings: &mut Findings,
) -> Vec<(TensorInfo, Place)> {
    let Header { entries, same } = header;
    let mut all = Vec::with_capacity(entries.len());
    for entry in entries {
        match of(entry, path, (number, file)) {
            Ok(found) => all.push(found),
            Err(problem) => findings.push(problem),
        }
    }
    match twins(&all, &same, (path, file)) {
        Ok(twins) => all.extend(twins),
        Err(problem) => findings.push(problem),
    }
    all
}

/// The tensor that an entry of a file is, or stands for.
///
/// # Errors
///
/// A coded tensor whose first bytes can't be.
fn of(entry: Entry, path: &str, (number, file): (usize, &[u8])) -> std::result::Result<(TensorInfo, Place), Problem> {
    let Entry { name, dtype, shape, range } = entry;
    let bytes = range.len() as u64;
    let plain = entry_head(&name, (dtype, &shape), file.get(range.clone()).unwrap_or_default())
        .map_err(|broken| problem(&name, broken))?;
    let place = Place { map: number, range, is_coded: plain.is_some() };
    let (name, dtype, shape) = plain.unwrap_or((name, dtype, shape));
    Ok((TensorInfo { name, dtype, shape, bytes, file: path.to_owned(), site: None }, place))
}

/// The tensors that a file says to be the same as some of `found`, as it has them: they take no bytes of it.
///
/// # Errors
///
/// So many that they stand for [`MOST_TWINS`] times the file's bytes.
fn twins(
    found: &[(TensorInfo, Place)],
    same: &[(String, String)],
    (path, file): (&str, &[u8]),
) -> std::result::Result<Vec<(TensorInfo, Place)>, Problem> {
    if same.is_empty() {
        return Ok(Vec::new());
    }
    let stored: HashMap<&str, &(TensorInfo, Place)> =
        found.iter().map(|tensor| (tensor.0.name.as_str(), tensor)).collect();
    let of = |(name, stored_as): &(String, String)| {
        let (info, place) = stored.get(stored_as.as_str()).filter(|_| !stored.contains_key(name.as_str()))?;
        Some((TensorInfo { name: name.clone(), bytes: 0, ..info.clone() }, place.clone()))
    };
    let twins: Vec<_> = same.iter().filter_map(of).collect();
    // A coded tensor may be longer than what it stands for: what is read of it counts as well
    let read = |(info, place): &(TensorInfo, Place)| info.plain_bytes().max(place.range.len() as u64);
    let bytes = twins.iter().fold(0u64, |sum, twin| sum.saturating_add(read(twin)));
    let most = MOST_TWINS.saturating_mul(file.len() as u64);
    if bytes <= most {
        return Ok(twins);
    }
    let detail = format!(
        "{} tensors that are said to be others would be {bytes} bytes; of {} at most {most} are read",
        twins.len(),
        shown(path)
    );
    Err(Problem::new(file_pointer(path), Code::SafetensorsHeaderInvalid, detail))
}

type Plain = (String, Dtype, Vec<usize>);

/// Name, type and shape of the tensor that an entry is the coded form of; `None` where it is none.
fn entry_head(
    name: &str,
    (dtype, shape): (Dtype, &[usize]),
    bytes: &[u8],
) -> std::result::Result<Option<Plain>, Broken> {
    let Some(plain) = name.strip_suffix(coded::SUFFIX).filter(|_| dtype == Dtype::U8 && shape.len() == 1) else {
        return Ok(None);
    };
    Ok(coded::head(bytes)?.map(|head| (plain.to_owned(), head.dtype, head.shape)))
}

/// The bytes of a coded tensor.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    coded::decode(bytes).map_err(|broken| EngineError::Invalid(vec![problem(name, broken)]))
}

fn problem(name: &str, Broken(what): Broken) -> Problem {
    let detail = format!("{} is a coded tensor {what}: upload the file again", shown(name));
    Problem::new(tensor_pointer(name), Code::PackedInvalid, detail)
}
