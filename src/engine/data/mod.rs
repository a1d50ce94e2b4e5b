//! Datasets, tokens and batches.
//!
//! Rows come from files that anyone may have written ([`Dataset::read`]); a model's tokenizer makes token ids of them
//! ([`Tokenizer::encode`]); [`batches`] puts rows of like length together.

mod batch;
mod csv;
mod dataset;
mod documents;
mod jsonl;
mod rows;
mod shape;
mod split;
#[cfg(test)]
mod tests;
mod text;
mod tokenize;
mod vocabulary;
mod windows;

pub use batch::batches;
pub use dataset::{Dataset, Format, RowHash, overlap, row_hash};
pub use documents::documents;
pub use rows::Row;
pub use split::{Split, split};
pub use tokenize::{Encoded, Tokenizer};
pub use vocabulary::{Vocabulary, vocabulary_text};
pub use windows::windows;

use serde::{Deserialize, Serialize};

/// What is in a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// `jsonl`, `csv` or `text`.
    pub format: String,
    /// Rows.
    pub rows: u64,
    /// Labels with their counts, most frequent first, ties by name; empty where rows have none.
    pub labels: Vec<LabelCount>,
    /// Words between white space: a dataset knows no model, so it knows no tokens.
    pub words: u64,
    /// Rows that stand there before, word for word.
    pub duplicates: u64,
    /// One hash a row: the first 16 bytes of SHA-256 over its text, in hex, in the order of the rows.
    pub row_hashes: Vec<String>,
}

/// A label and how many rows have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCount {
    /// The label.
    pub label: String,
    /// Its rows.
    pub rows: u64,
}
