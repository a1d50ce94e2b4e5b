//! Text for language modelling: whole documents, not rows.

use super::dataset::{Dataset, Format};
use crate::engine::error::{EngineError, Result};
use crate::engine::findings::{file_pointer, shown};
use crate::engine::job::InputFile;
use crate::engine::map::Map;
use crate::engine::problem::Code;

/// Bytes of text that are held, all files together. A tokenizer makes some fifty times as much of it.
const BYTES: usize = 64 << 20;

/// The documents of a dataset, in order. Of plain text each file is one, read whole: its line ends and blank lines
/// as they are in the file, a byte order mark left out; files that are blank are none. Of JSON lines and CSV each row's text is one.
///
/// Cost: one pass. Memory: the texts.
///
/// # Errors
///
/// As [`Dataset::read`]; `dataset_invalid` for a text that is not UTF-8, for no text, and for more than 64 MiB.
pub fn documents(files: &[InputFile]) -> Result<Vec<String>> {
    let is_text = |file: &InputFile| Format::of(&file.path).is_ok_and(|format| format == Format::Text);
    if files.is_empty() || !files.iter().all(is_text) {
        return bounded(Dataset::read(files)?.rows.into_iter().map(|row| row.text).collect());
    }
    let mut size_bytes = 0_usize;
    let whole = |file: &InputFile| {
        let map = Map::open(&file.location)?;
        size_bytes = size_bytes.saturating_add(map.bytes().len());
        if size_bytes > BYTES {
            return Err(too_long(size_bytes));
        }
        let bytes = map.bytes().strip_prefix(b"\xef\xbb\xbf").unwrap_or(map.bytes());
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let detail = format!("{}: not UTF-8 from its byte {} on", shown(&file.path), error.valid_up_to());
                Err(EngineError::invalid(file_pointer(&file.path), Code::DatasetInvalid, detail))
            }
        }
    };
    let mut texts: Vec<String> = files.iter().map(whole).collect::<Result<_>>()?;
    texts.retain(|text| !text.trim().is_empty());
    if texts.is_empty() {
        return Err(EngineError::invalid("/files", Code::DatasetInvalid, "the dataset has no text"));
    }
    Ok(texts)
}

fn bounded(texts: Vec<String>) -> Result<Vec<String>> {
    match texts.iter().map(String::len).sum::<usize>() {
        size_bytes if size_bytes > BYTES => Err(too_long(size_bytes)),
        _ => Ok(texts),
    }
}

fn too_long(size_bytes: usize) -> EngineError {
    let detail = format!("the texts have {size_bytes} bytes or more; at most {BYTES} are read whole: give an excerpt");
    EngineError::invalid("/files", Code::DatasetInvalid, detail)
}
