//! Datasets: rows of text, with labels or without, from files that are not trusted.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::rows::{ROWS, Row, Rows};
use super::{DatasetSummary, LabelCount, csv, jsonl, text};
use crate::engine::error::Result;
use crate::engine::foreign::Foreign;
use crate::engine::job::InputFile;
use crate::engine::model::checkpoint::Map;
use crate::engine::problem::Code;

/// A row's identity: the first 16 bytes of SHA-256 over its text, U+001F, and its second text. The label is no part.
pub type RowHash = [u8; 16];

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An object a line.
    Jsonl,
    /// With a header row.
    Csv,
    /// A row a line.
    Text,
}

impl Format {
    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Text => "text",
        }
    }

    /// By the end of a file's name.
    pub(super) fn of(path: &str) -> Result<Self, (Code, &'static str)> {
        match path.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("csv") => Ok(Self::Csv),
            Some("txt" | "text") => Ok(Self::Text),
            _ => Err(Foreign::by_name(path)
                .map_or((Code::DatasetInvalid, "rows are read from .jsonl, .csv and .txt files"), |foreign| {
                    (foreign.code(), foreign.instead_of_rows())
                })),
        }
    }
}

/// Rows of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// How its files are written.
    pub format: Format,
    /// In the order of the files, and of the lines in them.
    pub rows: Vec<Row>,
}

impl Dataset {
    /// Reads all rows of all files, which are of one format.
    ///
    /// JSON lines: `{"text", "text_pair"?, "label"?}`, a label being a string or a whole number. CSV: the same names in
    /// the header row. Text: a row a line. UTF-8, with a byte order mark or without; blank lines are left out; a row
    /// has at most 1 MiB, a dataset at most 5 million rows. `sentence` is read as `text` where there is no `text`.
    ///
    /// Cost: one pass. Memory: the rows.
    ///
    /// # Errors
    ///
    /// [`EngineError::Invalid`](crate::engine::error::EngineError::Invalid) with all problems, of which 20 are shown,
    /// each at `/files/<path>/lines/<n>`: `dataset_row_invalid`, `dataset_invalid`, `archive_refused`, `pickle_refused`.
    /// [`EngineError::Io`](crate::engine::error::EngineError::Io) where a file can't be read.
    pub fn read(files: &[InputFile]) -> Result<Self> {
        let mut rows = Rows::new(ROWS);
        let mut first: Option<(Format, &str)> = None;
        for file in files {
            let format = match Format::of(&file.path) {
                Ok(format) => format,
                Err((code, detail)) => {
                    rows.refuse_file(&file.path, code, detail);
                    continue;
                }
            };
            let (expected, path) = *first.get_or_insert((format, &file.path));
            if format != expected {
                let detail = format!("is {}, and {path:?} is {}: use one format", format.as_str(), expected.as_str());
                rows.refuse_file(&file.path, Code::DatasetInvalid, detail);
                continue;
            }
            let map = Map::open(&file.location)?;
            match format {
                Format::Jsonl => jsonl::read(&file.path, map.bytes(), &mut rows),
                Format::Csv => csv::read(&file.path, map.bytes(), &mut rows),
                Format::Text => text::read(&file.path, map.bytes(), &mut rows),
            }
        }
        let rows = rows.finish()?;
        Ok(Self { format: first.map_or(Format::Text, |(format, _)| format), rows })
    }

    /// Whether the rows have labels: all, or none.
    pub fn has_labels(&self) -> bool {
        self.rows.first().is_some_and(|row| row.label.is_some())
    }

    /// One hash a row, in order.
    pub fn hashes(&self) -> Vec<RowHash> {
        self.rows.iter().map(row_hash).collect()
    }

    /// The rows at these places, in this order. Places beyond the end are left out.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let rows = places.iter().filter_map(|&at| self.rows.get(at).cloned()).collect();
        Self { format: self.format, rows }
    }

    /// What is in it. Cost: a hash a row.
    pub fn summary(&self) -> DatasetSummary {
        let hashes = self.hashes();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for label in self.rows.iter().filter_map(|row| row.label.as_deref()) {
            *counts.entry(label).or_default() += 1;
        }
        let mut labels: Vec<LabelCount> =
            counts.into_iter().map(|(label, rows)| LabelCount { label: label.to_owned(), rows }).collect();
        labels.sort_by_key(|count| std::cmp::Reverse(count.rows)); // stable: ties stay by name
        let words = |text: &str| text.split_whitespace().count() as u64;
        DatasetSummary {
            format: self.format.as_str().to_owned(),
            rows: self.rows.len() as u64,
            labels,
            words: self.rows.iter().map(|row| words(&row.text) + row.text_pair.as_deref().map_or(0, words)).sum(),
            duplicates: (hashes.len() - hashes.iter().collect::<HashSet<_>>().len()) as u64,
            row_hashes: hashes.iter().map(hex).collect(),
        }
    }
}

/// See [`RowHash`].
pub fn row_hash(row: &Row) -> RowHash {
    let mut hasher = Sha256::new();
    hasher.update(row.text.as_bytes());
    hasher.update([0x1f]);
    hasher.update(row.text_pair.as_deref().unwrap_or_default().as_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    digest.first_chunk::<16>().copied().unwrap_or_default()
}

/// How many of `b`'s rows stand in `a` too.
pub fn overlap(a: &[RowHash], b: &[RowHash]) -> usize {
    let a: HashSet<&RowHash> = a.iter().collect();
    b.iter().filter(|hash| a.contains(hash)).count()
}

fn hex(hash: &RowHash) -> String {
    hash.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes all that is written
        text
    })
}
