//! Datasets: rows of text, with what is to be answered or without, from files that are not trusted.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::number::number;
use super::places::Places;
use super::rows::{ROWS, Row, Rows};
use super::{csv, jsonl, text};
use crate::engine::error::Result;
use crate::engine::foreign::Foreign;
use crate::engine::job::InputFile;
use crate::engine::map::Map;
use crate::engine::problem::Code;

/// A row's identity: the first 16 bytes of SHA-256 over its text, U+001F, and its second text. The label is no part.
pub type RowHash = [u8; 16];

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// An object a line.
    Jsonl,
    /// With a header row.
    Csv,
    /// A row a line.
    #[default]
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

/// What the rows say is to be answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Nothing.
    #[default]
    None,
    /// A class, by its name.
    Class,
    /// A number.
    Regression,
    /// A tag for every word.
    Tags,
}

impl Target {
    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Class => "class",
            Self::Regression => "regression",
            Self::Tags => "tags",
        }
    }
}

/// Rows of text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// How its files are written.
    pub format: Format,
    /// What its rows are to be answered with.
    pub target: Target,
    /// In the order of the files, and of the lines in them.
    pub rows: Vec<Row>,
    /// Where each row stands.
    pub places: Places,
}

impl Dataset {
    /// Reads all rows of all files, which are of one format.
    ///
    /// JSON lines: `{"text", "text_pair"?, "label"?}`, a label being a string or a number, or `{"tokens", "tags"}`, lists
    /// of one length of words and of names of their tags. CSV: `text`, `text_pair` and `label` in the header row. Text:
    /// a row a line. UTF-8, with a byte order mark or without; blank lines are left out; a row has at most 1 MiB, a
    /// dataset at most 5 million rows. Other names: `sentence` or `sentence1` for `text`, `sentence2` for `text_pair`,
    /// `words` for `tokens`, `ner_tags` for `tags`.
    ///
    /// Labels that are all numbers, at least one of them with a fraction or an exponent (`3.0`, `1e-2`), are numbers to
    /// be predicted ([`Target::Regression`]); other labels name classes ([`Target::Class`]), whole numbers too. In JSON
    /// lines a string is a name, whatever stands in it, and names beside fractions are a problem; in CSV, which has
    /// texts alone, such a mixture is of names. [`numbers`](Self::numbers) has whole numbers as well, for a model that
    /// answers with one.
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
        rows.finish(first.map(|(format, _)| format).unwrap_or_default())
    }

    /// Whether the rows have labels: all, or none.
    pub fn has_labels(&self) -> bool {
        self.rows.first().is_some_and(|row| row.label.is_some())
    }

    /// The labels as numbers, in the rows' order; `None` where there are none, or one is no number.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let numbers = self.rows.iter().map(|row| row.label.as_deref().and_then(number));
        numbers.collect::<Option<Vec<f64>>>().filter(|numbers| !numbers.is_empty())
    }

    /// One hash a row, in order.
    pub fn hashes(&self) -> Vec<RowHash> {
        self.rows.iter().map(row_hash).collect()
    }

    /// The rows at these places, in this order. Places beyond the end are left out.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let rows = places.iter().filter_map(|&at| self.rows.get(at).cloned()).collect();
        Self { format: self.format, target: self.target, rows, places: self.places.select(places) }
    }
}

/// See [`RowHash`].
pub fn row_hash(row: &Row) -> RowHash {
    let mut hasher = Sha256::new();
    hasher.update(row.text.as_bytes());
    hasher.update([0x1f]);
    hasher.update(row.text_pair.as_deref().unwrap_or_default().as_bytes());
    first_half(hasher)
}

/// The first 16 bytes of the digest.
pub(super) fn first_half(hasher: Sha256) -> RowHash {
    let digest: [u8; 32] = hasher.finalize().into();
    digest.first_chunk::<16>().copied().unwrap_or_default()
}
