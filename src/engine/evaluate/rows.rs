//! Which rows a result is measured on.

use sha2::{Digest, Sha256};

use super::cloze::Cloze;
use super::fidelity::MeasuredOn;
use super::labels::{self, Labels};
use super::language_rows;
use super::marked::Marked;
use crate::engine::context::RunContext;
use crate::engine::data::{Dataset, Encoded, HELD_OUT, Target, Tokenizer, Vocabulary, vocabulary_text};
use crate::engine::error::{EngineError, Result};
use crate::engine::hash::hex;
use crate::engine::job::Datasets;
use crate::engine::model::ModelSpec;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::spec::Head;
use crate::engine::problem::Code;

/// Rows of random tokens, where there is no data.
const VOCABULARY_ROWS: usize = 256;
/// Their length.
const VOCABULARY_LENGTH: usize = 32;
/// The largest `tokenizer.json` that is read.
const TOKENIZER_LIMIT_BYTES: u64 = 64 << 20;

/// What models are asked.
#[derive(Debug)]
pub enum Questions {
    /// An answer to every row.
    Rows(Encoded),
    /// An answer to some tokens of every row, from the vocabulary.
    Tokens(Cloze),
    /// A tag for some tokens of every row.
    Marked(Marked),
}

impl Questions {
    /// The rows as models are given them.
    pub const fn encoded(&self) -> &Encoded {
        match self {
            Self::Rows(encoded) => encoded,
            Self::Tokens(cloze) => &cloze.rows,
            Self::Marked(marked) => &marked.rows,
        }
    }

    /// Those of the rows at these places, in this order. Places beyond the end are left out.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        match self {
            Self::Rows(encoded) => Self::Rows(encoded.select(places)),
            Self::Tokens(cloze) => Self::Tokens(cloze.select(places)),
            Self::Marked(marked) => Self::Marked(marked.select(places)),
        }
    }
}

/// Rows as tokens, and where they come from.
#[derive(Debug)]
pub struct Rows {
    /// What is asked.
    pub questions: Questions,
    /// Which rows they are.
    pub measured_on: MeasuredOn,
    /// What is right, if rows say so and the model answers with it.
    pub labels: Option<Labels>,
    /// Ids of special tokens, which have their places in a row.
    pub special: Vec<u32>,
}

impl Rows {
    /// SHA-256 over every row's tokens and token types, what is asked of it, and its label, in hex. Two runs on the same
    /// rows of the same tokenizer, cut to the same length, have the same.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        let mut put = |number: u64| hasher.update(number.to_le_bytes());
        let encoded = self.questions.encoded();
        let labels = self.labels.as_ref().map(Labels::prints);
        for (row, (ids, types)) in encoded.ids.iter().zip(&encoded.type_ids).enumerate() {
            put(ids.len() as u64);
            ids.iter().chain(types).for_each(|id| put(u64::from(*id)));
            let asked: Vec<u64> = match &self.questions {
                Questions::Rows(_) => Vec::new(),
                Questions::Tokens(cloze) => {
                    let asked = cloze.asked.get(row).into_iter().flatten();
                    asked.map(|(place, token)| (u64::from(*place) << 32) | u64::from(*token)).collect()
                }
                Questions::Marked(marked) => {
                    marked.asked.get(row).into_iter().flatten().map(|place| u64::from(*place)).collect()
                }
            };
            put(asked.len() as u64);
            asked.into_iter().for_each(&mut put);
            match labels.as_ref().and_then(|labels| labels.get(row)) {
                Some(labels) => labels.iter().for_each(|label| put(*label)),
                None => put(u64::MAX),
            }
        }
        hex(&hasher.finalize())
    }
}

/// The tokenizer of a model, if it has one.
pub fn tokenizer(checkpoint: &Checkpoint) -> Result<Option<Tokenizer>> {
    let bytes = checkpoint.read_file("tokenizer.json", TOKENIZER_LIMIT_BYTES, Code::TokenizerInvalid)?;
    bytes.map(|bytes| Tokenizer::from_file(&bytes)).transpose()
}

/// The evaluation rows; without them the held-out tenth of the calibration rows; without these, random tokens of the
/// model's own vocabulary.
///
/// # Errors
///
/// Data without a tokenizer, data that can't be read, labels that the model does not know.
pub fn choose(
    spec: &ModelSpec,
    checkpoint: &Checkpoint,
    datasets: &Datasets,
    (max_seq_length, seed): (usize, u64),
    ctx: &RunContext<'_>,
) -> Result<Rows> {
    let tokenizer = tokenizer(checkpoint)?;
    if matches!(spec.head, Head::CausalLanguage | Head::MaskedLanguage) {
        return language_rows::choose(spec, tokenizer.as_ref(), datasets, (max_seq_length, seed), ctx);
    }
    let asked = |dataset: &Dataset| {
        let detail = "the model has no tokenizer.json: upload it with the model";
        let missing = || EngineError::invalid("/files", Code::TokenizerMissing, detail);
        ask(spec, tokenizer.as_ref().ok_or_else(missing)?, dataset, (max_seq_length, ctx.threads))
    };
    let special = special(spec, tokenizer.as_ref());
    let rows = if let Some(source) = &datasets.evaluation {
        let dataset = Dataset::read(&source.files)?;
        labels::check(&spec.head, &dataset, &format!("/datasets/{}", source.name))?;
        let (questions, labels) = asked(&dataset)?;
        Rows { questions, measured_on: MeasuredOn::Evaluation, labels, special }
    } else if let (Some(held_out), Some(_)) = (held_out(datasets, seed)?, &tokenizer) {
        let (questions, _) = asked(&held_out)?; // its labels may be none that the model knows
        Rows { questions, measured_on: MeasuredOn::HeldOutCalibration, labels: None, special }
    } else {
        let encoded = random(spec, tokenizer.as_ref(), max_seq_length, seed);
        let questions = of_texts(spec, tokenizer.as_ref(), encoded);
        Rows { questions, measured_on: MeasuredOn::Vocabulary, labels: None, special }
    };
    fits(spec, rows.questions.encoded())?;
    if matches!(&rows.questions, Questions::Marked(marked) if marked.is_empty()) {
        let detail = "no word of the rows has a token: there is nothing to measure on";
        return Err(EngineError::invalid("/evaluation", Code::DatasetInvalid, detail));
    }
    Ok(rows)
}

/// Rows of calibration text, to set answers against the original's.
///
/// # Errors
///
/// A tokenizer that can't be read.
pub fn of_calibration(spec: &ModelSpec, checkpoint: &Checkpoint, encoded: Encoded, seed: u64) -> Result<Rows> {
    let tokenizer = tokenizer(checkpoint)?;
    let special = special(spec, tokenizer.as_ref());
    let questions = if matches!(spec.head, Head::CausalLanguage | Head::MaskedLanguage) {
        Questions::Tokens(language_rows::ask(spec, tokenizer.as_ref(), encoded, seed))
    } else {
        of_texts(spec, tokenizer.as_ref(), encoded)
    };
    Ok(Rows { questions, measured_on: MeasuredOn::HeldOutCalibration, labels: None, special })
}

/// What a dataset asks, and what is right where it says so.
fn ask(
    spec: &ModelSpec,
    tokenizer: &Tokenizer,
    dataset: &Dataset,
    (max_seq_length, threads): (usize, usize),
) -> Result<(Questions, Option<Labels>)> {
    if let (Head::TokenClassification { labels: names }, Target::Tags) = (&spec.head, dataset.target) {
        let found = tokenizer.encode_words(&dataset.rows, max_seq_length, threads)?;
        let labels = Labels::of_words(dataset, names, &found);
        return Ok((Questions::Marked(Marked::words(found)), labels));
    }
    let encoded = tokenizer.encode(&dataset.rows, max_seq_length, threads)?;
    Ok((of_texts(spec, Some(tokenizer), encoded), Labels::of_rows(dataset, &spec.head)))
}

/// What rows of text ask: an answer each, or one for every token that is not special.
fn of_texts(spec: &ModelSpec, tokenizer: Option<&Tokenizer>, encoded: Encoded) -> Questions {
    if !matches!(spec.head, Head::TokenClassification { .. }) {
        return Questions::Rows(encoded);
    }
    Questions::Marked(Marked::texts(encoded, &special(spec, tokenizer)))
}

/// Ids of special tokens; without a tokenizer the padding token is all that is known.
pub(super) fn special(spec: &ModelSpec, tokenizer: Option<&Tokenizer>) -> Vec<u32> {
    tokenizer.map_or_else(|| vec![spec.pad_token_id], Tokenizer::special_ids)
}

/// Rows of random tokens.
pub(super) fn random(spec: &ModelSpec, tokenizer: Option<&Tokenizer>, max_seq_length: usize, seed: u64) -> Encoded {
    let plain = || Vocabulary::plain(spec.vocab, &[spec.pad_token_id]);
    let vocabulary = tokenizer.map_or_else(plain, |t| t.vocabulary(spec.vocab));
    vocabulary_text(&vocabulary, VOCABULARY_ROWS, VOCABULARY_LENGTH.min(max_seq_length), seed)
}

/// The held-out calibration rows; none of a single row, for there is nothing to hold out.
fn held_out(datasets: &Datasets, seed: u64) -> Result<Option<Dataset>> {
    let Some(source) = &datasets.calibration else { return Ok(None) };
    let dataset = Dataset::read(&source.files)?;
    let held_out = dataset.select(&dataset.split_held_out(seed, HELD_OUT).held_out);
    Ok(Some(held_out).filter(|held_out| !held_out.rows.is_empty()))
}

/// The tokenizer and the model must be each other's, and there must be rows.
pub(in crate::engine) fn fits(spec: &ModelSpec, encoded: &Encoded) -> Result<()> {
    let beyond = |id: Option<u32>, size: usize| id.filter(|id| *id as usize >= size);
    if let Some(id) = beyond(encoded.max_id(), spec.vocab) {
        let detail =
            format!("tokenizer.json gives id {id}, the model has {} tokens: they do not belong together", spec.vocab);
        return Err(EngineError::invalid("/files/tokenizer.json", Code::TokenizerInvalid, detail));
    }
    // A model without the table does not look at them
    if let Some(id) = beyond(encoded.max_type_id(), spec.token_types).filter(|_| spec.token_types > 0) {
        let detail = format!("tokenizer.json gives token type {id}, the model has {}", spec.token_types);
        return Err(EngineError::invalid("/files/tokenizer.json", Code::TokenizerInvalid, detail));
    }
    if encoded.ids.is_empty() || encoded.ids.iter().any(Vec::is_empty) {
        let detail = "there are no rows to measure on, or a row without a token";
        return Err(EngineError::invalid("/evaluation", Code::DatasetInvalid, detail));
    }
    Ok(())
}
