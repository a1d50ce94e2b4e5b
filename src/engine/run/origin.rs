//! Where a run's result came from.

use std::collections::BTreeMap;

use super::files;
use super::measure::Bench;
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::hash::sha256;
use crate::engine::job::{Datasets, Source};
use crate::engine::plan::{Available, Plan};
use crate::engine::recipe::Recipe;
use crate::engine::report::{DatasetProvenance, EvaluationProvenance, Protocol, Provenance, resolved_defaults};

/// All that a run was given.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) source: &'a Source,
    /// The model that it is measured against, where that is another one.
    pub(super) reference: Option<&'a Source>,
    /// What was asked for, and what that came to.
    pub(super) recipe: Option<(&'a Recipe, &'a Plan)>,
    pub(super) datasets: &'a Datasets,
    pub(super) available: &'a Available,
}

impl Origin<'_> {
    /// The report's `provenance`.
    pub(super) fn provenance(&self, bench: Option<&Bench<'_>>, ctx: &RunContext<'_>) -> Result<Provenance> {
        let hash = |(recipe, _): (&Recipe, &Plan)| {
            serde_json::to_vec(recipe).map(|bytes| sha256(&bytes)).map_err(|e| EngineError::Internal(e.to_string()))
        };
        Ok(Provenance {
            pare_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: ctx.host.clone(),
            device: "cpu".to_owned(),
            threads: ctx.threads,
            seed: self.recipe.map_or(0, |(_, plan)| plan.seed),
            recipe_sha256: self.recipe.map(hash).transpose()?,
            model_files: files::hashes(self.source)?,
            reference_files: self.reference.map_or(Ok(Vec::new()), files::hashes)?,
            datasets: self.datasets()?,
            statistics: ctx.statistics.provenance(),
            table_from: None,
            evaluation: bench.map(evaluation),
            protocol: protocol(bench),
            resolved_defaults: self.recipe.map_or_else(BTreeMap::new, |(recipe, plan)| resolved_defaults(recipe, plan)),
        })
    }

    /// The datasets that were named.
    fn datasets(&self) -> Result<BTreeMap<String, DatasetProvenance>> {
        let (given, found) = (self.datasets, self.available);
        let named = [
            ("calibration", &given.calibration, found.calibration_rows),
            ("training", &given.training, found.training_rows),
            ("validation", &given.validation, found.validation_rows),
            ("evaluation", &given.evaluation, found.evaluation_rows),
        ];
        let mut read = BTreeMap::new();
        for (role, source, rows) in named {
            if let Some(source) = source {
                read.insert(role.to_owned(), files::dataset(source, rows.unwrap_or(0))?);
            }
        }
        Ok(read)
    }
}

/// What was measured and on which rows.
fn evaluation(bench: &Bench<'_>) -> EvaluationProvenance {
    EvaluationProvenance {
        metrics: bench.evaluate.metrics.clone(),
        max_seq_length: bench.evaluate.max_seq_length,
        measured_on: bench.rows.measured_on,
        rows: bench.rows.questions.encoded().ids.len() as u64,
        rows_sha256: bench.rows.sha256(),
    }
}

/// How task quality was measured.
fn protocol(bench: Option<&Bench<'_>>) -> Option<Protocol> {
    let bench = bench?;
    Some(Protocol { description: bench.protocol()?, max_seq_length: bench.evaluate.max_seq_length })
}
