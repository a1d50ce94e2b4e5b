//! Measures models on the same rows in the same process.

use crate::engine::context::RunContext;
use crate::engine::data::{Encoded, Vocabulary, vocabulary_text};
use crate::engine::error::Result;
use crate::engine::evaluate::fidelity::{self, Fidelity};
use crate::engine::evaluate::quality::{self, Quality, QualityChange};
use crate::engine::evaluate::rows::Rows;
use crate::engine::evaluate::score::score;
use crate::engine::evaluate::{Scores, latency};
use crate::engine::model::ModelSpec;
use crate::engine::model::build::Model;
use crate::engine::model::forward::Packed;
use crate::engine::model::spec::Head;
use crate::engine::plan::PlannedEvaluate;
use crate::engine::report::LatencyComparison;

/// Rows that the original is scored on twice, in batches of other shapes, for the floor of the divergence.
const FLOOR_ROWS: usize = 64;

/// Original and results on the same rows.
pub(super) struct Bench<'a> {
    pub(super) spec: &'a ModelSpec,
    pub(super) evaluate: &'a PlannedEvaluate,
    pub(super) rows: Rows,
    original: Option<Scores>,
    floor: Option<f64>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(spec: &'a ModelSpec, evaluate: &'a PlannedEvaluate, rows: Rows) -> Self {
        Self { spec, evaluate, rows, original: None, floor: None }
    }

    fn wants(&self, metric: &str) -> bool {
        self.evaluate.metrics.iter().any(|m| m == metric)
    }

    /// Whether answers are needed at all.
    pub(super) fn wants_scores(&self) -> bool {
        self.wants("fidelity") || self.wants("accuracy")
    }

    /// Scores the original, and a few rows of it again.
    pub(super) fn original(&mut self, model: &Model, ctx: &RunContext<'_>) -> Result<()> {
        let scores = score(model, &self.rows.encoded, ctx)?;
        let few = self.rows.encoded.ids.len().min(FLOOR_ROWS);
        let head = |rows: &[Vec<u32>]| rows.iter().take(few).cloned().collect::<Vec<_>>();
        let encoded = Encoded { ids: head(&self.rows.encoded.ids), type_ids: head(&self.rows.encoded.type_ids) };
        let again = score(model, &encoded, ctx)?;
        let first =
            Scores { width: scores.width, values: scores.values.iter().take(few * scores.width).copied().collect() };
        self.floor = self.compare(&first, &again)?.kl.map(|kl| kl.mean);
        self.original = Some(scores);
        Ok(())
    }

    fn compare(&self, original: &Scores, result: &Scores) -> Result<Fidelity> {
        match self.spec.head {
            Head::Classification { .. } => fidelity::classification(original, result, None, self.rows.measured_on),
            Head::Embedding { .. } => fidelity::embedding(original, result, self.rows.measured_on),
        }
    }

    /// Answers of a model.
    pub(super) fn score(&self, model: &Model, ctx: &RunContext<'_>) -> Result<Scores> {
        score(model, &self.rows.encoded, ctx)
    }

    /// How near answers are to the original's.
    pub(super) fn fidelity(&self, scores: &Scores) -> Result<Option<Fidelity>> {
        let Some(original) = self.original.as_ref().filter(|_| self.wants("fidelity")) else { return Ok(None) };
        let mut fidelity = self.compare(original, scores)?;
        if let Some(kl) = fidelity.kl.as_mut() {
            kl.floor = self.floor;
        }
        Ok(Some(fidelity))
    }

    /// Task quality of answers.
    pub(super) fn quality(&self, scores: &Scores) -> Result<Option<Quality>> {
        let Some((labels, count)) = self.labels() else { return Ok(None) };
        quality::classification(scores, labels, count).map(Some)
    }

    /// Task quality of the original.
    pub(super) fn original_quality(&self) -> Result<Option<Quality>> {
        self.original.as_ref().map_or(Ok(None), |scores| self.quality(scores))
    }

    /// Paired change of task quality.
    pub(super) fn change(&self, scores: &Scores) -> Result<Option<QualityChange>> {
        let (Some((labels, count)), Some(original)) = (self.labels(), &self.original) else { return Ok(None) };
        quality::change(original, scores, labels, count).map(Some)
    }

    fn labels(&self) -> Option<(&[usize], usize)> {
        match (&self.spec.head, &self.rows.labels) {
            (Head::Classification { labels: names }, Some(labels)) if self.wants("accuracy") => {
                Some((labels.as_slice(), names.len()))
            }
            _ => None,
        }
    }

    /// Why task quality was not measured.
    pub(super) fn why_no_quality(&self) -> &'static str {
        match (&self.spec.head, &self.rows.labels) {
            (Head::Embedding { .. }, _) => "an embedding model answers with vectors, which labels say nothing about",
            (_, None) => "no labelled evaluation data was given",
            _ => "the recipe's metrics do not ask for accuracy",
        }
    }

    /// Latency of original and result for one row of the longest length.
    pub(super) fn latency(
        &self,
        original: Option<&Model>,
        result: &Model,
        ctx: &RunContext<'_>,
    ) -> Result<Option<Vec<LatencyComparison>>> {
        if !self.wants("latency") {
            return Ok(None);
        }
        let length = self.evaluate.max_seq_length;
        let vocabulary = Vocabulary::plain(self.spec.vocab, &[self.spec.pad_token_id]);
        let row = vocabulary_text(&vocabulary, 1, length, 0);
        let packed =
            Packed::new(row.ids.iter().zip(&row.type_ids).map(|(ids, types)| (ids.as_slice(), types.as_slice())));
        let time = |model: &Model| {
            let model = model.realized()?;
            let mut once = || model.forward(&packed).map(drop);
            latency::measure(&mut once, ctx, latency::FEWEST_RUNS, latency::FEWEST_WARMUPS)
        };
        let original = original.map(time).transpose()?;
        // Batches run on a thread each, so one batch is one thread's work
        Ok(Some(vec![LatencyComparison { threads: 1, batch: 1, length, original, result: time(result)? }]))
    }
}

/// What counts as an answer.
pub(super) const PROTOCOL: &str = "the label with the largest logit, of every row of the evaluation set, cut to max_seq_length \
    tokens with the special ones";
