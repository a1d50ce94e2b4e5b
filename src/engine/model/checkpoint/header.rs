//! The header of one safetensors file, read strictly.
//!
//! A file is an 8-byte little-endian length `n`, `n` bytes of JSON, then the tensors' bytes. Format:
//! <https://huggingface.co/docs/safetensors/index#format>. We are stricter than the format's library: duplicate names,
//! absurd dimensions behind a zero, unknown fields and control characters in names are refused, and the limits are tighter.

use std::collections::HashSet;
use std::ops::Range;

use super::json::{self, Field, RawHeader, RawTensor};
use crate::engine::export::safetensors::TWIN;
use crate::engine::findings::{Findings, file_pointer, shown, tensor_pointer};
use crate::engine::model::Dtype;
use crate::engine::problem::Code;

/// Longest header that is read.
const HEADER_BYTES: u64 = 16 << 20;
/// Most tensors of a file.
pub(super) const TENSORS: usize = 100_000;
/// Most dimensions of a tensor.
pub(super) const DIMENSIONS: usize = 8;
/// Longest name of a tensor.
pub(super) const NAME_BYTES: usize = 512;
/// Problems shown of one file.
const SHOWN: usize = 20;

/// One tensor of a file whose header has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What its numbers are.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Where its bytes lie, counted from the file's start. Within the file, and of the length that the shape asks for.
    pub range: Range<usize>,
}

/// A header that has been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Its tensors.
    pub(super) entries: Vec<Entry>,
    /// What its metadata says to be the same as another tensor, which alone is stored: the pair `T.same` and `A` of `T` and `A`. No tensor
    /// of the file has the first one's name; whether one has the second's was not looked at.
    pub(super) same: Vec<(String, String)>,
}

/// Reads and checks the header of a file of which `file` are all bytes.
///
/// Every tensor of the answer lies within the file, its length is that of its shape, and no byte of the file belongs to
/// two tensors or to none. Cost: the header's bytes; the tensors' bytes are not touched.
///
/// # Errors
///
/// All problems, the first of the kind that ends reading alone.
pub(super) fn parse(path: &str, file: &[u8]) -> Result<Header, Findings> {
    let (header, data_start) = split(path, file)?;
    let RawHeader { tensors, metadata } = json::header(header).map_err(|detail| {
        one(
            path,
            Code::SafetensorsHeaderInvalid,
            &format!("the header is not the JSON that safetensors asks for: {detail}"),
        )
    })?;
    let mut findings = Findings::up_to(SHOWN);
    let data_bytes = (file.len() - data_start) as u64;
    let mut entries = Vec::with_capacity(tensors.len());
    let mut names = HashSet::with_capacity(tensors.len());
    for tensor in &tensors {
        if !names.insert(tensor.name.as_str()) {
            let detail = format!("{} has two tensors named {}", shown(path), shown(&tensor.name));
            findings.add(tensor_pointer(&tensor.name), Code::SafetensorsDuplicateName, detail);
            continue;
        }
        match check(path, tensor, data_bytes) {
            Ok((dtype, shape, range)) => {
                let range = data_start + range.start..data_start + range.end;
                entries.push(Entry { name: tensor.name.clone(), dtype, shape, range });
            }
            Err((code, detail)) => findings.add(tensor_pointer(&tensor.name), code, detail),
        }
    }
    if findings.is_empty() {
        check_cover(path, &entries, data_start, file.len(), &mut findings);
    }
    let twin = |(key, stored_as): (String, String)| {
        let name = key.strip_suffix(TWIN).filter(|name| json::check_name(name).is_ok() && !names.contains(name))?;
        Some((name.to_owned(), stored_as))
    };
    let same = metadata.into_iter().filter_map(twin).collect();
    if findings.is_empty() { Ok(Header { entries, same }) } else { Err(findings) }
}

fn one(path: &str, code: Code, detail: &str) -> Findings {
    let mut findings = Findings::up_to(SHOWN);
    findings.add(file_pointer(path), code, format!("{}: {detail}", shown(path)));
    findings
}

/// The header's bytes as text, and where the tensors' bytes begin.
fn split<'a>(path: &str, file: &'a [u8]) -> Result<(&'a str, usize), Findings> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        let detail = format!("the file has {} bytes; a safetensors file has 8 at least: upload it again", file.len());
        return Err(one(path, Code::SafetensorsTruncated, &detail));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES {
        let detail = format!("the first 8 bytes give the header {length} bytes; at most {HEADER_BYTES} are read");
        return Err(one(path, Code::SafetensorsHeaderTooLong, &detail));
    }
    let header_bytes = length as usize; // at most HEADER_BYTES
    let Some(header) = rest.get(..header_bytes) else {
        let detail =
            format!("the header has {length} bytes by its length; {} follow in the file: upload it again", rest.len());
        return Err(one(path, Code::SafetensorsTruncated, &detail));
    };
    let header = std::str::from_utf8(header).map_err(|error| {
        let detail = format!("the header is not UTF-8 from its byte {} on", error.valid_up_to());
        one(path, Code::SafetensorsHeaderInvalid, &detail)
    })?;
    Ok((header, 8 + header_bytes))
}

/// One tensor by itself: dtype, shape, length, and an end within the file.
fn check(path: &str, tensor: &RawTensor, data_bytes: u64) -> Result<(Dtype, Vec<usize>, Range<usize>), Field> {
    let RawTensor { dtype, shape, begin, end, .. } = tensor;
    let known = Dtype::parse(dtype).ok_or_else(|| {
        let known: Vec<_> = Dtype::ALL.iter().map(|dtype| dtype.as_str()).collect();
        (Code::SafetensorsDtypeUnknown, format!("dtype {} is not known; known are {}", shown(dtype), known.join(", ")))
    })?;
    if begin > end {
        return Err((Code::SafetensorsOffsetsInvalid, format!("begins at byte {begin}, after its end at {end}")));
    }
    let needed = bytes_of(known, shape).ok_or_else(|| {
        let detail = format!("shape {shape:?} of {dtype}: its dimensions or bytes do not fit into 63 bits");
        (Code::SafetensorsShapeInvalid, detail)
    })?;
    if needed != end - begin {
        let detail = format!("shape {shape:?} of {dtype} takes {needed} bytes; its offsets give it {}", end - begin);
        return Err((Code::SafetensorsShapeInvalid, detail));
    }
    if *end > data_bytes {
        let detail = format!(
            "ends at byte {end} of the tensors' bytes, of which {} has {data_bytes}: upload it again",
            shown(path)
        );
        return Err((Code::SafetensorsTruncated, detail));
    }
    let shape = shape.iter().map(|&n| n as usize).collect(); // each fits: `bytes_of`
    Ok((known, shape, *begin as usize..*end as usize)) // within the file, whose length is a usize
}

/// Bytes of a tensor; `None` where a dimension, or the product of those that are not 0, or the bytes, exceed 63 bits.
fn bytes_of(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    let fits = |n: &u64| i64::try_from(*n).is_ok() && usize::try_from(*n).is_ok();
    let mut bytes = dtype.size_bytes();
    for &n in shape {
        bytes = bytes.checked_mul(n.max(1)).filter(fits)?;
    }
    Some(if shape.contains(&0) { 0 } else { bytes })
}

/// All tensors together: each begins where another ends, from the first byte after the header to the file's last.
fn check_cover(path: &str, entries: &[Entry], data_start: usize, file_bytes: usize, findings: &mut Findings) {
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|entry| (entry.range.start, entry.range.end));
    let mut covered = data_start;
    for entry in order {
        let Range { start, end } = entry.range;
        if start < covered {
            let detail =
                format!("shares bytes {} to {} with another tensor", start - data_start, covered.min(end) - data_start);
            findings.add(tensor_pointer(&entry.name), Code::SafetensorsOffsetsInvalid, detail);
        } else if start > covered {
            let detail = format!("the {} bytes before it belong to no tensor", start - covered);
            findings.add(tensor_pointer(&entry.name), Code::SafetensorsOffsetsInvalid, detail);
        }
        covered = covered.max(end);
    }
    if covered < file_bytes {
        let detail = format!("{}: {} bytes after the last tensor belong to none", shown(path), file_bytes - covered);
        findings.add(file_pointer(path), Code::SafetensorsOffsetsInvalid, detail);
    }
}
