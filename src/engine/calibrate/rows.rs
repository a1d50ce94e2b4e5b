//! Which rows statistics are taken from.

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::engine::context::RunContext;
use crate::engine::data::{Encoded, Part, Reader, Tokenizer, Vocabulary, vocabulary_text};
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::rows::fits;
use crate::engine::job::Datasets;
use crate::engine::model::ModelSpec;
use crate::engine::model::build::Model;
use crate::engine::model::forward::Packed;
use crate::engine::model::spec::Head;
use crate::engine::plan::PlannedCalibration;
use crate::engine::problem::Code;

/// Rows that are made where none are given.
const MADE_ROWS: usize = 64;
/// Their length, at most.
const MADE_LENGTH: usize = 64;

/// Rows to calibrate on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CalibrationRows {
    /// Statistics are taken from these.
    pub fit: Encoded,
    /// Choices are made on these.
    pub held_out: Encoded,
}

/// The calibration rows, or the training rows where there are no others: a tenth of them held out, and of the rest as many
/// as are asked for, spread evenly. Where there are validation rows, as many of these take the place of the tenth, which is then
/// not read; what is fitted to stays the same, so that sums over it are the same. Without any rows to fit to, text that a decoder
/// makes itself (Liu et al. 2023, arXiv 2305.17888, section 3.1), and random tokens for an encoder.
///
/// # Errors
///
/// Data without a tokenizer, data that can't be read, or that leaves no rows.
pub fn choose(
    model: &Model,
    tokenizer: Option<&Tokenizer>,
    datasets: &Datasets,
    (planned, seed): (&PlannedCalibration, u64),
    ctx: &RunContext<'_>,
) -> Result<CalibrationRows> {
    let Some(spec) = &model.spec else { return Ok(CalibrationRows::default()) };
    let most = planned.num_calibration_samples;
    let source = datasets.calibration.as_ref().or(datasets.training.as_ref());
    if source.is_none() && (datasets.validation.is_none() || tokenizer.is_none()) {
        let fit = made(model, spec, tokenizer, (planned.max_seq_length.min(MADE_LENGTH), seed), ctx)?;
        return Ok(CalibrationRows { fit: few(&fit, most), held_out: Encoded::default() });
    }
    let detail = "the model has no tokenizer.json: upload it with the model";
    let missing = || EngineError::invalid("/files", Code::TokenizerMissing, detail);
    let tokenizer = tokenizer.ok_or_else(missing)?;
    let prefix = tokenizer.prefix(spec.bos_token_id);
    let windows = (spec.head == Head::CausalLanguage).then_some(prefix.as_slice());
    let reader = Reader { tokenizer, windows, max_seq_length: planned.max_seq_length, threads: ctx.threads };
    // Parts first, then as many as are wanted: what a result is measured on is never among what was fitted to
    let fit = match source {
        Some(source) => few(&reader.read(&source.files, Part::Kept, seed)?, most),
        None => few(&made(model, spec, Some(tokenizer), (planned.max_seq_length.min(MADE_LENGTH), seed), ctx)?, most),
    };
    fits(spec, &fit)?;
    let Some(validation) = &datasets.validation else {
        let held_out = source.map(|source| reader.read(&source.files, Part::HeldOut, seed)).transpose()?;
        return Ok(CalibrationRows { fit, held_out: held_out.unwrap_or_default() });
    };
    let held_out = few(&reader.read(&validation.files, Part::All, seed)?, most);
    if held_out.ids.is_empty() {
        let detail = "no row comes of the validation data: give it texts, of a decoder longer ones, or leave it out";
        return Err(EngineError::invalid("/validation", Code::DatasetInvalid, detail));
    }
    fits(spec, &held_out)?;
    Ok(CalibrationRows { fit, held_out })
}

/// Some of the rows, spread evenly over all of them.
fn few(rows: &Encoded, most: usize) -> Encoded {
    let count = rows.ids.len().min(most);
    rows.select(&(0..count).map(|i| i * rows.ids.len() / count.max(1)).collect::<Vec<_>>())
}

/// Rows that come from the model alone.
fn made(
    model: &Model,
    spec: &ModelSpec,
    tokenizer: Option<&Tokenizer>,
    (length, seed): (usize, u64),
    ctx: &RunContext<'_>,
) -> Result<Encoded> {
    let plain = || Vocabulary::plain(spec.vocab, &[spec.pad_token_id]);
    let vocabulary = tokenizer.map_or_else(plain, |t| t.vocabulary(spec.vocab));
    if !spec.is_causal || !spec.answers_by_token() || spec.width() != spec.vocab {
        return Ok(vocabulary_text(&vocabulary, MADE_ROWS, length, seed));
    }
    // Each row begins with another token, and goes on as the model would
    let mut rows = vocabulary_text(&vocabulary, MADE_ROWS, vocabulary.prefix.len() + vocabulary.suffix.len() + 1, seed);
    rows.ids.iter_mut().for_each(|ids| ids.truncate(vocabulary.prefix.len() + 1));
    let model = model.realized()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for done in rows.ids.first().map_or(length, Vec::len)..length {
        rows.type_ids = rows.ids.iter().map(|ids| vec![0; ids.len()]).collect();
        let packed = Packed::new(rows.ids.iter().zip(&rows.type_ids).map(|(a, b)| (a.as_slice(), b.as_slice())));
        let last: Vec<u32> = packed.offsets.iter().skip(1).map(|end| end.saturating_sub(1) as u32).collect();
        let last = Tensor::from_slice(&last, last.len(), &Device::Cpu)?;
        let logits = model.answer(&model.states(&packed)?.index_select(&last, 0)?)?.to_vec2::<f32>()?;
        for (ids, logits) in rows.ids.iter_mut().zip(&logits) {
            ids.push(draw(logits, rng.next_u64()));
        }
        ctx.progress(done + 1, length, "tokens")?;
    }
    rows.type_ids = rows.ids.iter().map(|ids| vec![0; ids.len()]).collect();
    Ok(rows)
}

/// A token drawn from the softmax of its logits.
pub(super) fn draw(logits: &[f32], random: u64) -> u32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |x: &f32| f64::from(x - top).exp();
    let total: f64 = logits.iter().map(weight).sum();
    let mut left = (random >> 11) as f64 / (1u64 << 53) as f64 * total;
    for (id, logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return id as u32;
        }
    }
    logits.len().saturating_sub(1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 5f32.ln()];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0f64; 4];
        (0..8000).for_each(|_| counts[draw(&logits, rng.next_u64()) as usize] += 1.0);
        for (count, want) in counts.iter().zip([1000.0, 2000.0, 0.0, 5000.0]) {
            assert!((count - want).abs() <= 4.0 * f64::sqrt(want), "{counts:?}"); // four standard errors
        }
    }
}
