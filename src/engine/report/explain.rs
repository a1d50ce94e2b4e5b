//! Reasons for what does not apply, so that callers give only those for what could have been measured and was not.

use super::check::{ReportError, nulls};
use super::{Report, SiteReport};

/// Why there is nothing on the side of the original.
const ALONE: &str = "the model was measured on its own: no reference was given";

impl Report {
    /// Adds the reasons that follow from the report itself: settings that are not set, sites that have no rank or no
    /// heads, measures of the other kind of model, a model that was measured on its own. Reasons that are already there
    /// stay. What is `null` for any other cause is the caller's to explain.
    ///
    /// # Errors
    ///
    /// [`ReportError::NotFinite`] when a number is NaN or infinite.
    pub fn explain(&mut self) -> Result<(), ReportError> {
        let document = serde_json::to_value(&*self).map_err(|error| ReportError::NotFinite(error.to_string()))?;
        for pointer in nulls(&document) {
            if self.is_explained(&pointer) {
                continue;
            }
            if let Some(reason) = self.reason(&pointer) {
                self.unmeasured.insert(pointer, reason);
            }
        }
        Ok(())
    }

    fn reason(&self, pointer: &str) -> Option<String> {
        let segments: Vec<&str> = pointer.split('/').skip(1).collect();
        let reason = match segments.as_slice() {
            ["recipe" | "plan", _, ..] | ["provenance", "resolved_defaults", ..] => {
                "a setting: null is its value, not a missing measurement"
            }
            ["model", "family" | "architecture"] => "config.json does not say it",
            ["model", "task"] => "the family is unknown, so what the model answers is, too",
            ["result", "verdict", "goal_met"] => "the recipe has no constraints",
            ["result", "verdict", "reference_floor"] => "no reference floor was given",
            ["result", "verdict", "metric" | "change"] if self.result.after.quality.is_none() => {
                "task quality was not measured"
            }
            ["result", "verdict", "change"] if self.result.after.quality_change.is_none() => {
                "there is nothing to compare with: see /result/after/quality_change"
            }
            ["result", "verdict", "reference_floor", _] => "accuracy was not measured",
            ["result", "bytes_by_category", _, "before"]
            | [
                "result",
                "after",
                "ratio_to_stored" | "ratio_to_f32" | "bits_per_weight" | "quality_change" | "fidelity",
            ]
            | ["measurements", "latency", _, "original"]
            | ["result", "before"]
                if self.result.before.is_none() =>
            {
                ALONE
            }
            ["result", "sites", number, key] => {
                let site = self.result.sites.get(number.parse::<usize>().ok()?)?;
                return self.site_reason(site, key);
            }
            ["result", "probes", rest @ ..] => self.probe_reason(rest)?,
            [.., "fidelity", "kl" | "numbers", "floor"] => {
                "the original was scored once, so it was not compared with itself"
            }
            [.., "fidelity", "kl" | "top1_agreement" | "cosine"] if self.is_of("regression") => {
                "an answer is one number, neither a distribution nor a direction: see numbers"
            }
            [.., "fidelity", "numbers", _] => "not defined: the answers of one of both are all one number",
            [.., "fidelity", "kl" | "top1_agreement"] => "an embedding model has vectors, not answers to choose among",
            [.., "fidelity", "similarity_spearman"] if self.is_of("embedding") => {
                "not defined: fewer than three rows, or similarities that do not vary"
            }
            [.., "fidelity", "similarity_spearman"] => "only embedding models are compared by pairwise similarities",
            _ => return None,
        };
        Some(reason.to_owned())
    }

    fn site_reason(&self, site: &SiteReport, key: &str) -> Option<String> {
        let reason = match key {
            "rank" => return Some(format!("a {} map has no factors, so it has no chosen rank", site.form)),
            "heads" => "heads are counted at attention sites, where the family is known",
            "before_bytes" if self.result.before.is_some() => "the original has no such site",
            "before_bytes" => ALONE,
            "sqnr_db" if site.relative_error == Some(0.0) => "there is no error: the ratio is infinite",
            "relative_error" | "sqnr_db" | "cosine" | "output_error" if self.result.before.is_none() => {
                "there is no original to compare with"
            }
            "relative_error" | "sqnr_db" | "cosine" | "output_error" if self.recipe.is_none() => {
                "a model was measured as it is: its weights were not compared site by site"
            }
            "cosine" if site.relative_error.is_some() => "not defined: all weights are zero on one side",
            _ => return None,
        };
        Some(reason.to_owned())
    }

    /// Why a number of the probes is missing.
    fn probe_reason(&self, rest: &[&str]) -> Option<&'static str> {
        let task = self.model.task.as_deref();
        let no_distribution = "the answers are no distributions, which alone diverge";
        let reason = match rest {
            [.., "change"] | ["long_range", "quartiles", _, "kl"]
                if matches!(task, Some("embedding" | "regression")) =>
            {
                no_distribution
            }
            ["positions", "change"] => "other words stand before each place: what is foretold there can't be compared",
            [.., "original" | "ratio" | "kl" | "table_relative_error"] if self.result.before.is_none() => ALONE,
            ["head_balance", "layers", _, "original"] => "the original has no such layer",
            [.., "ratio"] => "the original loses nothing, so there is nothing to set the result against",
            ["positions", "table_relative_error"] if self.has_positions() => "the two tables differ in shape",
            ["positions", "table_relative_error"] => {
                "there is no table of positions: queries and keys are turned by them"
            }
            _ => return None,
        };
        Some(reason)
    }

    fn has_positions(&self) -> bool {
        self.result.sites.iter().any(|site| site.site == "embedding.position")
    }

    fn is_of(&self, task: &str) -> bool {
        self.model.task.as_deref() == Some(task)
    }
}
