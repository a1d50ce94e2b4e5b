//! What a language model is measured on.

use super::cloze::Cloze;
use super::fidelity::MeasuredOn;
use super::rows::{Questions, Rows, fits, random};
use crate::engine::context::RunContext;
use crate::engine::data::{Dataset, Encoded, Tokenizer, documents, split, windows};
use crate::engine::error::{EngineError, Result};
use crate::engine::job::{Datasets, Source};
use crate::engine::model::ModelSpec;
use crate::engine::model::spec::Head;
use crate::engine::problem::Code;

/// Share of the calibration rows that is held out where there is no evaluation data.
const HELD_OUT: f64 = 0.1;

/// As [`super::rows::choose`]: evaluation data, else a held-out tenth of the calibration data, else random tokens.
pub(super) fn choose(
    spec: &ModelSpec,
    tokenizer: Option<&Tokenizer>,
    datasets: &Datasets,
    (max_seq_length, seed): (usize, u64),
    ctx: &RunContext<'_>,
) -> Result<Rows> {
    let detail = "the model has no tokenizer.json: upload it with the model";
    let missing = || EngineError::invalid("/files", Code::TokenizerMissing, detail);
    let (encoded, measured_on) = if let Some(source) = &datasets.evaluation {
        (encode(spec, tokenizer.ok_or_else(missing)?, source, max_seq_length, ctx)?, MeasuredOn::Evaluation)
    } else if let (Some(source), Some(tokenizer)) = (&datasets.calibration, tokenizer) {
        let all = encode(spec, tokenizer, source, max_seq_length, ctx)?;
        let held_out = split(&all.ids, seed, HELD_OUT).held_out;
        (all.select(&held_out), MeasuredOn::HeldOutCalibration)
    } else {
        (random(spec, tokenizer, max_seq_length, seed), MeasuredOn::Vocabulary)
    };
    fits(spec, &encoded)?;
    let cloze = if spec.head == Head::CausalLanguage {
        Cloze::next(encoded)
    } else {
        // Without a tokenizer there is no telling which token hides others: the padding token then
        let mask = tokenizer.and_then(Tokenizer::mask_token).unwrap_or(spec.pad_token_id);
        let kept = tokenizer.map(Tokenizer::special_ids).unwrap_or_default();
        Cloze::hidden(encoded, mask, &kept, seed)
    };
    if cloze.is_empty() {
        let detail = "there is no token to foretell: texts of two tokens or more are needed";
        return Err(EngineError::invalid("/evaluation", Code::DatasetInvalid, detail));
    }
    Ok(Rows { questions: Questions::Tokens(cloze), measured_on, labels: None })
}

/// A decoder's documents in windows, an encoder's rows between their special tokens.
fn encode(
    spec: &ModelSpec,
    tokenizer: &Tokenizer,
    source: &Source,
    max_seq_length: usize,
    ctx: &RunContext<'_>,
) -> Result<Encoded> {
    if spec.head == Head::MaskedLanguage {
        return tokenizer.encode(&Dataset::read(&source.files)?.rows, max_seq_length, ctx.threads);
    }
    let ids =
        documents(&source.files)?.iter().map(|text| tokenizer.encode_document(text)).collect::<Result<Vec<_>>>()?;
    // What the tokenizer itself puts before a text; else the token that the config names
    let (mut prefix, _) = tokenizer.frame();
    if prefix.is_empty() {
        prefix.extend(spec.bos_token_id);
    }
    Ok(windows(&ids, &prefix, max_seq_length))
}
