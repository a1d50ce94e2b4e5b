//! What a sensitivity job tries: every site that a recipe changes, alone, at every level.
//!
//! A site is changed as the whole recipe would change it: by all stages that name it, in their order. At a level of so many bits
//! those stages whose method has the parameter `bits` are given that number in place of their own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Available, Plan, PlannedStage, resolve};
use crate::engine::export::encoding;
use crate::engine::method::{self, Action, SiteAction};
use crate::engine::model::{Layout, ModelHeader, SiteHeader, SiteRole};
use crate::engine::problem::{Code, Problem};
use crate::engine::recipe::Recipe;

/// Bits that are tried where nobody says which, as far as the methods have them.
const LEVELS: [u32; 6] = [2, 3, 4, 5, 6, 8];
/// Rows that answers are compared on where nobody says how many.
const ROWS: usize = 128;
/// Their tokens together then.
const TOKENS: usize = 8192;

/// What will be tried, with all defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSensitivity {
    /// Bits of a code, ascending. Sites whose stages have no such parameter are tried as the recipe has them.
    pub bits: Vec<u32>,
    /// Held-out rows that answers are compared on, at most.
    pub num_samples: usize,
    /// Their tokens together, at most.
    pub max_tokens: usize,
    /// Changes that are tried, one at a time.
    pub cells: u64,
}

/// A site with the changes that are tried on it.
pub struct Target {
    /// Its place among the model's sites.
    pub site: usize,
    /// By ascending bits.
    pub choices: Vec<Choice>,
}

/// One change of one site.
pub struct Choice {
    /// Bits of a code; of a change that has no such parameter, of a stored number.
    pub bits: u32,
    /// What is done, each with the number of its stage.
    pub actions: Vec<(usize, Box<dyn SiteAction>)>,
    /// What it leaves behind.
    pub layout: Layout,
}

/// Resolves a recipe for a sensitivity job: as [`super::resolve()`], and what is tried.
///
/// # Errors
///
/// Everything that is wrong with the recipe for this model and this kind of job; pointers into the recipe.
pub fn plan(recipe: &Recipe, header: &ModelHeader, available: &Available) -> Result<Plan, Vec<Problem>> {
    // What is measured is how near answers stay; quality is what `evaluate` asks of results
    let mut asked = recipe.clone();
    asked.evaluate.metrics = None;
    let mut plan = resolve(&Recipe { sensitivity: None, ..asked }, header, available)?;
    plan.evaluate.metrics.retain(|metric| metric == "fidelity");
    let settings = recipe.sensitivity.clone().unwrap_or_default();
    let bits = levels(&plan.stages, settings.bits.as_deref());
    let targets = menu(&plan.stages, &bits, header)?;
    refuse_unknown(settings.bits.as_deref().unwrap_or_default(), &plan.stages, &targets)?;
    let cells = targets.iter().map(|target| target.choices.len() as u64).sum();
    let num_samples = settings.num_samples.unwrap_or(ROWS);
    let max_tokens = settings.num_samples.map_or(TOKENS, |rows| rows.saturating_mul(plan.evaluate.max_seq_length));
    let rows = available.calibration_rows.or(available.training_rows).map_or(num_samples, |rows| (rows / 10) as usize);
    // Of every pass about one half, over rows of some 64 tokens; two cores run about 1e11 multiplications a second
    let tokens = rows.min(num_samples).saturating_mul(64).min(max_tokens) as f64;
    let linear = header.sites.iter().filter(|site| site.spec.role == SiteRole::Linear);
    let multiplied = linear.map(|site| site.layout.parameters()).sum::<u64>() as f64;
    let seconds = 1.0 + header.parameters as f64 * 2e-7 + cells as f64 * tokens * multiplied / 2e11;
    plan.predicted.wall_seconds = (seconds * 10.0).round() / 10.0;
    plan.predicted.size_bytes = header.size_bytes;
    plan.predicted.parameters = header.parameters;
    plan.predicted.files.clear();
    plan.notes.retain(|note| !note.contains("evaluation data"));
    plan.notes
        .push("one site at a time is changed, and the model stays as it is: no weight file is written".to_owned());
    plan.sensitivity = Some(PlannedSensitivity { bits, num_samples, max_tokens, cells });
    Ok(plan)
}

/// The bits that are tried: those that were asked for, or the usual ones that a method of the stages has.
fn levels(stages: &[PlannedStage], asked: Option<&[u32]>) -> Vec<u32> {
    let usual = || LEVELS.iter().copied().filter(|bits| stages.iter().any(|stage| has(stage, *bits) == Some(true)));
    let mut bits = asked.map_or_else(|| usual().collect(), <[u32]>::to_vec);
    bits.sort_unstable();
    bits.dedup();
    bits
}

/// Whether a stage's method can be given so many bits; `None` where it has no such parameter.
fn has(stage: &PlannedStage, bits: u32) -> Option<bool> {
    let spec = method::find(&stage.method)?.spec();
    Some(spec.params.iter().find(|param| param.name == "bits")?.kind.allows(&json!(bits)))
}

/// Refuses bits that were asked for and that no site can be tried at.
fn refuse_unknown(asked: &[u32], stages: &[PlannedStage], targets: &[Target]) -> Result<(), Vec<Problem>> {
    let tried = |bits: u32| targets.iter().any(|target| target.choices.iter().any(|choice| choice.bits == bits));
    let known: Vec<u32> = (1..=16).filter(|bits| stages.iter().any(|stage| has(stage, *bits) == Some(true))).collect();
    let wrong = asked.iter().enumerate().filter(|(_, bits)| !tried(**bits));
    let problem = |(i, bits): (usize, &u32)| {
        let detail = format!("no site can be tried at {bits} bits: the methods of the stages have {known:?}");
        Problem::new(format!("/sensitivity/bits/{i}"), Code::OutOfRange, detail)
    };
    let problems: Vec<Problem> = wrong.map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Every site that stages of a plan name, with the changes that are tried on it.
///
/// # Errors
///
/// Stages that change several sites together, since then no site can be changed alone; no site at all.
pub fn menu(stages: &[PlannedStage], bits: &[u32], header: &ModelHeader) -> Result<Vec<Target>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut by_site: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, stage) in stages.iter().enumerate() {
        if matches!(bind(stage, None), Some(Action::Model(_))) {
            let detail = format!("'{}' changes several sites together: none can be tried alone", stage.method);
            problems.push(Problem::new(format!("/stages/{i}/method"), Code::UnsupportedForm, detail));
        }
        stage.sites.iter().for_each(|site| by_site.entry(site).or_default().push(i));
    }
    if by_site.is_empty() {
        let detail = "no stage changes a site: give one, such as {\"method\": \"quantize\"}";
        problems.push(Problem::new("/stages", Code::MissingField, detail));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let target = |(place, site): (usize, &SiteHeader)| {
        let named = by_site.get(site.spec.site.as_str())?;
        let has_bits = named.iter().any(|i| stages.get(*i).is_some_and(|stage| has(stage, 8).is_some()));
        let levels: Vec<Option<u32>> = if has_bits { bits.iter().copied().map(Some).collect() } else { vec![None] };
        let choices = levels.into_iter().filter_map(|level| choice(stages, named, level, site)).collect();
        Some(Target { site: place, choices })
    };
    Ok(header.sites.iter().enumerate().filter_map(target).collect())
}

/// One change of a site; `None` where a method can't do it.
fn choice(stages: &[PlannedStage], named: &[usize], level: Option<u32>, site: &SiteHeader) -> Option<Choice> {
    let mut layout = site.layout.clone();
    let mut actions = Vec::with_capacity(named.len());
    for i in named {
        let stage = stages.get(*i)?;
        if level.is_some_and(|bits| has(stage, bits) == Some(false)) {
            return None;
        }
        let Action::Site(action) = bind(stage, level)? else { return None };
        layout = action.layout(&site.spec, &layout).ok()?;
        actions.push((*i, action));
    }
    // A form that no file holds is no choice
    encoding::tensors(&layout, &site.spec.module).ok()?;
    Some(Choice { bits: level.unwrap_or_else(|| layout.bits()), actions, layout })
}

/// A stage's method with its parameters, `bits` among them replaced.
fn bind(stage: &PlannedStage, bits: Option<u32>) -> Option<Action> {
    let mut params: Map<String, Value> = stage.params.as_object()?.clone();
    if let (Some(bits), Some(own)) = (bits, params.get_mut("bits")) {
        *own = json!(bits);
    }
    method::find(&stage.method)?.bind(&params).ok()
}

#[cfg(test)]
mod tests;
