//! Which rows a result is measured on.

use sha2::{Digest, Sha256};

use super::cloze::Cloze;
use super::fidelity::MeasuredOn;
use super::language_rows;
use crate::engine::context::RunContext;
use crate::engine::data::{Dataset, Encoded, HELD_OUT, Target, Tokenizer, Vocabulary, vocabulary_text};
use crate::engine::error::{EngineError, Result};
use crate::engine::findings::shown;
use crate::engine::hash::hex;
use crate::engine::job::{Datasets, Source};
use crate::engine::model::ModelSpec;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::spec::Head;
use crate::engine::problem::{Code, Problem, nearest};

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
}

impl Questions {
    /// The rows as models are given them.
    pub const fn encoded(&self) -> &Encoded {
        match self {
            Self::Rows(encoded) => encoded,
            Self::Tokens(cloze) => &cloze.rows,
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
    /// The index of every row's label, if rows have labels and the model answers with them.
    pub labels: Option<Vec<usize>>,
}

impl Rows {
    /// SHA-256 over every row's tokens and token types, what is asked of it, and its label, in hex. Two runs on the same
    /// rows of the same tokenizer, cut to the same length, have the same.
    pub fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        let mut put = |number: u64| hasher.update(number.to_le_bytes());
        let encoded = self.questions.encoded();
        for (row, (ids, types)) in encoded.ids.iter().zip(&encoded.type_ids).enumerate() {
            put(ids.len() as u64);
            ids.iter().chain(types).for_each(|id| put(u64::from(*id)));
            let asked = match &self.questions {
                Questions::Rows(_) => &[][..],
                Questions::Tokens(cloze) => cloze.asked.get(row).map_or(&[][..], Vec::as_slice),
            };
            put(asked.len() as u64);
            for (place, token) in asked {
                put((u64::from(*place) << 32) | u64::from(*token));
            }
            let label = self.labels.as_ref().and_then(|labels| labels.get(row));
            put(label.map_or(u64::MAX, |label| *label as u64));
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
    let encode = |dataset: &Dataset| -> Result<Encoded> {
        let detail = "the model has no tokenizer.json: upload it with the model";
        let missing = || EngineError::invalid("/files", Code::TokenizerMissing, detail);
        tokenizer.as_ref().ok_or_else(missing)?.encode(&dataset.rows, max_seq_length, ctx.threads)
    };
    let rows = if let Some(source) = &datasets.evaluation {
        let dataset = Dataset::read(&source.files)?;
        let labels = labels(&dataset, spec, source)?;
        Rows { questions: Questions::Rows(encode(&dataset)?), measured_on: MeasuredOn::Evaluation, labels }
    } else if let (Some(held_out), Some(_)) = (held_out(datasets, seed)?, &tokenizer) {
        let questions = Questions::Rows(encode(&held_out)?);
        Rows { questions, measured_on: MeasuredOn::HeldOutCalibration, labels: None }
    } else {
        let questions = Questions::Rows(random(spec, tokenizer.as_ref(), max_seq_length, seed));
        Rows { questions, measured_on: MeasuredOn::Vocabulary, labels: None }
    };
    fits(spec, rows.questions.encoded())?;
    Ok(rows)
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

/// The index of every row's label.
fn labels(dataset: &Dataset, spec: &ModelSpec, source: &Source) -> Result<Option<Vec<usize>>> {
    let Head::Classification { labels: known } = &spec.head else { return Ok(None) };
    if dataset.target == Target::None {
        return Ok(None);
    }
    let named: Vec<&str> = dataset.rows.iter().filter_map(|row| row.label.as_deref()).collect();
    let pointer = format!("/datasets/{}", source.name);
    let problems = match foreign_target(dataset.target, &pointer) {
        Some(problem) => vec![problem],
        None => unknown_labels(named.iter().copied(), known, &pointer),
    };
    if !problems.is_empty() {
        return Err(EngineError::Invalid(problems));
    }
    let index = |label: &&str| known.iter().position(|name| name == label);
    Ok(Some(named.iter().filter_map(index).collect()))
}

/// The problem of rows for a model of classes whose answers are no classes.
pub fn foreign_target(target: Target, pointer: &str) -> Option<Problem> {
    let what = match target {
        Target::None | Target::Class => return None,
        Target::Regression => "the rows' labels are numbers with a fraction",
        Target::Tags => "the rows have a tag for every word",
    };
    let detail = format!("{what}, and the model answers with one of its classes: give rows whose labels name these");
    Some(Problem::new(pointer, Code::LabelUnknown, detail))
}

/// A problem for every label that the model does not know, with the nearest that it does.
pub fn unknown_labels<'a>(labels: impl Iterator<Item = &'a str>, known: &[String], pointer: &str) -> Vec<Problem> {
    let foreign: std::collections::BTreeSet<&str> =
        labels.filter(|label| known.iter().all(|name| name != label)).collect();
    let problem = |label: &str| {
        let hint = match nearest(label, known.iter().map(String::as_str)) {
            Some(name) => format!("did you mean '{name}'?"),
            None => format!("it knows {}", known.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        Problem::new(pointer, Code::LabelUnknown, format!("the model has no label {}: {hint}", shown(label)))
    };
    foreign.into_iter().take(20).map(problem).collect()
}
