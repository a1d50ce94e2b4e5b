//! Runs original and result with something taken away, and puts the probes together.

use std::collections::BTreeMap;

use super::answers::{Effects, Lines, Tokens};
use super::heads::{Contributions, contributions};
use super::sample::{SEED, Shuffled, sample, shuffled};
use super::sums::{Sides, Statistic, Sums, sides};
use super::{HeadBalance, LayerHeads, LongRange, Positions, Probes, QuartilesOf, Sample, Unit, WINDOW, quartiles};
use crate::engine::context::RunContext;
use crate::engine::data::Encoded;
use crate::engine::error::{EngineError, Result};
use crate::engine::evaluate::cloze::Cloze;
use crate::engine::evaluate::fidelity::MeasuredOn;
use crate::engine::evaluate::labels::Labels;
use crate::engine::evaluate::language::Foretold;
use crate::engine::evaluate::perplexity::PERPLEXITY;
use crate::engine::evaluate::quality::ACCURACY;
use crate::engine::evaluate::rows::{Questions, Rows};
use crate::engine::evaluate::{Answers, Scores};
use crate::engine::model::ModelSpec;
use crate::engine::model::arch::Projections;
use crate::engine::model::build::Model;
use crate::engine::model::spec::Head;

/// Rows that are run again where a row has one answer, at most.
const ROWS: usize = 256;
/// Where every token has one.
const ROWS_OF_TOKENS: usize = 64;

/// A model, and what it answered to all rows.
pub type Answered<'a> = (&'a Model, &'a Answers);

/// What is measured.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// How the result answers.
    pub spec: &'a ModelSpec,
    /// The rows that both answered to.
    pub rows: &'a Rows,
    /// The original; `None` where a model is measured on its own.
    pub original: Option<Answered<'a>>,
    /// The result.
    pub result: Answered<'a>,
}

/// Measures.
///
/// # Cost
///
/// Three forward passes of each model over at most 256 rows (64 where every token has an answer), of a language model four with its
/// head; 2,000 resamples of each number.
///
/// # Errors
///
/// As the forward pass; answers that are not finite, or of other rows.
pub fn measure(given: &Given<'_>, ctx: &RunContext<'_>) -> Result<Probes> {
    let encoded = given.rows.questions.encoded();
    let most = if given.spec.answers_by_token() { ROWS_OF_TOKENS } else { ROWS };
    let places = sample(encoded.ids.len(), most);
    let rows = encoded.select(&places);
    let (original, result) = given.effects(&places, &rows, ctx)?;
    let original = original.as_ref();
    let change = |of: fn(&Effects) -> Option<&Sums>| {
        of(&result).map(|after| Sums::sides(original.and_then(of), after)).transpose()
    };
    let worth = |of: fn(&Effects) -> &Sums| Sums::sides(original.map(of), of(&result));
    Ok(Probes {
        sample: Sample { rows: places.len() as u64, of: encoded.ids.len() as u64, seed: SEED },
        unit: unit(given.spec),
        long_range: given.long_range(change(|e| e.cut.change.as_ref())?, worth(|e| &e.cut.worth)?)?,
        positions: Positions {
            table_relative_error: given.original.map_or(Ok(None), |(model, _)| table_error(model, given.result.0))?,
            change: change(|e| e.shuffled.change.as_ref())?,
            worth: worth(|e| &e.shuffled.worth)?,
        },
        head_balance: given.head_balance(&rows, ctx)?,
    })
}

const fn unit(spec: &ModelSpec) -> Unit {
    match spec.head {
        Head::Classification { .. } | Head::TokenClassification { .. } => Unit::Probability,
        Head::MaskedLanguage | Head::CausalLanguage => Unit::Nats,
        Head::Embedding { .. } => Unit::CosineDistance,
        Head::Regression => Unit::Difference,
    }
}

fn other_answers() -> EngineError {
    EngineError::Internal("original and result answered other questions than the probes ask".into())
}

impl Given<'_> {
    /// What both models lose on the sample.
    fn effects(&self, places: &[usize], rows: &Encoded, ctx: &RunContext<'_>) -> Result<(Option<Effects>, Effects)> {
        match &self.rows.questions {
            Questions::Rows(_) | Questions::Marked(_) => self.of_lines(places, rows, ctx),
            Questions::Tokens(cloze) => self.of_tokens(cloze, places, ctx),
        }
    }

    fn of_lines(&self, places: &[usize], rows: &Encoded, ctx: &RunContext<'_>) -> Result<(Option<Effects>, Effects)> {
        let all = starts(&self.rows.questions);
        let questions = match &self.rows.questions {
            Questions::Marked(marked) => Questions::Marked(marked.select(places)),
            _ => Questions::Rows(rows.clone()),
        };
        let of_sample = |answers: &Answers| -> Result<Scores> {
            let Answers::Scores(scores) = answers else { return Err(other_answers()) };
            let lines =
                |place: &usize| scores.values.get(all.get(*place)? * scores.width..all.get(*place + 1)? * scores.width);
            Ok(Scores { width: scores.width, values: places.iter().filter_map(lines).flatten().copied().collect() })
        };
        let original = self.original.map(|(_, answers)| of_sample(answers)).transpose()?;
        let result = of_sample(self.result.1)?;
        let chosen = original.as_ref().unwrap_or(&result).argmax();
        let shuffled = shuffled(rows, |_, _, id| self.rows.special.contains(&id));
        let marked = match &questions {
            Questions::Marked(marked) => Some(marked),
            _ => None,
        };
        let (starts, unit) = (starts(&questions), unit(self.spec));
        let lines = Lines { rows, marked, shuffled: &shuffled, starts: &starts, chosen: &chosen, unit };
        let before = self.original.zip(original.as_ref());
        let before = before.map(|((model, _), whole)| lines.effects(model, whole, WINDOW, ctx)).transpose()?;
        Ok((before, lines.effects(self.result.0, &result, WINDOW, ctx)?))
    }

    fn of_tokens(&self, all: &Cloze, places: &[usize], ctx: &RunContext<'_>) -> Result<(Option<Effects>, Effects)> {
        let cloze = all.select(places);
        let is_asked = |row: usize, place: usize| {
            let asked = cloze.asked.get(row).map(Vec::as_slice).unwrap_or_default();
            asked.binary_search_by_key(&place, |(place, _)| *place as usize).is_ok()
        };
        let hides = self.spec.head == Head::MaskedLanguage;
        let stays = |row, place, id: u32| self.rows.special.contains(&id) || hides && is_asked(row, place);
        let Shuffled { rows, .. } = shuffled(&cloze.rows, stays);
        let shuffled = if hides { Cloze { rows, asked: cloze.asked.clone() } } else { Cloze::next(rows) };
        let tokens = Tokens { cloze: &cloze, shuffled: &shuffled, same_places: hides };
        let starts = all.offsets();
        let effects = |(model, answers): Answered<'_>| -> Result<Effects> {
            let Answers::Foretold(foretold) = answers else { return Err(other_answers()) };
            let row = |place: &usize| foretold.nll.get(*starts.get(*place)?..*starts.get(*place + 1)?);
            let whole: Vec<f32> = places.iter().filter_map(row).flatten().copied().collect();
            tokens.effects(model, &whole, WINDOW, ctx)
        };
        Ok((self.original.map(effects).transpose()?, effects(self.result)?))
    }

    fn long_range(&self, change: Option<Sides>, worth: Sides) -> Result<LongRange> {
        let encoded = self.rows.questions.encoded();
        let labels = self.rows.labels.as_ref().and_then(Labels::classes);
        let (quartiles_of, metric, quartiles) = match (&self.rows.questions, self.result.1) {
            (Questions::Rows(_) | Questions::Marked(_), Answers::Scores(result)) => {
                let original = self.original.and_then(|(_, answers)| scores(answers));
                let (lengths, starts) = (encoded.lengths(), starts(&self.rows.questions));
                let are_distributions = unit(self.spec) == Unit::Probability;
                let quartiles = quartiles::of_rows(&lengths, &starts, (original, result), labels, are_distributions)?;
                (QuartilesOf::RowLength, labels.map(|_| ACCURACY), quartiles)
            }
            (Questions::Tokens(cloze), Answers::Foretold(result)) => {
                let original = self.original.and_then(|(_, answers)| foretold(answers));
                // Perplexity is said of text alone, not of random tokens
                let is_text = self.rows.measured_on != MeasuredOn::Vocabulary;
                let quartiles = quartiles::of_tokens(cloze, original, result, is_text)?;
                (QuartilesOf::PlaceInRow, is_text.then_some(PERPLEXITY), quartiles)
            }
            _ => return Err(other_answers()),
        };
        let metric = metric.map(ToOwned::to_owned);
        Ok(LongRange { window: WINDOW as u64, change, worth, quartiles_of, metric, quartiles })
    }

    fn head_balance(&self, rows: &Encoded, ctx: &RunContext<'_>) -> Result<HeadBalance> {
        let original = self.original.map(|(model, _)| contributions(model, rows, ctx)).transpose()?;
        let result = contributions(self.result.0, rows, ctx)?;
        let of_original = original.as_ref().map(|original| |rows: &[usize]| original.fewest(rows));
        let of_original = of_original.as_ref().map(|f| f as Statistic<'_>);
        let fewest_effective = sides(result.rows(), of_original, |rows| result.fewest(rows))?;
        let mut before = original.as_ref().map(Contributions::layers).unwrap_or_default().into_iter();
        let layer = |(layer, after)| LayerHeads {
            layer: layer as u64,
            original: before.next(),
            result: after,
            ranks: ranks(self.result.0, layer),
        };
        Ok(HeadBalance { fewest_effective, layers: result.layers().into_iter().enumerate().map(layer).collect() })
    }
}

const fn scores(answers: &Answers) -> Option<&Scores> {
    match answers {
        Answers::Scores(scores) => Some(scores),
        Answers::Foretold(_) => None,
    }
}

const fn foretold(answers: &Answers) -> Option<&Foretold> {
    match answers {
        Answers::Foretold(foretold) => Some(foretold),
        Answers::Scores(_) => None,
    }
}

/// Where each row's lines begin: one a row, or one for each token that is looked at.
fn starts(questions: &Questions) -> Vec<usize> {
    let lines: Vec<usize> = match questions {
        Questions::Marked(marked) => marked.asked.iter().map(Vec::len).collect(),
        Questions::Rows(rows) => vec![1; rows.ids.len()],
        Questions::Tokens(cloze) => cloze.asked.iter().map(Vec::len).collect(),
    };
    let ends = lines.into_iter().scan(0, |end, lines| {
        *end += lines;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// `‖P − P̂‖ / ‖P‖` of the position tables; `None` where there is none, or the two differ in shape.
fn table_error(original: &Model, result: &Model) -> Result<Option<f64>> {
    let table = |model: &Model| -> Result<Option<Vec<f32>>> {
        let site = model.wiring.as_ref().and_then(|wiring| wiring.position);
        site.and_then(|site| model.maps.get(site)).map(|map| map.map.to_vec()).transpose()
    };
    let (Some(before), Some(after)) = (table(original)?, table(result)?) else { return Ok(None) };
    if before.len() != after.len() {
        return Ok(None);
    }
    let off: f64 = before.iter().zip(&after).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let norm: f64 = before.iter().map(|a| f64::from(*a).powi(2)).sum();
    Ok(Some(if norm > 0.0 { (off / norm).sqrt() } else { off.sqrt() }))
}

/// The rank of every attention map of a layer, by the last part of its site's name.
fn ranks(model: &Model, layer: usize) -> BTreeMap<String, u64> {
    let block = model.wiring.as_ref().and_then(|wiring| wiring.blocks.get(layer));
    let Some(attention) = block.map(|block| &block.attention) else { return BTreeMap::new() };
    let sites = match attention.projections {
        Projections::Split { query, key, value } => vec![query, key, value, attention.output],
        Projections::Fused(site) => vec![site, attention.output],
    };
    let rank = |site: usize| {
        let layout = model.maps.get(site)?.map.layout();
        let (out, columns) = layout.shape();
        let name = model.sites.get(site)?.site.rsplit('.').next()?.to_owned();
        Some((name, layout.rank().unwrap_or(out.min(columns)) as u64))
    };
    sites.into_iter().filter_map(rank).collect()
}
