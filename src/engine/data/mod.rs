//! Datasets, tokens and batches.
//!
//! Rows come from files that anyone may have written ([`Dataset::read`]); a model's tokenizer makes token ids of them
//! ([`Tokenizer::encode`]); [`batches`] puts rows of like length together.

mod batch;
mod columns;
mod csv;
mod dataset;
mod documents;
mod jsonl;
mod number;
mod overlap;
mod parts;
mod passages;
mod places;
mod rows;
mod shape;
mod split;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod tokenize;
mod vocabulary;
mod windows;
mod words;

pub use batch::batches;
pub use dataset::{Dataset, Format, RowHash, Target, row_hash};
pub use documents::documents;
pub use number::is_number;
pub use overlap::{Example, Hashes, Overlap, Prints, overlap};
pub use parts::{HELD_OUT, Part, Reader};
pub use passages::PASSAGE_WORDS;
pub use places::{Place, Places};
pub use rows::{Row, Word};
pub use split::{Split, split};
pub use summary::{DatasetSummary, Duplicate, LabelCount, TagCount, Values};
pub use tokenize::{Encoded, Tokenizer};
pub use vocabulary::{Vocabulary, vocabulary_text};
pub use windows::windows;
pub use words::{EncodedWords, aligned};
