//! A budget for the weight file, shared out over the sites of the last stage.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Available, PlannedStage};
use crate::engine::export::hf;
use crate::engine::method::{self, Action, SiteAction};
use crate::engine::model::{Forms, ModelHeader};
use crate::engine::problem::{Code, Problem};
use crate::engine::recipe::Constraints;

/// Bits that a site may have where the recipe does not say: those that stock runtimes load.
const BITS: [u32; 2] = [4, 8];
/// Columns that share a scale where the stage has whole rows.
const GROUP: i64 = 64;

/// How a budget is shared out, with all defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedAllocation {
    /// The stage, by its place among the plan's.
    pub stage: usize,
    /// Bytes of the weight file, at most.
    pub max_bytes: u64,
    /// What a site may have, in place of the stage's own parameters.
    pub levels: Vec<Map<String, Value>>,
    /// The level that all sites would have: of those that fit with all sites the one that takes most bytes.
    pub uniform: usize,
    /// Bytes that the file may come to: the budget, or less where not even the largest levels take it up.
    pub most_bytes: u64,
}

/// Resolves constraints against the last stage, which takes the uniform level's parameters. `before` are the forms before it; gives
/// those after it as well, and those after it at every level.
///
/// # Errors
///
/// A recipe whose last stage has no levels, a budget that no level fits, and a model without text to compare answers on; pointers
/// into the recipe.
pub(super) fn plan(
    asked: &Constraints,
    stages: &mut [PlannedStage],
    header: &ModelHeader,
    before: &Forms,
    available: &Available,
) -> Result<(PlannedAllocation, Forms, Vec<Forms>), Vec<Problem>> {
    let one = |pointer: &str, code, detail: String| vec![Problem::new(pointer, code, detail)];
    let place = stages.len().saturating_sub(1);
    let Some(stage) = stages.last_mut().filter(|stage| has_levels(stage)) else {
        let named: Vec<&str> =
            method::METHODS.iter().map(|m| m.spec()).filter(|spec| has(spec)).map(|spec| spec.name).collect();
        let detail =
            format!("constraints are shared out over the sites of the last stage: one of {}", named.join(", "));
        return Err(one("/constraints", Code::OutOfRange, detail));
    };
    if stage.params.get("strategy").and_then(Value::as_str) == Some("tensor") {
        let detail = "'tensor' is one scale for a matrix, and a budget's levels have one for a row or a group: leave the strategy out";
        return Err(one("/constraints", Code::OutOfRange, detail.to_owned()));
    }
    if header.spec.is_none() {
        let detail = "this family can't be run, so that nothing tells which sites need more bits".to_owned();
        return Err(one("/constraints", Code::OutOfRange, detail));
    }
    if available.calibration_rows.is_none() && available.training_rows.is_none() {
        let detail = "what sites need is measured on calibration text: name a dataset for it".to_owned();
        return Err(one("/constraints", Code::DataMissing, detail));
    }
    let max_bytes = asked.max_bytes.unwrap_or_else(|| {
        let bits = asked.effective_bits.as_ref().and_then(serde_json::Number::as_f64).unwrap_or(8.0);
        (bits * header.parameters as f64 / 8.0).floor() as u64
    });
    let levels = levels(stage, asked.bits.as_deref().unwrap_or(&BITS));
    if levels.is_empty() {
        let detail = format!("'{}' has none of these bits", stage.method);
        return Err(one("/constraints/bits", Code::OutOfRange, detail));
    }
    let (sizes, forms): (Vec<u64>, Vec<Forms>) =
        levels.iter().filter_map(|level| size(stage, level, header, before)).unzip();
    let fit = sizes.iter().enumerate().filter(|(_, bytes)| **bytes <= max_bytes).max_by_key(|(_, bytes)| **bytes);
    let Some((uniform, _)) = fit else {
        let least = sizes.iter().min().copied().unwrap_or(0);
        let detail = format!("{max_bytes} bytes: the least that these levels come to is {least}");
        return Err(one("/constraints", Code::OutOfRange, detail));
    };
    let cannot = || one("/constraints", Code::UnsupportedForm, "a level that these sites can't have".to_owned());
    let level = levels.get(uniform).ok_or_else(cannot)?;
    let (size_bytes, after) =
        size(stage, level, header, before).filter(|_| sizes.len() == levels.len()).ok_or_else(cannot)?;
    if let Some(params) = stage.params.as_object_mut() {
        params.extend(level.clone());
    }
    stage.size_bytes = size_bytes;
    let most_bytes = sizes.iter().max().copied().unwrap_or(max_bytes).min(max_bytes);
    Ok((PlannedAllocation { stage: place, max_bytes, levels, uniform, most_bytes }, after, forms))
}

fn has(spec: &method::MethodSpec) -> bool {
    ["bits", "group_size", "symmetric"].iter().all(|name| spec.params.iter().any(|param| param.name == *name))
}

fn has_levels(stage: &PlannedStage) -> bool {
    method::find(&stage.method).is_some_and(|method| has(method.spec()))
}

/// What a site may have: 8 bits by rows, and fewer in groups of half, once and twice the stage's columns.
fn levels(stage: &PlannedStage, bits: &[u32]) -> Vec<Map<String, Value>> {
    let Some(spec) = method::find(&stage.method).map(method::Method::spec) else { return Vec::new() };
    let allows =
        |name: &str, value: &Value| spec.params.iter().any(|param| param.name == name && param.kind.allows(value));
    let own = stage.params.get("group_size").and_then(Value::as_i64).filter(|size| *size > 0).unwrap_or(GROUP);
    let mut levels = Vec::new();
    for bits in bits {
        let groups: &[i64] = if *bits == 8 { &[-1] } else { &[2 * own, own, own / 2] };
        for group in groups.iter().filter(|group| allows("group_size", &json!(group)) && allows("bits", &json!(bits))) {
            let mut level = Map::from_iter([("bits".to_owned(), json!(bits)), ("group_size".to_owned(), json!(group))]);
            if *bits == 8 {
                level.insert("symmetric".to_owned(), json!(true));
            }
            if stage.params.get("strategy").is_some_and(|strategy| !strategy.is_null()) {
                level.insert("strategy".to_owned(), json!(if *group < 0 { "channel" } else { "group" }));
            }
            levels.push(level);
        }
    }
    levels
}

/// A stage's action with a level in place of its own parameters.
pub fn bind(stage: &PlannedStage, level: &Map<String, Value>) -> Option<Box<dyn SiteAction>> {
    let mut params = stage.params.as_object()?.clone();
    params.extend(level.clone());
    match method::find(&stage.method)?.bind(&params).ok()? {
        Action::Site(action) => Some(action),
        Action::Model(_) => None,
    }
}

/// Bytes of the weight file with all of the stage's sites at a level, and the forms then.
fn size(
    stage: &PlannedStage,
    level: &Map<String, Value>,
    header: &ModelHeader,
    before: &Forms,
) -> Option<(u64, Forms)> {
    let action = bind(stage, level)?;
    let mut forms = before.clone();
    let both = forms.layouts.iter_mut().zip(&mut forms.inputs);
    for (site, (layout, input)) in
        header.sites.iter().zip(both).filter(|(site, _)| stage.sites.contains(&site.spec.site))
    {
        *layout = action.layout(&site.spec, layout).ok()?;
        *input = action.input(&site.spec, layout, *input, header.reads(&site.spec));
    }
    Some((hf::Manifest::new(header, &forms).ok()?.file_bytes(), forms))
}
