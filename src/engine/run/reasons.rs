//! Why what could have been measured was not: a reason for every `null` of a report.

use super::measure::Bench;
use crate::engine::model::ModelHeader;
use crate::engine::report::{Measurements, Outcome, Report};

/// Pointers of `null`s with their reasons.
#[derive(Default)]
struct Reasons(Vec<(String, &'static str)>);

impl Reasons {
    fn need(&mut self, is_null: bool, pointer: impl Into<String>, reason: &'static str) {
        if is_null {
            self.0.push((pointer.into(), reason));
        }
    }
}

/// Gives every `null` that is left in the report its reason.
pub(super) fn give(report: &mut Report, bench: Option<&Bench<'_>>, header: &ModelHeader) {
    let not_run = if header.spec.is_none() {
        "this family of models can't be run: its weights were compressed, its answers not measured"
    } else {
        "the recipe's metrics are empty: nothing was asked for"
    };
    let no_quality = bench.map_or(not_run, Bench::why_no_quality);
    let no_fidelity = bench.map_or(not_run, |_| "the recipe's metrics do not ask for fidelity");
    let no_latency = bench.map_or(not_run, Bench::why_no_latency);
    let mut reasons = Reasons::default();
    answers(&report.result, (no_quality, no_fidelity), &mut reasons);
    tables(&report.result, &mut reasons);
    if report.recipe.is_some() {
        outputs(&report.result, bench.map_or(not_run, Bench::why_no_outputs), &mut reasons);
    }
    probes(&report.result, not_run, bench, &mut reasons);
    parity(report, &mut reasons);
    costs(&report.measurements, no_latency, &mut reasons);
    let provenance = &report.provenance;
    let unread = "the running program could not be read";
    reasons.need(provenance.host.binary_sha256.is_none(), "/provenance/host/binary_sha256", unread);
    reasons.need(provenance.evaluation.is_none(), "/provenance/evaluation", not_run);
    reasons.need(provenance.protocol.is_none(), "/provenance/protocol", no_quality);
    if report.recipe.is_none() {
        let as_it_is = "a model was measured as it is: nothing was compressed";
        for pointer in
            ["/recipe", "/plan", "/provenance/recipe_sha256", "/measurements/compression", "/measurements/predicted"]
        {
            reasons.need(true, pointer, as_it_is);
        }
    }
    for (pointer, reason) in reasons.0 {
        report.unmeasured(pointer, reason);
    }
}

/// What Transformers need kept.
fn probes(result: &Outcome, not_run: &'static str, bench: Option<&Bench<'_>>, reasons: &mut Reasons) {
    let unasked = "the recipe's metrics do not ask for fidelity, which probes are measured with";
    reasons.need(result.probes.is_none(), "/result/probes", bench.map_or(not_run, |_| unasked));
    let Some(probes) = result.probes.as_ref().filter(|probes| probes.long_range.metric.is_none()) else { return };
    let no_share = bench.map_or(not_run, Bench::why_no_shares);
    reasons.need(true, "/result/probes/long_range/metric", no_share);
    for i in 0..probes.long_range.quartiles.len() {
        reasons.need(true, format!("/result/probes/long_range/quartiles/{i}/quality"), no_share);
    }
}

/// What needs answers of the model.
fn answers(result: &Outcome, (no_quality, no_fidelity): (&'static str, &'static str), reasons: &mut Reasons) {
    let after = &result.after;
    reasons.need(after.quality.is_none(), "/result/after/quality", no_quality);
    if let Some(before) = &result.before {
        reasons.need(before.quality.is_none(), "/result/before/quality", no_quality);
        reasons.need(after.quality_change.is_none(), "/result/after/quality_change", no_quality);
        reasons.need(after.fidelity.is_none(), "/result/after/fidelity", no_fidelity);
    }
    for (i, stage) in result.stages.iter().enumerate() {
        reasons.need(stage.quality.is_none(), format!("/result/stages/{i}/quality"), no_quality);
        reasons.need(stage.fidelity.is_none(), format!("/result/stages/{i}/fidelity"), no_fidelity);
    }
}

/// Errors of what sites put out.
fn outputs(result: &Outcome, no_output: &'static str, reasons: &mut Reasons) {
    for (i, site) in result.sites.iter().enumerate() {
        reasons.need(site.output_error.is_none(), format!("/result/sites/{i}/output_error"), no_output);
    }
}

/// Tables that other kinds of jobs and stages fill.
fn tables(result: &Outcome, reasons: &mut Reasons) {
    let no_budget = "no stage of this recipe divides a budget over sites";
    reasons.need(result.allocation.is_none(), "/result/allocation", no_budget);
    if let Some(allocation) = &result.allocation {
        let at = |name: &str| format!("/result/allocation/{name}");
        let no_loss = "answers to the held-out rows are no finite numbers";
        reasons.need(allocation.loss.is_none(), at("loss"), no_loss);
        reasons.need(allocation.uniform_loss.is_none(), at("uniform_loss"), no_loss);
        let few = "fewer than two rows were held out: how sure their mean is can't be told";
        reasons.need(allocation.standard_error.is_none(), at("standard_error"), few);
        for (i, site) in allocation.sites.iter().enumerate() {
            let no_answer = "with this site alone at its level the model was not run, for it stays in its file; or answers are no finite numbers";
            reasons.need(site.loss.is_none(), at(&format!("sites/{i}/loss")), no_answer);
        }
    }
    reasons.need(result.sensitivity.is_none(), "/result/sensitivity", "a sensitivity job gives this table");
    reasons.need(result.training.is_none(), "/result/training", "nothing was trained");
}

fn parity(report: &Report, reasons: &mut Reasons) {
    for (i, file) in report.result.artifacts.iter().enumerate() {
        let reason = if !file.path.ends_with(".safetensors") {
            "not a weight file: compared by its hash"
        } else if report.recipe.is_none() {
            "the file is the measured model's own: nothing was written that could differ from it"
        } else {
            "the file was not opened again"
        };
        reasons.need(file.parity.is_none(), format!("/result/artifacts/{i}/parity"), reason);
    }
}

fn costs(measured: &Measurements, no_latency: &'static str, reasons: &mut Reasons) {
    reasons.need(measured.latency.is_none(), "/measurements/latency", no_latency);
    if let Some(compression) = &measured.compression {
        let untold = "this system does not tell";
        reasons.need(compression.cpu_seconds.is_none(), "/measurements/compression/cpu_seconds", untold);
        reasons.need(compression.peak_memory_bytes.is_none(), "/measurements/compression/peak_memory_bytes", untold);
    }
}
