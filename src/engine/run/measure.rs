//! Measures models on the same rows in the same process.

use crate::engine::context::RunContext;
use crate::engine::data::{Vocabulary, vocabulary_text};
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::fidelity::{self, Fidelity, MeasuredOn, Unit};
use crate::engine::evaluate::labels::Labels;
use crate::engine::evaluate::language::{self, Foretold, States};
use crate::engine::evaluate::onward::Entrance;
use crate::engine::evaluate::perplexity::{self, PERPLEXITY};
use crate::engine::evaluate::probes::{self, Given, Probes};
use crate::engine::evaluate::quality::{Quality, QualityChange};
use crate::engine::evaluate::rows::{Questions, Rows};
use crate::engine::evaluate::score::{self, score};
use crate::engine::evaluate::{Answers, Scores, latency, statistics};
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
    original: Option<Original>,
}

/// What is kept of the original.
struct Original {
    /// The model again, where results are laid beside its answers token by token.
    model: Option<(Model, States)>,
    answers: Answers,
    floor: Option<f64>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(spec: &'a ModelSpec, evaluate: &'a PlannedEvaluate, rows: Rows) -> Self {
        Self { spec, evaluate, rows, original: None }
    }

    fn wants(&self, metric: &str) -> bool {
        self.evaluate.metrics.iter().any(|m| m == metric)
    }

    /// What an answer is: `a distribution`, `a vector` or `a number`.
    pub(super) const fn answers_with(&self) -> &'static str {
        match self.spec.head {
            Head::Embedding { .. } => "a vector",
            Head::Regression => "a number",
            _ => "a distribution",
        }
    }

    /// Whether answers are needed at all.
    pub(super) fn wants_scores(&self) -> bool {
        self.evaluate.metrics.iter().any(|m| m != "latency")
    }

    /// Scores the original, and a few rows of it again.
    pub(super) fn original(&mut self, model: &Model, ctx: &RunContext<'_>) -> Result<()> {
        let original = match &self.rows.questions {
            Questions::Rows(encoded) => {
                let scores = score(model, encoded, ctx)?;
                let few: Vec<usize> = (0..encoded.ids.len().min(FLOOR_ROWS)).collect();
                self.scored(scores, &score(model, &encoded.select(&few), ctx)?)?
            }
            Questions::Tokens(cloze) => {
                let states = language::states(model, cloze, ctx)?;
                let foretold = language::foretell(model, cloze, None, ctx)?;
                let again = language::foretell(model, &cloze.first(FLOOR_ROWS), Some((model, &states)), ctx)?;
                let floor = again.beside.and_then(|beside| {
                    statistics::mean(&beside.kl.iter().map(|kl| f64::from(*kl)).collect::<Vec<_>>())
                });
                Original { model: Some((model.clone(), states)), answers: Answers::Foretold(foretold), floor }
            }
            Questions::Marked(marked) => {
                self.scored(marked.score(model, ctx)?, &marked.first(FLOOR_ROWS).score(model, ctx)?)?
            }
        };
        self.original = Some(original);
        Ok(())
    }

    /// What is kept of scores; `again` are those of the first rows, from a second run.
    fn scored(&self, scores: Scores, again: &Scores) -> Result<Original> {
        let values: Vec<f32> = scores.values.iter().take(again.values.len()).copied().collect();
        let floor = if values.is_empty() {
            None
        } else {
            let fidelity = self.compare(&Scores { width: scores.width, values }, again)?;
            fidelity.kl.map(|kl| kl.mean).or(fidelity.numbers.map(|numbers| numbers.rms_difference))
        };
        Ok(Original { model: None, answers: Answers::Scores(scores), floor })
    }

    fn compare(&self, original: &Scores, result: &Scores) -> Result<Fidelity> {
        let on = self.rows.measured_on;
        let unit = match &self.rows.questions {
            Questions::Marked(marked) if marked.are_words => Unit::Word,
            Questions::Marked(_) => Unit::Token,
            Questions::Rows(_) | Questions::Tokens(_) => Unit::Row,
        };
        match self.spec.head {
            Head::Embedding { .. } => fidelity::embedding(original, result, on),
            Head::Regression => fidelity::regression(original, result, on),
            _ => Ok(Fidelity { unit, ..fidelity::classification(original, result, None, on)? }),
        }
    }

    /// Answers of a model; beside the original's where that was scored before.
    pub(super) fn score(&self, model: &Model, ctx: &RunContext<'_>) -> Result<Answers> {
        match &self.rows.questions {
            Questions::Rows(encoded) => Ok(Answers::Scores(score(model, encoded, ctx)?)),
            Questions::Marked(marked) => Ok(Answers::Scores(marked.score(model, ctx)?)),
            Questions::Tokens(cloze) => {
                let original = self.original.as_ref().and_then(|original| original.model.as_ref());
                let original = original.map(|(model, states)| (model, states));
                Ok(Answers::Foretold(language::foretell(model, cloze, original, ctx)?))
            }
        }
    }

    /// The same of rows that stand at an entrance of the model.
    pub(super) fn score_onward(&self, model: &Model, entrance: &Entrance) -> Result<Answers> {
        match &self.rows.questions {
            Questions::Rows(encoded) => Ok(Answers::Scores(score::onward(model, encoded, entrance)?)),
            Questions::Marked(marked) => {
                Ok(Answers::Scores(marked.of(&score::onward(model, &marked.rows, entrance)?)?))
            }
            Questions::Tokens(cloze) => {
                let original = self.original.as_ref().and_then(|original| original.model.as_ref());
                let original = original.map(|(model, states)| (model, states));
                Ok(Answers::Foretold(language::onward(model, cloze, original, entrance)?))
            }
        }
    }

    /// How near answers are to the original's.
    pub(super) fn fidelity(&self, answers: &Answers) -> Result<Option<Fidelity>> {
        let Some(original) = self.original.as_ref().filter(|_| self.wants("fidelity")) else { return Ok(None) };
        match (&original.answers, answers) {
            (Answers::Scores(before), Answers::Scores(after)) => {
                let mut fidelity = self.compare(before, after)?;
                if let Some(kl) = fidelity.kl.as_mut() {
                    kl.floor = original.floor;
                }
                if let Some(numbers) = fidelity.numbers.as_mut() {
                    numbers.floor = original.floor;
                }
                Ok(Some(fidelity))
            }
            (Answers::Foretold(before), Answers::Foretold(after)) => {
                let Some(beside) = &after.beside else { return Ok(None) };
                let ratio = perplexity::ratio(before, after, &self.offsets())?;
                fidelity::language(beside, (original.floor, ratio), self.rows.measured_on).map(Some)
            }
            _ => Err(EngineError::Internal("original and result answered other questions".into())),
        }
    }

    /// How far the answers to each row are from the original's, summed up, and how many they are; the mean over all is what
    /// [`Bench::fidelity`] tells, of numbers the square of it.
    pub(super) fn moved(&self, answers: &Answers) -> Result<Vec<(f64, usize)>> {
        match (self.original.as_ref().map(|original| &original.answers), answers) {
            (Some(Answers::Scores(before)), Answers::Scores(after)) => {
                let moved = fidelity::by_row(before, after, &self.spec.head)?;
                let Questions::Marked(marked) = &self.rows.questions else {
                    return Ok(moved.into_iter().map(|moved| (moved, 1)).collect());
                };
                let mut left = moved.into_iter();
                let sum = |asked: &Vec<u32>| (left.by_ref().take(asked.len()).sum(), asked.len());
                Ok(marked.asked.iter().map(sum).collect())
            }
            (Some(Answers::Foretold(_)), Answers::Foretold(Foretold { beside: Some(beside), .. })) => {
                let offsets = self.offsets();
                let rows = offsets.windows(2).filter_map(|row| beside.kl.get(row[0]..row[1]));
                Ok(rows.map(|kl| (kl.iter().map(|kl| f64::from(*kl)).sum(), kl.len())).collect())
            }
            _ => Err(EngineError::Internal("original and result answered other questions".into())),
        }
    }

    /// Where each row's tokens begin among those that are asked for.
    fn offsets(&self) -> Vec<usize> {
        match &self.rows.questions {
            Questions::Tokens(cloze) => cloze.offsets(),
            Questions::Rows(_) | Questions::Marked(_) => Vec::new(),
        }
    }

    /// What Transformers need kept, of original (where there is one) and result; `None` where fidelity was not asked for.
    pub(super) fn probes(
        &self,
        original: Option<&Model>,
        (result, answers): (&Model, &Answers),
        ctx: &RunContext<'_>,
    ) -> Result<Option<Probes>> {
        if !self.wants("fidelity") {
            return Ok(None);
        }
        let original = original.zip(self.original.as_ref()).map(|(model, original)| (model, &original.answers));
        let given = Given { spec: self.spec, rows: &self.rows, original, result: (result, answers) };
        probes::measure(&given, ctx).map(Some)
    }

    /// Task quality of answers.
    pub(super) fn quality(&self, answers: &Answers) -> Result<Option<Quality>> {
        match (answers, self.labels()) {
            (Answers::Scores(scores), Some(labels)) => {
                let mut quality = labels.quality(scores, self.names())?;
                quality.retain(|metric, _| self.wants(metric));
                Ok(Some(quality).filter(|quality| !quality.is_empty()))
            }
            (Answers::Foretold(foretold), _) if self.tells_perplexity() => {
                perplexity::quality(foretold, &self.offsets()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Task quality of the original.
    pub(super) fn original_quality(&self) -> Result<Option<Quality>> {
        self.original.as_ref().map_or(Ok(None), |original| self.quality(&original.answers))
    }

    /// Paired change of task quality.
    pub(super) fn change(&self, answers: &Answers) -> Result<Option<QualityChange>> {
        let Some(original) = &self.original else { return Ok(None) };
        match (&original.answers, answers, self.labels()) {
            (Answers::Scores(before), Answers::Scores(after), Some(labels)) => {
                let mut change = labels.change(before, after, self.names())?;
                change.retain(|metric, _| self.wants(metric));
                Ok(Some(change).filter(|change| !change.is_empty()))
            }
            (Answers::Foretold(before), Answers::Foretold(after), _) if self.tells_perplexity() => {
                perplexity::change(before, after, &self.offsets()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Perplexity is said of text alone, not of random tokens.
    fn tells_perplexity(&self) -> bool {
        self.wants(PERPLEXITY) && self.rows.measured_on != MeasuredOn::Vocabulary
    }

    /// What is right, where anything is asked for that needs it.
    fn labels(&self) -> Option<&Labels> {
        self.rows.labels.as_ref().filter(|labels| labels.metrics().iter().any(|metric| self.wants(metric)))
    }

    /// The model's own names of what it answers with.
    fn names(&self) -> &[String] {
        match &self.spec.head {
            Head::Classification { labels } | Head::TokenClassification { labels } => labels,
            _ => &[],
        }
    }

    /// How task quality was measured, if it was.
    pub(super) fn protocol(&self) -> Option<String> {
        match (&self.rows.questions, self.spec.head == Head::CausalLanguage) {
            (Questions::Rows(_) | Questions::Marked(_), _) => {
                // Quartiles of the probes tell shares of right rows, too
                let is_told =
                    |labels: &&Labels| self.labels().is_some() || self.wants("fidelity") && labels.classes().is_some();
                self.rows.labels.as_ref().filter(is_told).map(Labels::protocol)
            }
            (Questions::Tokens(_), _) if !self.tells_perplexity() => None,
            (Questions::Tokens(_), true) => Some(NEXT.to_owned()),
            (Questions::Tokens(_), false) => Some(HIDDEN.to_owned()),
        }
    }

    /// Why a site's outputs were not compared.
    pub(super) fn why_no_outputs(&self) -> &'static str {
        if self.wants_scores() {
            "no row comes through this site, or what it puts out is zero"
        } else {
            "the recipe's metrics ask for no answers, so no row was run"
        }
    }

    /// Why no share of right rows is told by their length.
    pub(super) fn why_no_shares(&self) -> &'static str {
        match self.rows.labels {
            Some(Labels::Numbers(_)) => "a number is not right or wrong, so no share of rows is right",
            Some(Labels::Tags(_)) => "a row of tags is not right or wrong as a whole",
            _ => self.why_no_quality(),
        }
    }

    /// Why task quality was not measured.
    pub(super) fn why_no_quality(&self) -> &'static str {
        match (&self.spec.head, &self.rows.labels) {
            (Head::CausalLanguage | Head::MaskedLanguage, _) if self.rows.measured_on == MeasuredOn::Vocabulary => {
                "no text was given: random tokens say nothing of perplexity"
            }
            (Head::CausalLanguage | Head::MaskedLanguage, _) => "the recipe's metrics do not ask for perplexity",
            (Head::Embedding { .. }, _) => "an embedding model answers with vectors, which labels say nothing about",
            (_, None) => "no labelled evaluation data was given",
            (_, Some(_)) if self.labels().is_some() => {
                "not defined on these rows: where numbers or answers do not vary there is no correlation"
            }
            _ => "the recipe's metrics ask for no task quality",
        }
    }

    /// Why latency was not measured.
    pub(super) fn why_no_latency(&self) -> &'static str {
        if self.wants("latency") {
            "the model is larger than what a run holds in memory at a time: each answer would read its files"
        } else {
            "the recipe's metrics do not ask for latency"
        }
    }

    /// Latency of original and result for one row of the longest length.
    pub(super) fn latency(
        &self,
        original: Option<&Model>,
        result: &Model,
        ctx: &RunContext<'_>,
    ) -> Result<Option<Vec<LatencyComparison>>> {
        if !self.wants("latency") || result.is_stored() || original.is_some_and(Model::is_stored) {
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

/// How perplexity of a decoder is measured.
const NEXT: &str = "perplexity: each text after its beginning-of-text token once, as one string of tokens, in windows of max_seq_length \
    that do not overlap; every token of a window but its first is predicted from those before it in the window, the last \
    shorter window too; exp of the mean negative log-likelihood";

/// How perplexity of a masked model is measured.
const HIDDEN: &str = "perplexity of hidden tokens: 15% of a row's tokens (at least one) hidden behind the mask token, drawn by the seed, \
    predicted from the rest of the row, cut to max_seq_length; exp of the mean negative log-likelihood";
