//! What of a report follows from the rest of it: sums, ratios, intervals, the verdict, what is told twice.

use super::Check;
use super::compare::{Comparison, compare};
use super::precision::Precision;
use crate::engine::evaluate::quality::{ACCURACY, Estimate, Quality, QualityChange};
use crate::engine::evaluate::statistics::{Z_95, mcnemar_exact, wilson};
use crate::engine::hash::sha256;
use crate::engine::report::{After, PredictedCost, Report, Verdict, resolved_defaults};

/// Rows beyond which counts are not believed: a dataset has fewer.
const MOST_ROWS: u64 = 10_000_000;

/// Checks a report against itself. Needs nothing else.
pub fn own(report: &Report) -> Vec<Check> {
    vec![rules(report), derived(report)]
}

/// Sums to the byte, and a reason for every `null`.
fn rules(report: &Report) -> Check {
    let what = "sums to the byte, a reason for every null";
    let mut wrong = report.check().err().unwrap_or_default();
    let (stages, planned) = (report.result.stages.len(), report.plan.as_ref().map(|plan| plan.stages.len()));
    // A sensitivity job runs no stage on the whole model
    if report.result.sensitivity.is_none() && planned.is_some_and(|planned| planned != stages) {
        wrong.push(format!("/result/stages has {stages} stages, the plan {}", planned.unwrap_or(0)));
    }
    if wrong.is_empty() {
        return Check::compared("", what, Comparison::default());
    }
    let shown: Vec<&str> = wrong.iter().take(5).map(String::as_str).collect();
    let more = wrong.len() - shown.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Check::differs("", what, format!("{}{more}", shown.join("; ")))
}

/// Every number that a formula gives from others.
fn derived(report: &Report) -> Check {
    let what = "what follows from the rest: ratios, intervals, the verdict, hashes of the recipe";
    let again = again(report);
    match (serde_json::to_value(report), serde_json::to_value(again)) {
        (Ok(reported), Ok(found)) => {
            Check::compared("", what, compare("", Some(&reported), Some(&found), Precision::Rounded, &[]))
        }
        (Err(error), _) | (_, Err(error)) => Check::differs("", what, error.to_string()),
    }
}

/// The report with all that follows from the rest computed anew.
pub(super) fn again(report: &Report) -> Report {
    let mut again = report.clone();
    sizes(&mut again);
    answers(&mut again);
    told_twice(&mut again);
    if let (Some(recipe), Some(plan)) = (&again.recipe, &again.plan) {
        again.provenance.resolved_defaults = resolved_defaults(recipe, plan);
        again.provenance.recipe_sha256 = serde_json::to_vec(recipe).ok().map(|bytes| sha256(&bytes));
        again.provenance.seed = plan.seed;
        again.measurements.predicted = Some(PredictedCost::from(&plan.predicted));
    }
    verdict(&mut again);
    again
}

/// Ratios of sizes, and noise from errors.
fn sizes(report: &mut Report) {
    let result = &mut report.result;
    let after = &result.after;
    let ratios = After::new(result.before.as_ref(), after.size_bytes, after.total_bytes, after.parameters);
    result.after.bits_per_weight = ratios.bits_per_weight;
    result.after.ratio_to_stored = ratios.ratio_to_stored;
    result.after.ratio_to_f32 = ratios.ratio_to_f32;
    for site in &mut result.sites {
        if let Some(error) = site.relative_error {
            *site = site.clone().with_error(error);
        }
    }
}

/// Intervals of shares, and the change of accuracy from the rows that it is made of.
fn answers(report: &mut Report) {
    let result = &mut report.result;
    let stages = result.stages.iter_mut().filter_map(|stage| stage.quality.as_mut());
    let sides = result.before.as_mut().and_then(|before| before.quality.as_mut());
    stages.chain(sides).chain(result.after.quality.as_mut()).for_each(accuracy);
    if let Some(change) = &mut result.after.quality_change {
        discordant(change);
    }
    let stages = result.stages.iter_mut().filter_map(|stage| stage.fidelity.as_mut());
    for fidelity in stages.chain(result.after.fidelity.as_mut()) {
        if let Some(share) = &mut fidelity.top1_agreement {
            let again = whole(share.value, fidelity.n).and_then(|same| wilson(same, fidelity.n));
            *share = again.unwrap_or(*share);
        }
    }
}

fn accuracy(quality: &mut Quality) {
    let Some(accuracy) = quality.get_mut(ACCURACY) else { return };
    if let Some(again) = whole(accuracy.value, accuracy.n).and_then(|right| wilson(right, accuracy.n)) {
        *accuracy = Estimate { value: again.value, low: again.low, high: again.high, n: accuracy.n };
    }
}

/// How many of `n` rows a share is.
fn whole(share: f64, n: u64) -> Option<u64> {
    (share.is_finite() && n <= MOST_ROWS).then(|| (share * n as f64).round() as u64)
}

fn discordant(change: &mut QualityChange) {
    let Some(accuracy) = change.get_mut(ACCURACY) else { return };
    let Some(rows) = accuracy.discordant else { return };
    let (b, c, n) = (rows.original_only, rows.result_only, accuracy.n);
    if b.saturating_add(c) > n {
        accuracy.discordant = None; // there are no such rows
    }
    if n == 0 || n > MOST_ROWS || accuracy.discordant.is_none() {
        return;
    }
    accuracy.p_value = mcnemar_exact(b, c);
    let (b, c, n) = (b as f64, c as f64, n as f64);
    let error = ((b + c) - (b - c).powi(2) / n).max(0.0).sqrt() / n;
    accuracy.value = (c - b) / n;
    accuracy.low = (accuracy.value - Z_95 * error).max(-1.0);
    accuracy.high = (accuracy.value + Z_95 * error).min(1.0);
}

/// What stands in more than one place.
fn told_twice(report: &mut Report) {
    let result = &mut report.result;
    let before = result.before.as_mut().and_then(|before| before.quality.as_mut());
    if let (Some(before), Some(after), Some(change)) = (before, &result.after.quality, &mut result.after.quality_change)
    {
        for (metric, change) in change.iter_mut() {
            if let (Some(before), Some(after)) = (before.get_mut(metric), after.get(metric)) {
                (before.n, change.n) = (after.n, after.n);
                change.value = after.value - before.value;
            }
        }
    }
    let Some(plan) = &report.plan else { return };
    for (stage, planned) in result.stages.iter_mut().zip(&plan.stages) {
        stage.method.clone_from(&planned.method);
        (stage.size_bytes, stage.parameters) = (planned.size_bytes, planned.parameters);
    }
    if result.sensitivity.is_none() {
        result.fallbacks = result.stages.iter().flat_map(|stage| stage.fallbacks.clone()).collect();
    }
    let is_whole = result.stages.len() == plan.stages.len();
    if let Some(last) = result.stages.last_mut().filter(|_| is_whole) {
        last.size_bytes = result.after.size_bytes;
        last.quality.clone_from(&result.after.quality);
        last.fidelity.clone_from(&result.after.fidelity);
    }
    if let Some(evaluation) = &mut report.provenance.evaluation {
        evaluation.metrics.clone_from(&plan.evaluate.metrics);
        evaluation.max_seq_length = plan.evaluate.max_seq_length;
    }
    if let Some(protocol) = &mut report.provenance.protocol {
        protocol.max_seq_length = plan.evaluate.max_seq_length;
    }
}

fn verdict(report: &mut Report) {
    if let Some(sites) = &report.result.sensitivity {
        report.result.verdict = Verdict::of_table(sites, report.provenance.evaluation.as_ref());
        return;
    }
    let told = report.result.verdict.reference_floor.map(|floor| floor.accuracy);
    let floor = report.plan.as_ref().map_or(told, |plan| plan.evaluate.floor());
    let again = Verdict::new(report.result.before.as_ref(), &report.result.after, floor);
    // A search sets its goal itself
    let goal_met = report.result.verdict.goal_met;
    report.result.verdict = Verdict { goal_met, ..again };
}
