//! A model's files as they were uploaded: the tensors of its safetensors files, mapped, and its JSON files.
//!
//! Everything here is untrusted. A [`Checkpoint`] that opened is sound as a container: every tensor lies within its
//! file, has the length that its shape asks for, shares no byte unless the file says that it is the same as another, and
//! has a name of its own. Whether the tensors make a model is a question for the family.

mod convert;
mod finite;
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod index;
mod json;
mod place;
mod sniff;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use self::header::Header;
use self::index::Index;
use self::place::Place;
use super::{Dtype, TensorInfo};
use crate::engine::context::{Event, Observer};
use crate::engine::error::{EngineError, Result};
use crate::engine::findings::{Findings, file_pointer, shown, tame, tensor_pointer};
use crate::engine::job::InputFile;
use crate::engine::map::Map;
use crate::engine::problem::{Code, Problem};

/// What weight files end in.
const EXTENSION: &str = ".safetensors";
/// The file that holds all weights of a model that is not sharded.
const SINGLE: &str = "model.safetensors";
/// Most tensors of all files together.
const TENSORS: usize = header::TENSORS;
/// What tensors may be that are said to be others, as a multiple of their file: a short file does not become an endless model.
pub const MOST_TWINS: u64 = 64;
/// Problems shown.
const SHOWN: usize = 100;

/// The files of a model, opened and checked as containers.
#[derive(Debug)]
pub struct Checkpoint {
    files: Vec<InputFile>,
    maps: Vec<Map>,
    /// By name.
    tensors: Vec<TensorInfo>,
    /// For each of `tensors`.
    places: Vec<Place>,
    unread: Vec<String>,
    /// What was decoded last, for those who want it a few rows at a time.
    last: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
}

impl Checkpoint {
    /// Maps and checks the weight files among `files`: the shards that `model.safetensors.index.json` names where there
    /// is one; else `model.safetensors` alone; else every `.safetensors` file. No other file is opened.
    ///
    /// Cost: the headers; weights are not read. Memory: the headers' tensors.
    ///
    /// # Errors
    ///
    /// [`EngineError::Invalid`] with the problems of all files: the codes `safetensors_*`, `index_invalid`,
    /// `pickle_refused`, `archive_refused`, `format_unsupported`, `weights_missing`. [`EngineError::Io`] where a file
    /// can't be read.
    pub fn open(files: &[InputFile]) -> Result<Self> {
        let mut findings = Findings::up_to(SHOWN);
        let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let index = read_index(files, &mut findings)?;
        let is_weights: Box<dyn Fn(&str) -> bool> = match &index {
            Some(index) => {
                let shards: BTreeSet<String> = index.shards(&paths, &mut findings).into_iter().collect();
                Box::new(move |path| shards.contains(path))
            }
            None if paths.contains(SINGLE) => Box::new(|path| path == SINGLE),
            None => Box::new(|path| path.ends_with(EXTENSION)),
        };
        let weights: Vec<&InputFile> = files.iter().filter(|file| is_weights(&file.path)).collect();
        if weights.is_empty() && findings.is_empty() {
            return Err(sniff::nothing(files)?);
        }
        let unread = files.iter().map(|file| &file.path).filter(|path| path.ends_with(EXTENSION) && !is_weights(path));
        let unread = unread.cloned().collect();
        let mut read = Vec::with_capacity(weights.len());
        for file in weights {
            match open_one(file)? {
                Ok((map, header)) => read.push((file, map, header)),
                Err(problems) => findings.extend(problems),
            }
        }
        if let Some(index) = &index {
            let held: BTreeMap<String, BTreeSet<String>> = read
                .iter()
                .map(|(file, _, header)| {
                    (file.path.clone(), header.entries.iter().map(|entry| entry.name.clone()).collect())
                })
                .collect();
            index.compare(&held, &mut findings);
        }
        let checkpoint = Self::gather(files, read, unread, &mut findings);
        findings.into_result()?;
        Ok(checkpoint)
    }

    /// Puts the tensors of all files into one list by name.
    fn gather(
        files: &[InputFile],
        read: Vec<(&InputFile, Map, Header)>,
        unread: Vec<String>,
        findings: &mut Findings,
    ) -> Self {
        let mut maps = Vec::with_capacity(read.len());
        let mut all = Vec::new();
        for (file, map, header) in read {
            all.extend(place::all(header, &file.path, (maps.len(), map.bytes()), findings));
            maps.push(map);
        }
        if all.len() > TENSORS {
            let detail = format!("the model has {} tensors; at most {TENSORS} are read", all.len());
            findings.add("/files", Code::SafetensorsHeaderInvalid, detail);
        }
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        for pair in all.windows(2) {
            if let [(a, _), (b, _)] = pair
                && a.name == b.name
            {
                let detail = format!("stands in {} and in {}", shown(&a.file), shown(&b.file));
                findings.add(tensor_pointer(&a.name), Code::SafetensorsDuplicateName, detail);
            }
        }
        let (tensors, places) = all.into_iter().unzip();
        Self { files: files.to_vec(), maps, tensors, places, unread, last: Mutex::default() }
    }

    /// Every tensor, by name. `site` is `None`: the family knows it.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.find(name).and_then(|at| self.tensors.get(at))
    }

    /// A tensor's bytes as they stand in its file, little-endian, row by row, at any address. `None` where there is no such
    /// tensor, or it is coded there: [`Checkpoint::read`] gives the bytes of both.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        let place = self.find(name).and_then(|at| self.places.get(at))?;
        if place.is_coded { None } else { place.bytes(&self.maps) }
    }

    /// A tensor's bytes, little-endian, row by row: as they stand in its file, or decoded.
    ///
    /// Cost: of a coded tensor one pass in parallel, and its bytes in memory.
    ///
    /// # Errors
    ///
    /// `tensor_missing`; `packed_invalid` where a coded tensor does not decode to what its checksum says.
    pub fn read(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let missing = || {
            let detail = format!("the model has no tensor {}", shown(name));
            EngineError::invalid(tensor_pointer(name), Code::TensorMissing, detail)
        };
        let place = self.find(name).and_then(|at| self.places.get(at)).ok_or_else(missing)?;
        let bytes = place.bytes(&self.maps).ok_or_else(missing)?;
        if place.is_coded { place::decode(name, bytes).map(Cow::Owned) } else { Ok(Cow::Borrowed(bytes)) }
    }

    /// A tensor's elements, row by row.
    ///
    /// Cost: one pass in parallel; the only memory is the result. Of a coded tensor as [`Checkpoint::read`].
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::read`]; `tensor_dtype` for other types than F32, F16 and BF16, whose conversion is exact.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let bytes = self.read(name)?;
        let dtype = self.get(name).map_or(Dtype::U8, |info| info.dtype);
        convert::to_f32(dtype, &bytes).ok_or_else(|| {
            let detail = format!("is stored as {}; weights are F32, F16 or BF16", dtype.as_str());
            EngineError::invalid(tensor_pointer(name), Code::TensorDtype, detail)
        })
    }

    /// Some rows of a matrix of so many columns, as [`Checkpoint::to_f32`]. A coded tensor is decoded once, and kept until
    /// rows of another are asked for.
    ///
    /// # Errors
    ///
    /// As there; rows that the tensor does not have.
    pub fn rows_f32(&self, name: &str, columns: usize, rows: std::ops::Range<usize>) -> Result<Vec<f32>> {
        let lost = || EngineError::Internal(format!("{} has no floats in rows {rows:?}", shown(name)));
        let at = self.find(name).ok_or_else(lost)?;
        let (info, place) = self.tensors.get(at).zip(self.places.get(at)).ok_or_else(lost)?;
        let part = |bytes: &[u8]| {
            let row_bytes = columns.checked_mul(info.dtype.size_bytes() as usize)?;
            let part = bytes.get(rows.start.checked_mul(row_bytes)?..rows.end.checked_mul(row_bytes)?)?;
            convert::to_f32(info.dtype, part)
        };
        if place.is_coded {
            return part(&self.decoded(at, name)?).ok_or_else(lost);
        }
        place.bytes(&self.maps).and_then(part).ok_or_else(lost)
    }

    /// A coded tensor's bytes, kept until others are asked for.
    ///
    /// Threads that ask for the same one at once may each decode it. The lock is not held meanwhile: a thread that waits for the
    /// blocks of its tensor takes up other work of the pool, which may ask for the lock again.
    fn decoded(&self, at: usize, name: &str) -> Result<Arc<Vec<u8>>> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept, bytes)) = &*last()
            && *kept == at
        {
            return Ok(Arc::clone(bytes));
        }
        let bytes = Arc::new(self.read(name)?.into_owned());
        *last() = Some((at, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// The float tensors among `names` (all where `None`) that hold NaN or infinity, each as `tensor_not_finite` with
    /// the count and the first element's place; and what does not decode. An empty answer: all are finite.
    ///
    /// Cost: one pass over the bytes in parallel; no memory. Tells its progress in bytes.
    ///
    /// # Errors
    ///
    /// [`EngineError::Stopped`] between tensors when the observer says so.
    pub fn not_finite(&self, names: Option<&[&str]>, observer: &dyn Observer) -> Result<Vec<Problem>> {
        let infos: Vec<&TensorInfo> = match names {
            Some(names) => names.iter().filter_map(|name| self.get(name)).collect(),
            // What is stored under another name is looked at there
            None => self.tensors.iter().filter(|info| info.bytes > 0).collect(),
        };
        let infos: Vec<_> =
            infos.into_iter().filter(|info| finite::is_float(info.dtype) || self.is_coded(&info.name)).collect();
        let total: u64 = infos.iter().map(|info| info.bytes).sum();
        let mut findings = Findings::up_to(SHOWN);
        let (mut done, mut told) = (0, 0);
        for info in infos {
            let bytes = match self.read(&info.name) {
                Ok(bytes) => bytes,
                Err(EngineError::Invalid(problems)) => {
                    for problem in problems {
                        findings.push(problem);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(found) = finite::not_finite(info.dtype, &bytes) {
                let first = finite::place(found.first, &info.shape);
                let detail = format!(
                    "{} of its {} elements are NaN or infinite, the first at {first:?}: mend the weights and upload them again",
                    found.count,
                    bytes.len() as u64 / info.dtype.size_bytes(),
                );
                findings.add(tensor_pointer(&info.name), Code::TensorNotFinite, detail);
            }
            done += info.bytes;
            if observer.should_stop() {
                return Err(EngineError::Stopped);
            }
            // A model has up to 100,000 tensors; an event for each percent is enough.
            if done - told > total / 100 {
                told = done;
                observer.on(Event::Progress { done, total, unit: "bytes".to_owned() });
            }
        }
        Ok(findings.into_problems())
    }

    fn is_coded(&self, name: &str) -> bool {
        self.find(name).and_then(|at| self.places.get(at)).is_some_and(|place| place.is_coded)
    }

    /// The file of that path in the model.
    pub fn file(&self, path: &str) -> Option<&InputFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// All files, as they were given.
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// Safetensors files that hold no weights of this model, by the rule of [`Checkpoint::open`].
    pub fn unread(&self) -> &[String] {
        &self.unread
    }

    /// The bytes of a small file, such as `tokenizer.json`. `None` where the model has no such file.
    ///
    /// # Errors
    ///
    /// `code` where it has more than `max_bytes`; [`EngineError::Io`].
    pub fn read_file(&self, path: &str, max_bytes: u64, code: Code) -> Result<Option<Vec<u8>>> {
        self.file(path).map(|file| read(file, max_bytes, code)).transpose()
    }

    /// The value of a small JSON file, such as `config.json`. `None` where the model has no such file.
    ///
    /// # Errors
    ///
    /// `config_invalid` where it is longer than `max_bytes`, is no JSON, nests deeper than 128, or has the character
    /// U+0000 in a string, which no database's text can hold. [`EngineError::Io`].
    pub fn json_file(&self, path: &str, max_bytes: u64) -> Result<Option<Value>> {
        let Some(bytes) = self.read_file(path, max_bytes, Code::ConfigInvalid)? else { return Ok(None) };
        let invalid = |detail: String| EngineError::invalid(file_pointer(path), Code::ConfigInvalid, detail);
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(format!("{} is not JSON: {}", shown(path), tame(&error))))?;
        if json::has_nul(&value) {
            return Err(invalid(format!("{} has the character U+0000 in a string", shown(path))));
        }
        Ok(Some(value))
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.tensors.binary_search_by(|info| info.name.as_str().cmp(name)).ok()
    }
}

/// The shard index, if there is one that can be read; what is wrong with it is a finding.
fn read_index(files: &[InputFile], findings: &mut Findings) -> Result<Option<Index>> {
    let Some(file) = files.iter().find(|file| file.path == index::PATH) else { return Ok(None) };
    match read(file, index::BYTES, Code::IndexInvalid) {
        Ok(bytes) => Ok(Index::parse(&bytes, findings)),
        Err(EngineError::Invalid(problems)) => {
            for problem in problems {
                findings.push(problem);
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Maps one weight file and reads its header. The outer error is the machine's, the inner one the file's.
fn open_one(file: &InputFile) -> Result<Result<(Map, Header), Findings>> {
    let map = Map::open(&file.location)?;
    if let Some(problem) = sniff::disguised(&file.path, map.bytes()) {
        let mut findings = Findings::up_to(1);
        findings.push(problem);
        return Ok(Err(findings));
    }
    Ok(header::parse(&file.path, map.bytes()).map(|header| (map, header)))
}

/// All bytes of a small file. Reads no more than one byte over `max_bytes`, whatever the file's length is said to be.
fn read(file: &InputFile, max_bytes: u64, code: Code) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(&file.location)
        .and_then(|opened| opened.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(EngineError::io(&file.location, "read"))?;
    if bytes.len() as u64 > max_bytes {
        let detail = format!("{} has more than {max_bytes} bytes, the most that is read of it", shown(&file.path));
        return Err(EngineError::invalid(file_pointer(&file.path), code, detail));
    }
    Ok(bytes)
}
