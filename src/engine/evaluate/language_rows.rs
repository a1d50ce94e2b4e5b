//! What a language model is measured on.

use super::cloze::Cloze;
use super::fidelity::MeasuredOn;
use super::rows::{Questions, Rows, fits, random, special};
use crate::engine::context::RunContext;
use crate::engine::data::{Encoded, Part, Reader, Tokenizer};
use crate::engine::error::{EngineError, Result};
use crate::engine::job::{Datasets, Source};
use crate::engine::model::ModelSpec;
use crate::engine::model::spec::Head;
use crate::engine::problem::Code;

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
    let prefix = tokenizer.map(|tokenizer| tokenizer.prefix(spec.bos_token_id)).unwrap_or_default();
    let read = |tokenizer, source: &Source, part| {
        let windows = (spec.head == Head::CausalLanguage).then_some(prefix.as_slice());
        Reader { tokenizer, windows, max_seq_length, threads: ctx.threads }.read(&source.files, part, seed)
    };
    let held_out = match (&datasets.calibration, tokenizer) {
        (Some(source), Some(tokenizer)) if datasets.evaluation.is_none() => {
            Some(read(tokenizer, source, Part::HeldOut)?)
        }
        _ => None,
    };
    let (encoded, measured_on) = if let Some(source) = &datasets.evaluation {
        (read(tokenizer.ok_or_else(missing)?, source, Part::All)?, MeasuredOn::Evaluation)
    } else if let Some(held_out) = held_out.filter(|rows| !rows.ids.is_empty()) {
        (held_out, MeasuredOn::HeldOutCalibration)
    } else {
        (random(spec, tokenizer, max_seq_length, seed), MeasuredOn::Vocabulary)
    };
    fits(spec, &encoded)?;
    let cloze = ask(spec, tokenizer, encoded, seed);
    if cloze.is_empty() {
        let detail = "there is no token to foretell: texts of two tokens or more are needed";
        return Err(EngineError::invalid("/evaluation", Code::DatasetInvalid, detail));
    }
    Ok(Rows { questions: Questions::Tokens(cloze), measured_on, labels: None, special: special(spec, tokenizer) })
}

/// What rows of tokens ask of a language model.
pub(super) fn ask(spec: &ModelSpec, tokenizer: Option<&Tokenizer>, encoded: Encoded, seed: u64) -> Cloze {
    if spec.head == Head::CausalLanguage {
        Cloze::next(encoded)
    } else {
        // Without a tokenizer there is no telling which token hides others: the padding token then
        let mask = tokenizer.and_then(Tokenizer::mask_token).unwrap_or(spec.pad_token_id);
        let kept = tokenizer.map(Tokenizer::special_ids).unwrap_or_default();
        Cloze::hidden(encoded, mask, &kept, seed)
    }
}
