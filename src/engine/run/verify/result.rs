//! Compares the report's `result` with what was found, key by key.

use serde_json::Value;

use super::Checker;
use crate::engine::error::Result;
use crate::engine::model::ModelHeader;
use crate::engine::report::accounting::account;
use crate::engine::report::verify::{Check, Precision};
use crate::engine::report::{Outcome, StageReport};

/// What the stages leave in the report, which the result's files do not show.
const OF_STAGES: [&str; 5] = ["stages", "fallbacks", "allocation", "sensitivity", "training"];
/// What only answers of the models show, below the keys of `result`.
const OF_ANSWERS: [&str; 5] = [
    "/result/before/quality",
    "/result/after/quality",
    "/result/after/quality_change",
    "/result/after/fidelity",
    "/result/sites/*/output_error",
];
/// Keys that are all answers.
const ANSWERS: [&str; 2] = ["verdict", "probes"];
/// Told by the check of the files' hashes already.
const HASHED: [&str; 2] = ["/result/artifacts/*/size_bytes", "/result/artifacts/*/sha256"];
/// How far written numbers are from those in memory, which are gone.
const PARITY: &str = "/result/artifacts/*/parity";

impl Checker<'_> {
    /// Compares what the files say, and the answers unless there is a reason why there are none (`unrun`). `compressed`:
    /// whether stages stand between the two models.
    pub(super) fn outcome(&mut self, found: &Outcome, unrun: Option<&str>, compressed: bool) {
        let mut leave_out: Vec<&str> = HASHED.to_vec();
        if compressed {
            leave_out.push(PARITY);
        }
        if unrun.is_some() {
            leave_out.extend(OF_ANSWERS);
        }
        let is_here =
            |key: &str| !(compressed && OF_STAGES.contains(&key) || unrun.is_some() && ANSWERS.contains(&key));
        self.keys(found, &leave_out, is_here);
        if let Some(why) = unrun {
            self.not_checked("/result", "answers: quality, fidelity, probes", why);
        }
        if compressed {
            self.stages();
            let why = "the numbers in memory are gone: --recompress compares them again";
            self.not_checked("/result/artifacts", "parity of the written weights", why);
        }
    }

    /// Compares everything: the job was run again.
    pub(super) fn whole(&mut self, found: &Outcome) {
        // Where sums are taken in another order, a code may round to its neighbour
        let leave_out: &[&str] = if self.precision == Precision::Near { &HASHED[1..] } else { &[] };
        self.keys(found, leave_out, |_| true);
    }

    fn keys(&mut self, found: &Outcome, leave_out: &[&str], is_here: impl Fn(&str) -> bool) {
        let found = match serde_json::to_value(found) {
            Ok(Value::Object(found)) => found,
            Ok(_) => return,
            Err(error) => {
                self.checks.push(Check::differs("/result", "the result can be told", error.to_string()));
                return;
            }
        };
        for (key, value) in found.iter().filter(|(key, _)| is_here(key)) {
            let pointer = format!("/result/{key}");
            let both_null = value.is_null() && self.document.pointer(&pointer).is_some_and(Value::is_null);
            if !both_null {
                self.part(&pointer, what(key), value, leave_out);
            }
        }
    }

    /// What went on between original and result is known to the job alone.
    fn stages(&mut self) {
        let between = self.report.result.stages.len().saturating_sub(1);
        let why = "the models between the stages are gone: --recompress makes them again";
        let is_told = |stage: &StageReport| stage.quality.is_some() || stage.fidelity.is_some();
        if self.report.result.stages.iter().take(between).any(is_told) {
            self.not_checked("/result/stages", "answers after the stages before the last", why);
        }
        for key in OF_STAGES.iter().filter(|key| **key != "stages") {
            let pointer = format!("/result/{key}");
            if self.document.pointer(&pointer).is_some_and(|value| !value.is_null()) {
                self.not_checked(&pointer, what(key), "it is told by the stages as they run: --recompress runs them");
            }
        }
    }

    /// What the original's files alone say.
    pub(super) fn original_alone(&mut self, header: &ModelHeader) {
        let mut found = self.report.result.clone();
        if let Some(before) = &mut found.before {
            before.size_bytes = header.size_bytes;
            before.total_bytes = header.total_bytes();
            before.parameters = header.parameters;
        }
        let account = account(header);
        for site in &mut found.sites {
            site.before_bytes = Some(account.by_site.get(&site.site).copied().unwrap_or(0));
        }
        for (category, bytes) in &mut found.bytes_by_category {
            bytes.before = account.by_category.get(category).copied();
        }
        self.part("/result/before", "sizes of the original", &found.before, &OF_ANSWERS);
        self.part("/result/sites", "bytes of the original, site by site", &found.sites, &[]);
        self.part("/result/bytes_by_category", "bytes of the original", &found.bytes_by_category, &[]);
        let why = if self.other.contains("artifact") {
            "files of the artifact are missing"
        } else {
            "--artifact was not given"
        };
        self.not_checked("/result/after", "the result: sizes, sites, errors, answers", why);
    }

    /// Nothing but the report itself could be looked at, and that is all.
    #[allow(clippy::unnecessary_wraps)] // callers end with it
    pub(super) fn only_own(&mut self, why: &str) -> Result<()> {
        self.not_checked("/result", "sizes, sites, bytes and answers", why);
        Ok(())
    }
}

/// A key of `result` in a few words.
fn what(key: &str) -> &str {
    match key {
        "verdict" => "the verdict",
        "before" => "the original: sizes and answers",
        "after" => "the result: sizes and answers",
        "stages" => "after each stage",
        "sites" => "sites: bytes, form, errors",
        "histograms" => "histograms of the weights",
        "bytes_by_category" => "bytes by category",
        "probes" => "probes",
        "artifacts" => "formats and loaders of the files",
        "fallbacks" => "fallbacks",
        "allocation" => "the allocation",
        "sensitivity" => "the table of sensitivity",
        "training" => "the course of the training",
        _ => "what else the result holds",
    }
}
