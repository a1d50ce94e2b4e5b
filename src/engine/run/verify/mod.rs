//! Checks a report against the files that it speaks of, and measures again where that is asked for.
//!
//! What differs is an entry of the answer; an error is the machine's alone. Everything in the report is untrusted: its
//! paths are looked up among the files that were given and never opened, its recipe is read as strictly as anyone's.

mod files;
mod models;
mod result;
mod table;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::engine::context::{Phase, RunContext};
use crate::engine::error::{EngineError, Result};
use crate::engine::job::{Datasets, Source};
use crate::engine::report::verify::{Basis, Check, Comparison, Precision, Verification, compare, own};
use crate::engine::report::{Provenance, Report};

/// What a report is checked against. Files that the report does not name are left alone.
#[derive(Debug, Clone)]
pub struct Given {
    /// The model that was worked on.
    pub model: Source,
    /// The model that it was compared with, where that is another one.
    pub reference: Option<Source>,
    /// What the job left.
    pub artifact: Option<Source>,
    /// The data.
    pub datasets: Datasets,
}

/// How much is done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Files are hashed and read: sizes, sites, errors of the weights.
    Files,
    /// Original and result are run on the same rows.
    Evaluate,
    /// The whole job is run: the result's files must come out the same, and the answers after every stage.
    Recompress,
}

/// Checks a report.
///
/// # Cost
///
/// [`Effort::Files`] hashes every file that the report names, and decodes every map of original and result, one site in
/// memory at a time. [`Effort::Evaluate`] holds both models, four bytes a parameter each.
///
/// # Errors
///
/// Being stopped, and files that can't be read.
pub fn verify(report: &Report, given: &Given, effort: Effort, ctx: &RunContext<'_>) -> Result<Verification> {
    ctx.phase(Phase::Loading);
    let here = Provenance {
        pare_version: env!("CARGO_PKG_VERSION").to_owned(),
        device: "cpu".to_owned(),
        threads: ctx.threads,
        host: ctx.host.clone(),
        ..report.provenance.clone()
    };
    let basis = Basis::between(&report.provenance, &here);
    let document = serde_json::to_value(report).map_err(|error| EngineError::Internal(error.to_string()))?;
    let (checks, other) = (own(report), BTreeSet::new());
    let mut checker = Checker { report, document, effort, precision: basis.precision, ctx, checks, other };
    checker.program(&here.pare_version);
    let inputs = checker.files(given)?;
    match &report.recipe {
        Some(recipe) if report.result.sensitivity.is_some() => checker.table(recipe, &inputs)?,
        Some(recipe) => checker.compressed(recipe, &inputs)?,
        None => checker.measured(&inputs)?,
    }
    let clocks = "clocks and memory of that run do not come again";
    checker.checks.push(Check::not_checked("/measurements", "latency, time and memory", clocks));
    Ok(Verification { basis, checks: checker.checks })
}

/// A report on its way through the checks.
struct Checker<'a> {
    report: &'a Report,
    /// The same, as JSON.
    document: Value,
    effort: Effort,
    precision: Precision,
    ctx: &'a RunContext<'a>,
    checks: Vec<Check>,
    /// What was given and is not what the report speaks of: `model`, `artifact`, `evaluation`, ….
    other: BTreeSet<&'static str>,
}

impl Checker<'_> {
    /// Who wrote the report. Another program may well find the same.
    fn program(&mut self, version: &str) {
        let provenance = &self.report.provenance;
        let mut comparison = Comparison::default();
        comparison.value("/provenance/pare_version", provenance.pare_version.clone().into(), version.into());
        let check = Check::compared("/provenance/pare_version", "the version of pare", comparison);
        self.checks.push(check.as_warning("another version may round or resolve otherwise"));
        let (pointer, what) = ("/provenance/host/binary_sha256", "the program itself");
        let check = match (&provenance.host.binary_sha256, &self.ctx.host.binary_sha256) {
            (Some(reported), Some(found)) => {
                let mut comparison = Comparison::default();
                comparison.value(pointer, reported.clone().into(), found.clone().into());
                Check::compared(pointer, what, comparison).as_warning("another build of pare wrote the report")
            }
            (None, _) => Check::not_checked(pointer, what, "the report does not name it"),
            (_, None) => Check::not_checked(pointer, what, "the running program could not be read"),
        };
        self.checks.push(check);
    }

    /// What is wrong with something that was given is a check; what is wrong with the machine is an error.
    fn attempt<T>(&mut self, pointer: &str, what: &str, done: Result<T>) -> Result<Option<T>> {
        match done {
            Ok(value) => Ok(Some(value)),
            Err(error @ (EngineError::Io { .. } | EngineError::Stopped)) => Err(error),
            Err(error) => {
                self.checks.push(Check::differs(pointer, what, error.to_string()));
                Ok(None)
            }
        }
    }

    fn not_checked(&mut self, pointer: &str, what: &str, why: impl Into<String>) {
        self.checks.push(Check::not_checked(pointer, what, why));
    }

    /// Compares a part of the report with what was measured again.
    fn part(&mut self, pointer: &str, what: &str, found: &impl Serialize, leave_out: &[&str]) {
        self.part_at(self.precision, pointer, what, found, leave_out);
    }

    /// Compares a part of the report with what it should be.
    fn part_at(&mut self, precision: Precision, pointer: &str, what: &str, found: &impl Serialize, leave_out: &[&str]) {
        let check = match serde_json::to_value(found) {
            Ok(found) => {
                let reported = self.document.pointer(pointer);
                Check::compared(pointer, what, compare(pointer, reported, Some(&found), precision, leave_out))
            }
            Err(error) => Check::differs(pointer, what, error.to_string()),
        };
        self.checks.push(check);
    }
}
