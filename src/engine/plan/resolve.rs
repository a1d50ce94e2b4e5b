//! Resolves a recipe against a model's header: a fold of layouts through the stages. Reads no weights.

use serde_json::Value;

use super::allocation::{self, PlannedAllocation};
use super::predict::{calibrating, coding, predict};
use super::{Available, Plan, PlannedCalibration, PlannedEvaluate, PlannedStage, metrics};
use crate::engine::export::{hf, loaders, packed};
use crate::engine::method::params::{self, unknown};
use crate::engine::method::{self, Action, METHODS, Needs};
use crate::engine::model::site::Selection;
use crate::engine::model::spec::Head;
use crate::engine::model::{Forms, ModelHeader, SiteSpec};
use crate::engine::problem::{Code, Problem};
use crate::engine::recipe::{Recipe, Stage};

/// Tokens that a row is cut to where the recipe does not say.
const DEFAULT_SEQ_LENGTH: usize = 128;
/// Rows that are calibrated on where the recipe does not say.
const DEFAULT_CALIBRATION_ROWS: usize = 512;
/// Tokens of a decoder's windows where the recipe does not say.
const DEFAULT_WINDOW: usize = 256;

/// Fills in every default, finds every problem, and predicts what the result will come to.
///
/// # Errors
///
/// Everything that is wrong with the recipe for this model; pointers into the recipe.
pub fn resolve(recipe: &Recipe, header: &ModelHeader, available: &Available) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let sites: Vec<SiteSpec> = header.sites.iter().map(|s| s.spec.clone()).collect();
    let mut forms = Forms::of(header);
    let mut stages = Vec::new();
    let mut wants = false;
    let mut left_out = Vec::new();
    let mut before_last = forms.clone();
    for (i, stage) in recipe.stages.iter().enumerate() {
        let before = forms.clone();
        match plan_stage(stage, &format!("/stages/{i}"), header, &sites, &mut forms, available) {
            Ok(Some((planned, looks))) => {
                wants |= looks;
                stages.push(planned);
                before_last = before;
            }
            Ok(None) => left_out.push(i),
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(check_export(&recipe.export));
    let (mut allocation, mut levels) = (None, Vec::new());
    if let Some(asked) = recipe.constraints.as_ref().filter(|_| problems.is_empty()) {
        match allocation::plan(asked, &mut stages, header, &before_last, available) {
            Ok((planned, after, all)) => (allocation, forms, levels) = (Some(planned), after, all),
            Err(found) => problems.extend(found),
        }
    }
    let evaluate = plan_evaluate(recipe, header, available).map_err(|p| problems.extend(p)).ok();
    let weights = hf::Manifest::new(header, &forms).map(|m| m.file_bytes());
    let (Ok(size_bytes), Some(evaluate), true) = (weights, evaluate, problems.is_empty()) else {
        return Err(problems);
    };
    let size_bytes = allocation.as_ref().map_or(size_bytes, |planned: &PlannedAllocation| planned.most_bytes);
    let calibration = (wants || allocation.is_some()).then(|| plan_calibration(recipe, header, available));
    let run = (stages.as_slice(), &evaluate, allocation.as_ref());
    let mut predicted = predict(header, &forms.layouts, run, available, size_bytes);
    let is_packed = recipe.export.iter().any(|format| format == packed::FORMAT);
    if is_packed {
        coding(&mut predicted, header, &forms);
    }
    let any = if levels.is_empty() { std::slice::from_ref(&forms) } else { &levels };
    let loaders = if is_packed { vec![loaders::OURS.to_owned()] } else { loaders::of_forms(any, header) };
    predicted.files.iter_mut().for_each(|file| file.loaders.clone_from(&loaders));
    calibrating(&mut predicted, header, &stages, calibration.as_ref());
    let mut notes = notes(header, available, &evaluate, calibration.as_ref());
    notes.extend(of_recipe(recipe, &left_out, is_packed));
    Ok(Plan {
        version: 1,
        seed: recipe.seed,
        calibration,
        stages,
        allocation,
        evaluate,
        sensitivity: None,
        export: recipe.export.clone(),
        predicted,
        notes,
    })
}

/// What is to be known of a recipe as it is written.
fn of_recipe(recipe: &Recipe, left_out: &[usize], is_packed: bool) -> Vec<String> {
    let mut notes: Vec<String> =
        left_out.iter().map(|i| format!("stage {i} is left out: this model has none of its targets")).collect();
    if recipe.sensitivity.is_some() {
        notes.push("the recipe's 'sensitivity' is read by jobs of kind 'sensitivity' alone".to_owned());
    }
    if is_packed {
        notes.push(
            "packed: the size is an upper bound, for what coding saves depends on the weights; no runtime but pare loads it"
                .to_owned(),
        );
    }
    notes
}

fn plan_stage(
    stage: &Stage,
    at: &str,
    header: &ModelHeader,
    sites: &[SiteSpec],
    forms: &mut Forms,
    available: &Available,
) -> Result<Option<(PlannedStage, bool)>, Vec<Problem>> {
    let one = |pointer: &str, code, detail: String| vec![Problem::new(format!("{at}{pointer}"), code, detail)];
    let Some(method) = method::find(&stage.method) else {
        let names = METHODS.iter().map(|m| m.spec().name);
        return Err(one("/method", Code::UnknownMethod, unknown(&stage.method, names)));
    };
    let spec = method.spec();
    let resolved = params::resolve(spec.params, &stage.params, &format!("{at}/params"))?;
    let action = method.bind(&resolved).map_err(|found| under(found, &format!("{at}/params")))?;
    let has_text = available.calibration_rows.is_some() || available.training_rows.is_some();
    if spec.needs != Needs::Nothing && !has_text {
        let detail = format!("'{}' needs {}: name a dataset for it", spec.name, spec.needs.as_str());
        return Err(one("/method", Code::DataMissing, detail));
    }
    let wanted = (stage.targets.as_deref(), stage.if_present);
    let selection =
        Selection::new(wanted, spec.default_targets, &stage.ignore, header).map_err(|found| under(found, at))?;
    let targets: Vec<usize> = (0..sites.len()).filter(|i| selection.contains(&sites[*i].site)).collect();
    if targets.is_empty() && stage.if_present {
        return Ok(None);
    }
    if targets.is_empty() {
        let some: Vec<&str> = sites.iter().take(4).map(|s| s.site.as_str()).collect();
        let detail = format!("no site is left: this model has {} sites, among them {}", sites.len(), some.join(", "));
        return Err(one("/targets", Code::NoSuchSite, detail));
    }
    let refused = take_forms(&action, &targets, (header, sites), forms);
    let size_bytes = hf::Manifest::new(header, forms).map(|m| m.file_bytes());
    let size_bytes = size_bytes.map_err(|e| one("", Code::UnsupportedForm, e.to_string()))?;
    if !refused.is_empty() {
        return Err(refused.into_iter().flat_map(|why| one("", Code::UnsupportedForm, why)).collect());
    }
    let looks = action.wants().is_some() && header.spec.is_some();
    let planned = PlannedStage {
        method: stage.method.clone(),
        params: Value::Object(resolved),
        sites: targets.iter().map(|i| sites[*i].site.clone()).collect(),
        size_bytes,
        parameters: hf::parameters(header, &forms.layouts),
    };
    Ok(Some((planned, looks)))
}

/// Takes over what an action makes of its targets' forms; tells why it can't.
fn take_forms(
    action: &Action,
    targets: &[usize],
    (header, sites): (&ModelHeader, &[SiteSpec]),
    forms: &mut Forms,
) -> Vec<String> {
    let mut refused = Vec::new();
    match action {
        Action::Site(action) => {
            for i in targets {
                match action.layout(&sites[*i], &forms.layouts[*i]) {
                    Ok(layout) => {
                        forms.inputs[*i] =
                            action.input(&sites[*i], &layout, forms.inputs[*i], header.reads(&sites[*i]));
                        forms.layouts[*i] = layout;
                    }
                    Err(why) => refused.push(format!("{}: {why}", sites[*i].site)),
                }
            }
        }
        Action::Model(action) => match action.layouts(sites, &forms.layouts) {
            Ok(found) => forms.layouts = found,
            Err(why) => refused.push(why),
        },
    }
    refused
}

/// Formats that are written.
const FORMATS: [&str; 2] = ["safetensors", packed::FORMAT];

fn check_export(export: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, format) in export.iter().enumerate() {
        let (code, detail) = match format.as_str() {
            known if FORMATS.contains(&known) && i == 0 => continue,
            "safetensors" if export.iter().all(|other| other == "safetensors") => continue,
            known if FORMATS.contains(&known) => {
                (Code::OutOfRange, format!("'{known}' is a second 'model.safetensors': name one of {FORMATS:?}"))
            }
            "onnx" | "gguf" => (Code::NotYetSupported, format!("'{format}' is not written yet: safetensors or packed")),
            other => (Code::OutOfRange, unknown(other, FORMATS.into_iter())),
        };
        problems.push(Problem::new(format!("/export/{i}"), code, detail));
    }
    if export.is_empty() {
        problems.push(Problem::new(
            "/export",
            Code::OutOfRange,
            "at least one format is needed: safetensors or packed",
        ));
    }
    problems
}

/// Moves problems under a pointer.
fn under(found: Vec<Problem>, at: &str) -> Vec<Problem> {
    found.into_iter().map(|p| Problem { pointer: format!("{at}{}", p.pointer), ..p }).collect()
}

fn plan_evaluate(
    recipe: &Recipe,
    header: &ModelHeader,
    available: &Available,
) -> Result<PlannedEvaluate, Vec<Problem>> {
    let asked = &recipe.evaluate;
    let positions = header.spec.as_ref().map_or(usize::MAX, |s| s.positions);
    let decodes = header.spec.as_ref().is_some_and(|s| s.head == Head::CausalLanguage);
    let default = if decodes { DEFAULT_WINDOW } else { DEFAULT_SEQ_LENGTH };
    let max_seq_length = asked.max_seq_length.unwrap_or(default.min(positions));
    if max_seq_length > positions {
        let detail = format!("{max_seq_length} tokens: this model has {positions} positions");
        return Err(vec![Problem::new("/evaluate/max_seq_length", Code::OutOfRange, detail)]);
    }
    let metrics = metrics::chosen(asked.metrics.as_deref(), header, available)?;
    if available.evaluation_rows.is_some() && header.spec.is_some() && !header.has_tokenizer {
        let detail = "evaluation data was given, but the model has no tokenizer.json: upload the model with it";
        return Err(vec![Problem::new("/evaluate", Code::TokenizerMissing, detail)]);
    }
    Ok(PlannedEvaluate { metrics, max_seq_length, reference_floor: asked.reference_floor.clone() })
}

/// What is calibrated on.
fn plan_calibration(recipe: &Recipe, header: &ModelHeader, available: &Available) -> PlannedCalibration {
    let positions = header.spec.as_ref().map_or(usize::MAX, |spec| spec.positions);
    let asked = recipe.calibration.as_ref();
    PlannedCalibration {
        num_calibration_samples: asked.map_or(DEFAULT_CALIBRATION_ROWS, |asked| asked.num_calibration_samples),
        max_seq_length: asked.map_or(DEFAULT_SEQ_LENGTH, |asked| asked.max_seq_length).min(positions),
        is_made: available.calibration_rows.is_none() && available.training_rows.is_none(),
    }
}

fn notes(
    header: &ModelHeader,
    available: &Available,
    evaluate: &PlannedEvaluate,
    calibration: Option<&PlannedCalibration>,
) -> Vec<String> {
    let mut notes = Vec::new();
    if calibration.is_some_and(|calibration| calibration.is_made) {
        notes.push(
            "without calibration data statistics come from text that the model makes itself: name a dataset".to_owned(),
        );
    }
    if header.spec.is_none() {
        let family = header.family.as_deref().unwrap_or("unknown");
        notes.push(format!(
            "the family '{family}' can't be run: weights are compressed, and nothing is measured by running the model"
        ));
    } else if evaluate.metrics.is_empty() {
        notes.push("nothing is measured: the report will say so".to_owned());
    } else if available.evaluation_rows.is_none() {
        notes.push(
            "without evaluation data task quality is not measured: the report gives fidelity to the original alone"
                .to_owned(),
        );
    }
    notes
}
