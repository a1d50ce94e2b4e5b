//! Token ids by a model's own `tokenizer.json`.
//!
//! The file is not trusted. Shapes that are known to make the `tokenizers` crate panic or crawl are refused when it is
//! opened; what panics all the same is caught and becomes an error that names the row.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::prelude::*;
use tokenizers::models::ModelWrapper;
use tokenizers::{Encoding, PostProcessor, TruncationParams};

use super::Row;
use super::shape;
use crate::engine::error::{EngineError, Result};
use crate::engine::findings::tame;
use crate::engine::problem::Code;

/// Longest `tokenizer.json`.
const BYTES: usize = 64 << 20;
/// Rows that one task takes. Enough to share the work evenly; few enough that an error stops it soon.
const ROWS_A_TASK: usize = 32;
/// Where problems with the file point.
pub(super) const POINTER: &str = "/files/tokenizer.json";

/// Token ids of rows, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Ids of each row, without padding.
    pub ids: Vec<Vec<u32>>,
    /// Token types of each row, of the same lengths.
    pub type_ids: Vec<Vec<u32>>,
}

impl Encoded {
    /// Tokens of each row.
    pub fn lengths(&self) -> Vec<usize> {
        self.ids.iter().map(Vec::len).collect()
    }

    /// The rows at these places, in this order. Places beyond the end are left out.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let pick = |rows: &[Vec<u32>]| places.iter().filter_map(|at| rows.get(*at).cloned()).collect();
        Self { ids: pick(&self.ids), type_ids: pick(&self.type_ids) }
    }

    /// The largest id; a model needs more entries than this.
    pub fn max_id(&self) -> Option<u32> {
        self.ids.iter().flatten().copied().max()
    }

    /// The largest token type.
    pub fn max_type_id(&self) -> Option<u32> {
        self.type_ids.iter().flatten().copied().max()
    }
}

/// A model's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pub(super) inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, whose own truncation, padding and dropout are left out: rows are cut by
    /// [`encode`](Self::encode), and equal texts give equal ids.
    ///
    /// # Errors
    ///
    /// `tokenizer_invalid`.
    pub fn from_file(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > BYTES {
            return Err(invalid(format!("tokenizer.json has {} bytes; at most {BYTES} are read", bytes.len())));
        }
        shape::check(bytes)?;
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes))
            .map_err(|detail| invalid(format!("tokenizer.json can't be read: {detail}")))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| invalid(tame(&error)))?;
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && bpe.dropout.is_some()
        {
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
        Ok(Self { inner })
    }

    /// The ids of `rows`, in order, each cut to `max_seq_length` tokens, the special ones included, and not padded. Of
    /// a pair, the longer text is cut first.
    ///
    /// Cost: `threads` threads share the rows; the answer depends neither on them nor on chance.
    ///
    /// # Errors
    ///
    /// `out_of_range` where the special tokens alone are `max_seq_length` or more; `tokenizer_invalid` where the
    /// tokenizer fails on a row, gives it no token, or more than it may.
    pub fn encode(&self, rows: &[Row], max_seq_length: usize, threads: usize) -> Result<Encoded> {
        let (ids, type_ids) = self.each(rows, max_seq_length, threads, encode_row)?.into_iter().unzip();
        Ok(Encoded { ids, type_ids })
    }

    /// What `encode` makes of every row, in order, with this tokenizer set to cut to `max_seq_length`. It is given each
    /// row's place too.
    pub(super) fn each<T: Send>(
        &self,
        rows: &[Row],
        max_seq_length: usize,
        threads: usize,
        encode: impl Fn(&tokenizers::Tokenizer, &Row, usize, usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let mut tokenizer = self.inner.clone();
        let has_pairs = rows.iter().any(|row| row.text_pair.is_some());
        let special = self.special_tokens(false).max(if has_pairs { self.special_tokens(true) } else { 0 });
        if special >= max_seq_length {
            let detail = format!(
                "max_seq_length is {max_seq_length}; the tokenizer adds {special} special tokens to each row: allow more"
            );
            return Err(EngineError::invalid("/evaluate/max_seq_length", Code::OutOfRange, detail));
        }
        // The crate stops reading a text once it has this many tokens: far faster than cutting afterwards.
        let truncation = TruncationParams { max_length: max_seq_length, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| invalid(tame(&error)))?;
        let task = |(index, rows): (usize, &[Row])| {
            let each = |(at, row)| encode(&tokenizer, row, index * ROWS_A_TASK + at, max_seq_length);
            rows.iter().enumerate().map(each).collect::<Result<Vec<_>>>()
        };
        let tasks = || rows.par_chunks(ROWS_A_TASK).enumerate().map(task).collect::<Result<Vec<_>>>();
        let encoded = if threads == rayon::current_num_threads() {
            tasks()?
        } else {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
            pool.map_err(|error| EngineError::Internal(format!("no threads to tokenize with: {error}")))?
                .install(tasks)?
        };
        Ok(encoded.into_iter().flatten().collect())
    }

    /// The largest id of its vocabulary, added tokens included. Special tokens that its template names by number may
    /// lie beyond: [`Encoded::max_id`] has what rows really hold.
    pub fn max_id(&self) -> Option<u32> {
        self.inner.get_vocab(true).into_values().max()
    }

    fn special_tokens(&self, is_pair: bool) -> usize {
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(is_pair))
    }
}

/// The ids and types of one row.
fn encode_row(
    tokenizer: &tokenizers::Tokenizer,
    row: &Row,
    at: usize,
    max_seq_length: usize,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let encoding = encode_text(tokenizer, &row.text, row.text_pair.as_deref());
    let encoding = checked(encoding, at, max_seq_length)?;
    Ok((encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec()))
}

/// What the crate made of row `at`, if it is as long as it may be.
pub(super) fn checked(encoding: Result<Encoding, String>, at: usize, max_seq_length: usize) -> Result<Encoding> {
    let encoding = encoding.map_err(|detail| invalid(format!("the tokenizer failed on row {}: {detail}", at + 1)))?;
    let (ids, types) = (encoding.get_ids(), encoding.get_type_ids());
    if ids.is_empty() || ids.len() > max_seq_length || ids.len() != types.len() {
        return Err(invalid(format!(
            "the tokenizer made {} tokens of row {}, cut to {max_seq_length}: its template is wrong",
            ids.len(),
            at + 1
        )));
    }
    Ok(encoding)
}

/// One text or pair with special tokens, without offsets, which nothing here needs.
pub(super) fn encode_text(
    tokenizer: &tokenizers::Tokenizer,
    text: &str,
    pair: Option<&str>,
) -> Result<Encoding, String> {
    guarded(|| match pair {
        None => tokenizer.encode_fast(text, true),
        Some(pair) => tokenizer.encode_fast((text, pair), true),
    })
}

/// Runs what may panic on a hostile file.
pub(super) fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(tame(&error)),
        Err(_) => Err("it panicked; the log has the place".to_owned()),
    }
}

pub(super) fn invalid(detail: impl Into<String>) -> EngineError {
    EngineError::invalid(POINTER, Code::TokenizerInvalid, detail)
}
