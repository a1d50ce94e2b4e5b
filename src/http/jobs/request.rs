//! The body of `POST /v1/jobs`.

use serde_json::{Map, Value};

use crate::db::jobs::JobKind;
use crate::engine::problem::Code;
use crate::http::error::Detail;
use crate::http::fields::{Fields, check_text};
use crate::http::nulls;
use crate::id::{DatasetId, ModelId};

/// The longest deadline: 30 days.
pub(super) const LONGEST_DEADLINE_SECONDS: i64 = 30 * 24 * 3600;
/// The most labels of a job.
const MOST_LABELS: usize = 16;
/// The longest label, either side.
const LABEL_CHARS: usize = 100;
/// The longest name of a recipe that is looked up.
const RECIPE_NAME_CHARS: usize = 64;

/// Every field.
const FIELDS: &[&str] = &[
    "kind",
    "model_id",
    "recipe_name",
    "recipe",
    "evaluate",
    "sensitivity",
    "calibration_dataset_id",
    "training_dataset_id",
    "validation_dataset_id",
    "evaluation_dataset_id",
    "reference_model_id",
    "source_job_id",
    "formats",
    "deadline_seconds",
    "priority",
    "labels",
];
/// The kinds of jobs that are submitted; the others the server makes itself, or can't do yet.
pub(crate) const SUBMITTED: &[JobKind] = &[JobKind::Compress, JobKind::Evaluate, JobKind::Sensitivity];
/// The fields that every kind takes.
const COMMON: &[&str] = &["kind", "deadline_seconds", "priority", "labels"];

/// What a dataset is for in a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Statistics.
    Calibration,
    /// Training.
    Training,
    /// Choices.
    Validation,
    /// The report.
    Evaluation,
}

impl Role {
    /// Every one.
    pub(crate) const ALL: &'static [Self] = &[Self::Calibration, Self::Training, Self::Validation, Self::Evaluation];

    /// The field that names it.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::Calibration => "calibration_dataset_id",
            Self::Training => "training_dataset_id",
            Self::Validation => "validation_dataset_id",
            Self::Evaluation => "evaluation_dataset_id",
        }
    }

    /// For people.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Calibration => "calibration",
            Self::Training => "training",
            Self::Validation => "validation",
            Self::Evaluation => "evaluation",
        }
    }
}

/// Where a job's recipe comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A preset or stored recipe.
    Named(String),
    /// It stands in the body.
    Given(Value),
    /// The kind needs none.
    Nowhere,
}

/// A job that makes sense by itself. What it names may still not be there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) kind: JobKind,
    pub(crate) model_id: ModelId,
    pub(crate) recipe: Source,
    pub(crate) evaluate: Option<Value>,
    pub(crate) sensitivity: Option<Value>,
    pub(crate) datasets: Vec<(Role, DatasetId)>,
    pub(crate) reference_model_id: Option<ModelId>,
    pub(crate) deadline_seconds: Option<u32>,
    pub(crate) priority: i32,
    pub(crate) labels: Map<String, Value>,
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// Every problem at once.
    pub(crate) fn parse(body: &Value) -> Result<Self, Vec<Detail>> {
        let mut fields = Fields::of(body, FIELDS)?;
        let Some(kind) = kind(&mut fields) else { return Err(fields.finish()) };
        refuse_foreign(&mut fields, kind);
        require(&mut fields, "model_id", "the model that the job works on");
        if kind == JobKind::Evaluate {
            require(&mut fields, "evaluation_dataset_id", "the rows that are measured on");
        }
        let recipe = match kind {
            JobKind::Compress => source(&mut fields),
            JobKind::Sensitivity => {
                require_text(&mut fields);
                perhaps_source(&mut fields)
            }
            _ => Source::Nowhere,
        };
        let sensitivity = fields.object("sensitivity").cloned().map(|fields| nulls::without(&Value::Object(fields)));
        let evaluate = fields.object("evaluate").cloned().map(|fields| nulls::without(&Value::Object(fields)));
        let datasets = Role::ALL.iter().filter_map(|role| Some((*role, fields.id(role.field())?))).collect();
        let model_id = fields.id("model_id");
        let reference_model_id = fields.id("reference_model_id");
        let deadline = fields.integer("deadline_seconds", 1..=LONGEST_DEADLINE_SECONDS);
        let priority = fields.integer("priority", -100..=100).unwrap_or(0);
        let labels = labels(&mut fields);
        let problems = fields.finish();
        match model_id {
            Some(model_id) if problems.is_empty() => Ok(Self {
                kind,
                model_id,
                recipe,
                evaluate,
                sensitivity,
                datasets,
                reference_model_id,
                deadline_seconds: deadline.and_then(|seconds| u32::try_from(seconds).ok()),
                priority: i32::try_from(priority).unwrap_or(0),
                labels,
            }),
            _ => Err(problems),
        }
    }

    /// The dataset of a role.
    pub(crate) fn dataset(&self, role: Role) -> Option<DatasetId> {
        self.datasets.iter().find(|(one, _)| *one == role).map(|(_, id)| *id)
    }
}

/// What the job does; `None` with a problem where that can't be done.
fn kind(fields: &mut Fields<'_>) -> Option<JobKind> {
    let Some(value) = fields.value("kind") else { return Some(JobKind::Compress) };
    let Some(text) = value.as_str() else {
        fields.wrong_type("kind", "a text", value);
        return None;
    };
    match text.parse() {
        Ok(kind) if SUBMITTED.contains(&kind) => return Some(kind),
        Ok(JobKind::Validate) => {
            let detail = "'validate' is made by the server alone, when something is uploaded";
            fields.add("kind", Code::OutOfRange, detail);
        }
        Ok(kind) => {
            let detail = format!("jobs of kind '{kind}' are not supported yet; compress, evaluate and sensitivity are");
            fields.add("kind", Code::NotYetSupported, detail);
        }
        Err(_) => {
            let shown: String = text.chars().take(80).collect();
            let detail = format!("there is no kind '{shown}'; compress, evaluate and sensitivity are");
            fields.add("kind", Code::OutOfRange, detail);
        }
    }
    None
}

/// Fields that exist, but not for this kind.
fn refuse_foreign(fields: &mut Fields<'_>, kind: JobKind) {
    let own: &[&str] = match kind {
        JobKind::Evaluate => &["model_id", "evaluate", "evaluation_dataset_id", "reference_model_id"],
        JobKind::Sensitivity => &[
            "model_id",
            "recipe_name",
            "recipe",
            "evaluate",
            "sensitivity",
            "calibration_dataset_id",
            "training_dataset_id",
        ],
        _ => &[
            "model_id",
            "recipe_name",
            "recipe",
            "evaluate",
            "calibration_dataset_id",
            "training_dataset_id",
            "validation_dataset_id",
            "evaluation_dataset_id",
        ],
    };
    for field in FIELDS.iter().filter(|field| !COMMON.contains(field) && !own.contains(field)) {
        if fields.value(field).is_some() {
            let detail = format!("a job of kind '{kind}' takes no '{field}'; it takes {}", own.join(", "));
            fields.add(field, Code::UnknownField, detail);
        }
    }
}

fn require(fields: &mut Fields<'_>, field: &'static str, what: &str) {
    if fields.value(field).is_none() {
        fields.add(field, Code::MissingField, format!("'{field}' is wanted: {what}"));
    }
}

/// Text that sites are fed, and that answers are compared on.
fn require_text(fields: &mut Fields<'_>) {
    if fields.value("training_dataset_id").is_none() {
        let what = "text of the task, of which a tenth is held out to compare answers on; or 'training_dataset_id'";
        require(fields, "calibration_dataset_id", what);
    }
}

/// At most one of `recipe_name` and `recipe`.
fn perhaps_source(fields: &mut Fields<'_>) -> Source {
    let is_given = ["recipe_name", "recipe"].iter().any(|field| fields.value(field).is_some());
    if is_given { source(fields) } else { Source::Nowhere }
}

/// Exactly one of `recipe_name` and `recipe`.
fn source(fields: &mut Fields<'_>) -> Source {
    match (fields.value("recipe_name"), fields.value("recipe")) {
        (Some(_), Some(_)) => {
            fields.add("recipe", Code::OutOfRange, "give either 'recipe_name' or 'recipe', not both");
            Source::Nowhere
        }
        (Some(_), None) => {
            fields.text("recipe_name", RECIPE_NAME_CHARS).map_or(Source::Nowhere, |name| Source::Named(name.to_owned()))
        }
        (None, Some(recipe)) => {
            fields.object("recipe");
            Source::Given(recipe.clone())
        }
        (None, None) => {
            let detail = "give 'recipe_name' (GET /v1/recipes lists them) or 'recipe'";
            fields.add("recipe_name", Code::MissingField, detail);
            Source::Nowhere
        }
    }
}

/// Texts by text.
fn labels(fields: &mut Fields<'_>) -> Map<String, Value> {
    let Some(labels) = fields.object("labels") else { return Map::new() };
    if labels.len() > MOST_LABELS {
        let detail = format!("{} labels are not allowed; {MOST_LABELS} are", labels.len());
        fields.add("labels", Code::OutOfRange, detail);
    }
    for (name, value) in labels.iter().take(MOST_LABELS) {
        let checked = match value.as_str() {
            Some(text) => check_text(name, LABEL_CHARS).and_then(|()| check_text(text, LABEL_CHARS)),
            None => Err("a label is a text".to_owned()),
        };
        if let Err(why) = checked {
            let shown: String = name.chars().take(80).collect();
            fields.add(&format!("labels/{}", crate::engine::problem::escape_pointer(&shown)), Code::OutOfRange, why);
        }
    }
    labels.clone()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(body: &Value) -> Vec<(String, String)> {
        let problems = Request::parse(body).err().unwrap_or_default();
        problems.into_iter().map(|problem| (problem.pointer, problem.code)).collect()
    }

    fn check(body: &Value, expected: &[(&str, &str)]) {
        let found = problems(body);
        let found: Vec<(&str, &str)> = found.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect();
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn a_job_names_a_model_and_one_recipe() {
        let model = ModelId::new();
        let request = Request::parse(&json!({"model_id": model, "recipe_name": "int8"})).unwrap();
        assert_eq!((request.kind, request.model_id), (JobKind::Compress, model));
        assert_eq!(request.recipe, Source::Named("int8".to_owned()));
        check(&json!({"model_id": model}), &[("/recipe_name", "missing_field")]);
        check(&json!({"model_id": model, "recipe_name": "a", "recipe": {}}), &[("/recipe", "out_of_range")]);
        check(&json!({"recipe": 1}), &[("/model_id", "missing_field"), ("/recipe", "wrong_type")]);
        check(&json!("x"), &[("", "wrong_type")]);
    }

    #[test]
    fn all_problems_come_at_once() {
        let body = json!({
            "model_id": "mdl_1", "recipe_nam": "int8", "recipe_name": "", "evaluation_dataset_id": ModelId::new(),
            "deadline_seconds": 0, "priority": 1.5, "labels": {"a": 1}, "formats": ["gguf"],
        });
        check(
            &body,
            &[
                ("/recipe_nam", "unknown_field"),
                ("/formats", "unknown_field"),
                ("/recipe_name", "out_of_range"),
                ("/evaluation_dataset_id", "out_of_range"),
                ("/model_id", "out_of_range"),
                ("/deadline_seconds", "out_of_range"),
                ("/priority", "out_of_range"),
                ("/labels/a", "out_of_range"),
            ],
        );
    }

    #[test]
    fn a_table_needs_a_model_and_text_and_takes_a_recipe_or_none() {
        let (model, data) = (ModelId::new(), DatasetId::new());
        let body = json!({
            "kind": "sensitivity", "model_id": model, "training_dataset_id": data, "sensitivity": {"bits": [4, 8]},
        });
        let request = Request::parse(&body).unwrap();
        assert_eq!((request.kind, &request.recipe), (JobKind::Sensitivity, &Source::Nowhere));
        assert_eq!(request.sensitivity, Some(json!({"bits": [4, 8]})));
        check(
            &json!({"kind": "sensitivity", "recipe_name": "int4", "recipe": {}, "evaluation_dataset_id": data}),
            &[
                ("/evaluation_dataset_id", "unknown_field"),
                ("/model_id", "missing_field"),
                ("/calibration_dataset_id", "missing_field"),
                ("/recipe", "out_of_range"),
            ],
        );
        check(
            &json!({"model_id": model, "recipe_name": "int4", "sensitivity": {}}),
            &[("/sensitivity", "unknown_field")],
        );
    }

    #[test]
    fn kinds_that_are_not_there_say_so() {
        check(&json!({"kind": "export"}), &[("/kind", "not_yet_supported")]);
        check(&json!({"kind": "validate"}), &[("/kind", "out_of_range")]);
        check(&json!({"kind": "Compress"}), &[("/kind", "out_of_range")]);
        check(
            &json!({"kind": "evaluate", "model_id": ModelId::new(), "recipe_name": "int8"}),
            &[("/recipe_name", "unknown_field"), ("/evaluation_dataset_id", "missing_field")],
        );
    }
}
