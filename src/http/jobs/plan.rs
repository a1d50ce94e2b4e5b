//! What can be said of a job before it runs: that all it names is there and fits together, and its plan.

use serde_json::Value;

use super::request::{Request, Role, Source};
use crate::db::datasets::Dataset;
use crate::db::jobs::JobKind;
use crate::db::models::Model;
use crate::db::{self, UploadState};
use crate::engine::data::{DatasetSummary, overlap};
use crate::engine::evaluate::labels;
use crate::engine::model::ModelHeader;
use crate::engine::plan::{self, Available, Plan};
use crate::engine::problem::{Code, Problem, nearest};
use crate::engine::recipe::{Evaluate, Recipe, for_sensitivity, presets};
use crate::http::error::{Detail, Error, Result};
use crate::http::{App, code, nulls, recipes};
use crate::id::ModelId;

/// What a job works on.
pub(crate) struct Inputs {
    pub(crate) model: Model,
    pub(super) reference: Option<Model>,
    pub(super) datasets: Vec<(Role, Dataset)>,
}

impl Inputs {
    /// Looks up all that a job names.
    ///
    /// # Errors
    ///
    /// 422 with a problem for each that is not there or is invalid.
    pub(super) async fn find(app: &App, request: &Request) -> Result<Self> {
        let mut problems = Vec::new();
        let model = find_model(app, "/model_id", request.model_id, &mut problems).await?;
        let reference = match request.reference_model_id {
            Some(id) => find_model(app, "/reference_model_id", id, &mut problems).await?,
            None => None,
        };
        let mut datasets = Vec::new();
        for (role, id) in &request.datasets {
            let pointer = format!("/{}", role.field());
            match db::datasets::find(&app.pool, app.tenant, *id).await? {
                None => problems.push(Detail::new(pointer, code::NOT_FOUND, format!("there is no dataset {id}"))),
                Some(found) if found.state == UploadState::Invalid => {
                    let detail = format!("dataset {id} is invalid: {}", first(&found.errors));
                    problems.push(Detail::new(pointer, Code::DatasetInvalid, detail));
                }
                Some(found) => datasets.push((*role, found)),
            }
        }
        match model {
            Some(model) if problems.is_empty() => Ok(Self { model, reference, datasets }),
            _ => Err(Error::invalid(problems)),
        }
    }

    /// Whether all of it is validated.
    pub(crate) fn are_ready(&self) -> bool {
        let mut models = std::iter::once(&self.model).chain(&self.reference);
        models.all(|model| model.state == UploadState::Ready)
            && self.datasets.iter().all(|(_, dataset)| dataset.state == UploadState::Ready)
    }

    /// Bytes of the files of all models.
    pub(super) fn model_bytes(&self) -> u64 {
        let reference = self.reference.as_ref().map_or(0, |model| model.size_bytes);
        self.model.size_bytes.saturating_add(reference)
    }

    fn dataset(&self, role: Role) -> Option<&Dataset> {
        self.datasets.iter().find(|(one, _)| *one == role).map(|(_, dataset)| dataset)
    }

    fn available(&self) -> Available {
        let rows = |role| self.dataset(role).and_then(|dataset| Some(dataset.summary.as_ref()?.rows));
        let evaluation = self.dataset(Role::Evaluation).and_then(|dataset| dataset.summary.as_ref());
        Available {
            calibration_rows: rows(Role::Calibration),
            training_rows: rows(Role::Training),
            validation_rows: rows(Role::Validation),
            evaluation_rows: rows(Role::Evaluation),
            evaluation_target: evaluation.map(DatasetSummary::target).unwrap_or_default(),
            evaluation_has_numbers: evaluation.is_some_and(DatasetSummary::has_numbers),
        }
    }
}

async fn find_model(app: &App, pointer: &str, id: ModelId, problems: &mut Vec<Detail>) -> Result<Option<Model>> {
    let found = db::models::find(&app.pool, app.tenant, id).await?;
    match &found {
        None => problems.push(Detail::new(pointer, code::NOT_FOUND, format!("there is no model {id}"))),
        Some(model) if model.state == UploadState::Invalid => {
            let detail = format!("model {id} is invalid: {}", first(&model.errors));
            problems.push(Detail::new(pointer, Code::ModelInvalid, detail));
        }
        Some(_) => {}
    }
    Ok(found)
}

fn first(errors: &[Problem]) -> String {
    errors.first().map_or_else(|| "its problems are unknown".to_owned(), ToString::to_string)
}

/// A recipe as it will be run, with `evaluate` and `sensitivity` of the job in their places.
pub(super) struct Written {
    pub(super) value: Value,
    pub(super) recipe: Recipe,
}

/// Finds and reads the recipe of a job.
///
/// # Errors
///
/// 422 with every problem of it.
pub(super) async fn recipe(app: &App, request: &Request) -> Result<Option<Written>> {
    let mut value = match &request.recipe {
        Source::Given(value) => nulls::without(value),
        Source::Named(name) => recipes::by_name(app, name).await?.ok_or_else(|| unknown_recipe(name))?,
        Source::Nowhere if request.kind == JobKind::Sensitivity => {
            serde_json::to_value(for_sensitivity()).map_err(Error::internal)?
        }
        Source::Nowhere => {
            check_evaluate(request)?;
            return Ok(None);
        }
    };
    for (part, given) in [("evaluate", &request.evaluate), ("sensitivity", &request.sensitivity)] {
        if let (Some(given), Value::Object(recipe)) = (given, &mut value) {
            recipe.insert(part.to_owned(), given.clone());
        }
    }
    match Recipe::parse(&value) {
        Ok(recipe) => Ok(Some(Written { value, recipe })),
        Err(problems) => Err(Error::invalid(problems.into_iter().map(|one| place(request, one)).collect())),
    }
}

/// `evaluate` of a job without a recipe.
fn check_evaluate(request: &Request) -> Result<()> {
    let problems = request.evaluate.as_ref().and_then(|evaluate| Evaluate::parse(evaluate).err()).unwrap_or_default();
    let problems: Vec<Detail> = problems.into_iter().map(|one| Detail::from(one).under("/evaluate")).collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}

fn unknown_recipe(name: &str) -> Error {
    let shown: String = name.chars().take(64).collect();
    let names = || presets().iter().map(|preset| preset.name);
    let hint = match nearest(name, names()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("presets are {}", names().collect::<Vec<_>>().join(", ")),
    };
    let detail = format!("there is no recipe '{shown}'; {hint}");
    Error::invalid(vec![Detail::new("/recipe_name", Code::UnknownRecipe, detail)])
}

/// A recipe's problem as one of the job's body.
fn place(request: &Request, problem: Problem) -> Detail {
    let own = [("/evaluate", &request.evaluate), ("/sensitivity", &request.sensitivity)];
    if own.iter().any(|(part, given)| given.is_some() && problem.pointer.starts_with(part)) {
        return problem.into();
    }
    match &request.recipe {
        Source::Named(name) => {
            let detail = format!("recipe '{name}'{}: {}", problem.pointer, problem.detail);
            Detail::new("/recipe_name", problem.code, detail)
        }
        Source::Given(_) | Source::Nowhere => Detail::from(problem).under("/recipe"),
    }
}

/// Checks inputs that are ready against each other, and plans the recipe. Takes time: not for an async thread.
///
/// # Errors
///
/// Every problem at once.
pub(super) fn resolve(
    request: &Request,
    inputs: &Inputs,
    written: Option<&Written>,
) -> Result<Option<Plan>, Vec<Detail>> {
    let Some(header) = &inputs.model.header else { return Ok(None) };
    let mut problems = overlaps(inputs);
    problems.extend(unknown_labels(inputs, header));
    if request.kind == JobKind::Evaluate {
        problems.extend(unmeasurable(request, inputs));
    }
    let planned = written.map(|written| match request.kind {
        JobKind::Sensitivity => plan::sensitivity::plan(&written.recipe, header, &inputs.available()),
        _ => plan::resolve(&written.recipe, header, &inputs.available()),
    });
    let planned = planned.transpose();
    match planned {
        Ok(plan) if problems.is_empty() => Ok(plan),
        Ok(_) => Err(problems),
        Err(found) => {
            problems.extend(found.into_iter().map(|problem| place(request, problem)));
            Err(problems)
        }
    }
}

/// Models of a job that measures which can't be run as it asks.
fn unmeasurable(request: &Request, inputs: &Inputs) -> Vec<Detail> {
    let mut problems = Vec::new();
    let asked = request.evaluate.as_ref().and_then(|evaluate| Evaluate::parse(evaluate).ok()?.max_seq_length);
    let reference = inputs.reference.as_ref().map(|model| ("/reference_model_id", model));
    for (pointer, model) in std::iter::once(("/model_id", &inputs.model)).chain(reference) {
        let Some(header) = &model.header else { continue };
        match &header.spec {
            None => {
                let family = header.family.as_deref().unwrap_or("none");
                let detail = format!("model {} is of family '{family}', which can't be run, only compressed", model.id);
                problems.push(Detail::new(pointer, Code::UnsupportedModel, detail));
            }
            Some(spec) => {
                if let Some(asked) = asked.filter(|asked| *asked > spec.positions) {
                    let detail = format!("{asked} tokens are not allowed: model {} has {}", model.id, spec.positions);
                    problems.push(Detail::new("/evaluate/max_seq_length", Code::OutOfRange, detail));
                }
            }
        }
    }
    problems
}

/// Rows that stand in two datasets of a job: what is measured on them would flatter the result.
fn overlaps(inputs: &Inputs) -> Vec<Detail> {
    let mut problems = Vec::new();
    for (index, (role, dataset)) in inputs.datasets.iter().enumerate() {
        let Some(summary) = &dataset.summary else { continue };
        for (other, against) in inputs.datasets.iter().take(index) {
            let Some(others) = &against.summary else { continue };
            let Some(shared) = overlap(&summary.prints(), &others.prints()) else { continue };
            let one = format!("the {} data {} ({} rows)", role.noun(), dataset.id, summary.rows);
            let other = format!("the {} data {} ({} rows)", other.noun(), against.id, others.rows);
            problems.push(Detail::new(
                format!("/{}", role.field()),
                Code::DatasetsOverlap,
                shared.detail(&one, &other),
            ));
        }
    }
    problems
}

/// Labels of rows that the model can't answer with. Labels of calibration rows are not used.
fn unknown_labels(inputs: &Inputs, header: &ModelHeader) -> Vec<Detail> {
    let Some(spec) = &header.spec else { return Vec::new() };
    let used = inputs.datasets.iter().filter(|(role, _)| *role != Role::Calibration);
    used.flat_map(|(role, dataset)| {
        let pointer = format!("/{}", role.field());
        let Some(summary) = &dataset.summary else { return Vec::new() };
        labels::problems(&spec.head, summary, &pointer)
    })
    .map(Detail::from)
    .collect()
}
