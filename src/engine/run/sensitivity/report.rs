//! Puts the report of a sensitivity job together: the model as it is, and the table.

use std::collections::BTreeMap;
use std::time::Duration;

use super::table::Table;
use crate::engine::context::RunContext;
use crate::engine::error::Result;
use crate::engine::plan::Plan;
use crate::engine::recipe::Recipe;
use crate::engine::report::accounting;
use crate::engine::report::{
    Compression, EvaluationProvenance, Level, Measurements, Outcome, PredictedCost, Report, VERSION, Verdict,
};
use crate::engine::run::evaluate::{self, Opened};
use crate::engine::run::measure::Bench;
use crate::engine::run::origin::Origin;
use crate::engine::run::sides;

/// Why nothing is said of a result.
pub(super) const NO_RESULT: &str =
    "a sensitivity job changes one site at a time: there is no result to set against the original";

/// Why there are no answers.
const NOT_RUN: &str = "this family of models can't be run: its weights were compared, its answers not";

/// All that is known beside the table.
pub(super) struct Told<'a> {
    pub(super) opened: &'a Opened,
    pub(super) origin: Origin<'a>,
    pub(super) recipe: &'a Recipe,
    pub(super) plan: &'a Plan,
    pub(super) bench: Option<&'a Bench<'a>>,
    pub(super) started: Duration,
}

impl Told<'_> {
    /// The report of a table.
    pub(super) fn report(&self, table: Table, ctx: &RunContext<'_>) -> Result<Report> {
        let header = &self.opened.inspected.header;
        let provenance = self.origin.provenance(self.bench, ctx)?;
        let mut report = Report {
            version: VERSION,
            model: sides::summary(&self.origin.source.name, header),
            recipe: Some(self.recipe.clone()),
            plan: Some(self.plan.clone()),
            result: self.outcome(table, provenance.evaluation.as_ref())?,
            measurements: self.measurements(ctx),
            provenance,
            unmeasured: BTreeMap::new(),
        };
        self.reasons(&mut report);
        Ok(report)
    }

    /// What the job itself took.
    pub(super) fn measurements(&self, ctx: &RunContext<'_>) -> Measurements {
        let compression = Compression {
            wall_seconds: ctx.stopwatch.elapsed().saturating_sub(self.started).as_secs_f64(),
            cpu_seconds: ctx.stopwatch.cpu_time().map(|time| time.as_secs_f64()),
            peak_memory_bytes: ctx.stopwatch.peak_memory_bytes(),
        };
        let predicted = Some(PredictedCost::from(&self.plan.predicted));
        Measurements { latency: None, compression: Some(compression), predicted }
    }

    fn outcome(&self, table: Table, evaluation: Option<&EvaluationProvenance>) -> Result<Outcome> {
        let header = &self.opened.inspected.header;
        let after = sides::after(None, header, None)?;
        let accounts = accounting::account(header);
        Ok(Outcome {
            verdict: Verdict::of_table(&table.sites, evaluation),
            before: None,
            after,
            stages: Vec::new(),
            sites: evaluate::sites(self.opened, None, &accounts),
            bytes_by_category: accounting::compare(None, &accounts),
            probes: None,
            allocation: None,
            sensitivity: Some(table.sites),
            training: None,
            artifacts: Vec::new(),
            fallbacks: table.fallbacks,
            histograms: Vec::new(),
        })
    }

    /// Why what is `null` was not measured.
    fn reasons(&self, report: &mut Report) {
        let mut reasons: Vec<(String, &str)> = [
            "/result/before",
            "/result/after/quality",
            "/result/after/quality_change",
            "/result/after/fidelity",
            "/result/after/bits_per_weight",
            "/result/after/ratio_to_stored",
            "/result/after/ratio_to_f32",
            "/result/probes",
            "/measurements/latency",
            "/provenance/protocol",
        ]
        .map(|pointer| (pointer.to_owned(), NO_RESULT))
        .to_vec();
        reasons.push(("/result/allocation".to_owned(), "no stage of this recipe divides a budget over sites"));
        reasons.push(("/result/training".to_owned(), "nothing was trained"));
        let elsewhere = "nothing was changed for good: /result/sensitivity has the errors of every level";
        for i in 0..report.result.sites.len() {
            let keys = ["relative_error", "sqnr_db", "cosine", "output_error"];
            reasons.extend(keys.map(|key| (format!("/result/sites/{i}/{key}"), elsewhere)));
        }
        for (i, site) in report.result.sensitivity.iter().flatten().enumerate() {
            if site.weights.kurtosis.is_none() {
                let pointer = format!("/result/sensitivity/{i}/weights/kurtosis");
                reasons.push((pointer, "all weights are one number, so nothing is spread"));
            }
            for (j, level) in site.levels.iter().enumerate() {
                let at = |key: &str| format!("/result/sensitivity/{i}/levels/{j}/{key}");
                reasons.extend(self.why_not(level).map(|(key, why)| (at(key), why)));
            }
        }
        if self.bench.is_none() {
            reasons.push(("/provenance/evaluation".to_owned(), NOT_RUN));
        }
        for (pointer, reason) in reasons {
            report.unmeasured(pointer, reason);
        }
        untold(report);
    }

    /// The numbers of a level that are missing, and why.
    fn why_not(&self, level: &Level) -> impl Iterator<Item = (&'static str, &'static str)> {
        let no_error = "there is no error: the ratio is infinite";
        let no_output = match self.bench {
            Some(_) => "no row comes through this site, or what it puts out is zero",
            None => NOT_RUN,
        };
        let no_kl = match self.bench.map(Bench::answers_with) {
            None => NOT_RUN,
            Some(_) if self.opened.model.is_stored() => {
                "the model is larger than what a run holds in memory: every change would read its files again"
            }
            Some("a number") => "an answer is one number, which is no distribution: see rms_difference",
            Some(_) => "an embedding model has vectors, not answers to choose among: see cosine",
        };
        let all = [
            ("sqnr_db", level.sqnr_db.is_none(), no_error),
            ("relative_error", level.relative_error.is_none(), no_output),
            ("kl", level.kl.is_none(), no_kl),
        ];
        all.into_iter().filter(|(_, is_null, _)| *is_null).map(|(key, _, why)| (key, why))
    }
}

/// Why what the machine does not tell is `null`.
pub(super) fn untold(report: &mut Report) {
    let mut reasons = Vec::new();
    if report.provenance.host.binary_sha256.is_none() {
        reasons.push(("/provenance/host/binary_sha256", "the running program could not be read"));
    }
    if let Some(compression) = &report.measurements.compression {
        let all = [
            ("/measurements/compression/cpu_seconds", compression.cpu_seconds.is_none()),
            ("/measurements/compression/peak_memory_bytes", compression.peak_memory_bytes.is_none()),
        ];
        reasons
            .extend(all.into_iter().filter(|(_, is_null)| *is_null).map(|(at, _)| (at, "this system does not tell")));
    }
    for (pointer, reason) in reasons {
        report.unmeasured(pointer, reason);
    }
}
