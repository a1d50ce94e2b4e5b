//! Lays out a job's folder: its files, and `input.json`.

use std::path::{Path, PathBuf};

use super::checkpoint;
use super::ending::Refusal;
use super::{Config, Context, statistics};
use crate::db::datasets::Dataset;
use crate::db::jobs::{Job, JobKind};
use crate::db::{self, FileRow, UploadState};
use crate::engine::data::{DatasetSummary, Target};
use crate::engine::job::{Datasets, Input, InputFile, Source, Task, WORK};
use crate::engine::model::ModelHeader;
use crate::engine::plan::{self, Available, Plan};
use crate::engine::problem::{Code, Problem};
use crate::engine::recipe::{Evaluate, Recipe, preset};
use crate::id::{DatasetId, ModelId};
use crate::store::Digest;

/// What there is already of what a job has to do.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Of an earlier attempt.
    pub(super) checkpoint: checkpoint::Fetched,
    /// Of an earlier job.
    pub(super) statistics: statistics::Fetched,
}

/// Fetches what a job works on, and what an earlier attempt or job left, into `folder` and writes `input.json` there.
///
/// # Errors
///
/// [`Refusal`]: the job can't be done as it is, or not now.
pub(super) async fn prepare(context: &Context, job: &Job, folder: &Path) -> Result<Prepared, Refusal> {
    for part in ["in", WORK] {
        tokio::fs::create_dir_all(folder.join(part)).await.map_err(Refusal::disk)?;
    }
    let mut fetch = Fetch { context, job, folder, count: 0 };
    let task = match job.kind {
        JobKind::Validate => fetch.validate().await?,
        JobKind::Compress => fetch.compress().await?,
        JobKind::Evaluate => fetch.evaluate().await?,
        JobKind::Sensitivity => fetch.sensitivity().await?,
        JobKind::Export => {
            let detail = format!("jobs of kind '{}' are not built yet", job.kind);
            return Err(Refusal::problem(Code::NotYetSupported, detail));
        }
    };
    let Config { threads, memory_bytes, device, .. } = &*context.config;
    let checkpoint = checkpoint::fetch(context, job, folder).await?;
    let statistics = statistics::fetch(context, job, &task, folder).await?;
    let input = Input {
        task,
        threads: *threads,
        device: device.clone(),
        memory_limit_bytes: Some(*memory_bytes),
        checkpoint: checkpoint.given.clone(),
        statistics: statistics.asked.clone(),
    };
    let text = serde_json::to_vec(&input).map_err(Refusal::internal)?;
    tokio::fs::write(folder.join("input.json"), text).await.map_err(Refusal::disk)?;
    Ok(Prepared { checkpoint, statistics })
}

struct Fetch<'a> {
    context: &'a Context,
    job: &'a Job,
    folder: &'a Path,
    /// Files so far: their names are numbers, never what their owners call them.
    count: usize,
}

impl Fetch<'_> {
    async fn validate(&mut self) -> Result<Task, Refusal> {
        match (self.job.model_id, self.job.dataset_id) {
            (Some(id), None) => Ok(Task::ValidateModel { model: self.model_files(id).await? }),
            (None, Some(id)) => Ok(Task::ValidateDataset { dataset: self.dataset_files(id).await? }),
            _ => Err(Refusal::problem(Code::Internal, "the job names nothing to check")),
        }
    }

    async fn compress(&mut self) -> Result<Task, Refusal> {
        let recipe = self.recipe()?;
        let header = self.header(self.model_id()?).await?;
        let (datasets, available) = self.datasets().await?;
        let plan = match &self.job.plan {
            Some(plan) => plan.clone(),
            None => resolve(plan::resolve, recipe.clone(), header, available).await?,
        };
        let model = self.model_files(self.model_id()?).await?;
        Ok(Task::Compress { model, recipe, plan: Some(plan), datasets })
    }

    async fn sensitivity(&mut self) -> Result<Task, Refusal> {
        let recipe = self.recipe()?;
        let header = self.header(self.model_id()?).await?;
        let (datasets, available) = self.datasets().await?;
        let plan = match &self.job.plan {
            Some(plan) => plan.clone(),
            None => resolve(plan::sensitivity::plan, recipe.clone(), header, available).await?,
        };
        let model = self.model_files(self.model_id()?).await?;
        Ok(Task::Sensitivity { model, recipe, plan: Some(plan), datasets, earlier: self.earlier().await? })
    }

    /// The report of an earlier job that was asked the same, where there is one.
    async fn earlier(&self) -> Result<Option<PathBuf>, Refusal> {
        let found = db::jobs::earlier_report(&self.context.pool, self.job).await?;
        let Some(report) = found else { return Ok(None) };
        let location = self.folder.join("in").join("earlier.json");
        let text = serde_json::to_vec(&report).map_err(Refusal::internal)?;
        tokio::fs::write(&location, text).await.map_err(Refusal::disk)?;
        Ok(Some(location))
    }

    async fn evaluate(&mut self) -> Result<Task, Refusal> {
        let evaluate = match &self.job.evaluate {
            Some(value) => Evaluate::parse(value).map_err(Refusal::Problems)?,
            None => Evaluate::default(),
        };
        let model_id = self.model_id()?;
        self.header(model_id).await?;
        let model = self.model_files(model_id).await?;
        let reference = match self.job.reference_model_id {
            Some(id) => {
                self.header(id).await?;
                Some(self.model_files(id).await?)
            }
            None => None,
        };
        let (datasets, _) = self.datasets().await?;
        Ok(Task::Evaluate { model, reference, evaluate, datasets })
    }

    fn model_id(&self) -> Result<ModelId, Refusal> {
        self.job.model_id.ok_or_else(|| Refusal::problem(Code::Internal, "the job names no model"))
    }

    fn recipe(&self) -> Result<Recipe, Refusal> {
        match (&self.job.recipe, &self.job.recipe_name) {
            (Some(value), _) => Recipe::parse(value).map_err(Refusal::Problems),
            (None, Some(name)) => {
                let mut recipe = preset(name).map(|preset| preset.recipe.clone()).ok_or_else(|| {
                    Refusal::problem(Code::UnknownRecipe, format!("there is no recipe '{name}' any more"))
                })?;
                if let Some(value) = &self.job.evaluate {
                    recipe.evaluate = Evaluate::parse(value).map_err(Refusal::Problems)?;
                }
                Ok(recipe)
            }
            (None, None) => Err(Refusal::problem(Code::Internal, "the job names no recipe")),
        }
    }

    /// A ready model's header. Jobs are claimed only once their inputs are ready, so anything else is news.
    async fn header(&self, id: ModelId) -> Result<ModelHeader, Refusal> {
        let model = db::models::find(&self.context.pool, self.job.tenant_id, id).await?;
        let model = model.ok_or_else(|| gone(Code::ModelInvalid, "model", &id.to_string()))?;
        match (model.state, model.header) {
            (UploadState::Ready, Some(header)) => Ok(header),
            _ => Err(invalid(Code::ModelInvalid, "model", &id.to_string(), &model.errors)),
        }
    }

    async fn ready_dataset(&self, id: DatasetId) -> Result<Dataset, Refusal> {
        let dataset = db::datasets::find(&self.context.pool, self.job.tenant_id, id).await?;
        let dataset = dataset.ok_or_else(|| gone(Code::DatasetInvalid, "dataset", &id.to_string()))?;
        match dataset.state {
            UploadState::Ready => Ok(dataset),
            _ => Err(invalid(Code::DatasetInvalid, "dataset", &id.to_string(), &dataset.errors)),
        }
    }

    async fn datasets(&mut self) -> Result<(Datasets, Available), Refusal> {
        let job = self.job;
        let (calibration, of_calibration) = self.dataset(job.calibration_dataset_id).await?;
        let (training, of_training) = self.dataset(job.training_dataset_id).await?;
        let (validation, of_validation) = self.dataset(job.validation_dataset_id).await?;
        let (evaluation, of_evaluation) = self.dataset(job.evaluation_dataset_id).await?;
        let available = Available {
            calibration_rows: of_calibration.rows,
            training_rows: of_training.rows,
            validation_rows: of_validation.rows,
            evaluation_rows: of_evaluation.rows,
            evaluation_target: of_evaluation.target,
            evaluation_has_numbers: of_evaluation.has_numbers,
        };
        Ok((Datasets { calibration, training, validation, evaluation }, available))
    }

    /// Files, and what is known of their rows.
    async fn dataset(&mut self, id: Option<DatasetId>) -> Result<(Option<Source>, Known), Refusal> {
        let Some(id) = id else { return Ok((None, Known::default())) };
        let summary = self.ready_dataset(id).await?.summary;
        let source = self.dataset_files(id).await?;
        Ok((Some(source), summary.map(|summary| Known::of(&summary)).unwrap_or_default()))
    }

    async fn model_files(&mut self, id: ModelId) -> Result<Source, Refusal> {
        let files = db::models::files(&self.context.pool, id).await?;
        self.fetch(id.to_string(), files).await
    }

    async fn dataset_files(&mut self, id: DatasetId) -> Result<Source, Refusal> {
        let files = db::datasets::files(&self.context.pool, id).await?;
        self.fetch(id.to_string(), files).await
    }

    async fn fetch(&mut self, name: String, rows: Vec<FileRow>) -> Result<Source, Refusal> {
        let mut files = Vec::with_capacity(rows.len());
        for row in rows {
            let location = self.folder.join("in").join(self.count.to_string());
            self.count += 1;
            let digest: Digest = row.sha256.parse().map_err(Refusal::internal)?;
            // Left by a try that was cut short.
            let _ = tokio::fs::remove_file(&location).await;
            self.context.store.fetch(&digest, &location).await?;
            files.push(InputFile { path: row.path, location, size_bytes: row.size_bytes, sha256: Some(row.sha256) });
        }
        Ok(Source { name, files })
    }
}

/// What planning asks of a dataset. Its summary has a hash for every row: too much to hold on to.
#[derive(Default)]
struct Known {
    rows: Option<u64>,
    target: Target,
    has_numbers: bool,
}

impl Known {
    fn of(summary: &DatasetSummary) -> Self {
        Self { rows: Some(summary.rows), target: summary.target(), has_numbers: summary.has_numbers() }
    }
}

/// How a kind of job is planned.
type Planning = fn(&Recipe, &ModelHeader, &Available) -> Result<Plan, Vec<Problem>>;

/// Plans where it may take its time: a large model has many sites.
async fn resolve(
    planning: Planning,
    recipe: Recipe,
    header: ModelHeader,
    available: Available,
) -> Result<Plan, Refusal> {
    let resolved = tokio::task::spawn_blocking(move || planning(&recipe, &header, &available));
    resolved.await.map_err(Refusal::internal)?.map_err(Refusal::Problems)
}

fn gone(code: Code, what: &str, id: &str) -> Refusal {
    Refusal::problem(code, format!("the {what} {id} was deleted"))
}

fn invalid(code: Code, what: &str, id: &str, errors: &[Problem]) -> Refusal {
    let why = errors.first().map_or_else(|| "it was not checked".to_owned(), ToString::to_string);
    Refusal::problem(code, format!("the {what} {id} is not valid: {why}"))
}
