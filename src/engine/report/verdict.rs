//! The sentence on top, and the numbers behind it.

use serde::{Deserialize, Serialize};

use super::html::format::short_bytes;
use super::result::{After, Before};
use crate::engine::evaluate::fidelity::{Fidelity, Numbers};
use crate::engine::evaluate::finite;
use crate::engine::evaluate::metric::is_share;
use crate::engine::evaluate::perplexity::PERPLEXITY;
use crate::engine::evaluate::quality::{ACCURACY, Change, ENTITY_F1, Estimate, PEARSON, Quality, SPEARMAN, TOKEN_F1};
use crate::engine::evaluate::statistics::Interval;

/// The result in one sentence, and the numbers behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// For people.
    pub summary: String,
    /// The metric that it speaks of: accuracy where there is one. `None` where no task quality was measured.
    pub metric: Option<String>,
    /// That metric, after − before, with the paired 95% interval.
    pub change: Option<Interval>,
    /// Whether the recipe's constraints were met; `None` where it has none.
    pub goal_met: Option<bool>,
    /// Comparison with a trivial baseline; `None` where none was given.
    pub reference_floor: Option<ReferenceFloor>,
}

/// A trivial baseline's accuracy beside the result's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceFloor {
    /// The baseline's accuracy.
    #[serde(serialize_with = "finite::number")]
    pub accuracy: f64,
    /// Result − baseline; `None` where accuracy was not measured.
    #[serde(serialize_with = "finite::optional")]
    pub margin: Option<f64>,
    /// Whether the result is below the baseline; `None` where accuracy was not measured.
    pub below: Option<bool>,
}

impl Verdict {
    /// The verdict on `after`. `reference_floor` is the accuracy of a trivial baseline.
    pub fn new(before: Option<&Before>, after: &After, reference_floor: Option<f64>) -> Self {
        let metric = after.quality.as_ref().and_then(chosen);
        let estimate = metric.as_ref().and_then(|metric| after.quality.as_ref()?.get(metric));
        let change = metric.as_ref().and_then(|metric| after.quality_change.as_ref()?.get(metric));
        let reference_floor = reference_floor.map(|accuracy| {
            let measured = after.quality.as_ref().and_then(|quality| quality.get(ACCURACY));
            let margin = measured.map(|measured| measured.value - accuracy);
            ReferenceFloor { accuracy, margin, below: margin.map(|margin| margin < 0.0) }
        });
        let mut sentences = vec![size_sentence(before, after)];
        sentences.push(match (metric.as_deref(), estimate) {
            (Some(metric), Some(estimate)) => quality_sentence(metric, estimate, change),
            _ => fidelity_sentence(after),
        });
        if let Some(ReferenceFloor { accuracy, below: Some(true), .. }) = reference_floor {
            sentences.push(format!(
                "It is below the reference floor of {}: a trivial baseline does better.",
                percent(accuracy)
            ));
        }
        Self {
            summary: sentences.join(" "),
            change: change.map(|change| Interval { value: change.value, low: change.low, high: change.high }),
            metric,
            goal_met: None,
            reference_floor,
        }
    }
}

/// Accuracy where there is one, else the first metric by name.
fn chosen(quality: &Quality) -> Option<String> {
    quality.get_key_value(ACCURACY).or_else(|| quality.iter().next()).map(|(metric, _)| metric.clone())
}

fn size_sentence(before: Option<&Before>, after: &After) -> String {
    let after_size = short(after.size_bytes);
    match (before, after.ratio_to_stored) {
        (Some(before), Some(ratio)) if after.size_bytes < before.size_bytes => {
            format!("{} became {after_size}, {ratio:.2} times smaller.", short(before.size_bytes))
        }
        (Some(before), _) if after.size_bytes > before.size_bytes => {
            format!("It grew from {} to {after_size}.", short(before.size_bytes))
        }
        _ => format!("The weights take {after_size}."),
    }
}

fn quality_sentence(metric: &str, estimate: &Estimate, change: Option<&Change>) -> String {
    let (is_share, of) = (is_share(metric), if metric == PERPLEXITY { "tokens" } else { "rows" });
    let metric = named(metric);
    let value = |x: f64| if is_share { percent(x) } else { format!("{x:.4}") };
    let Some(change) = change else {
        return format!("{metric} is {} on {} {of}.", value(estimate.value), estimate.n);
    };
    let (scale, decimals) = if is_share { (100.0, 2) } else { (1.0, 4) };
    let moved = if change.value == 0.0 {
        "stayed at".to_owned()
    } else {
        let way = if change.value < 0.0 { "fell" } else { "rose" };
        let points = if is_share { " points" } else { "" };
        format!("{way} by {:.decimals$}{points} to", scale * change.value.abs())
    };
    let significance =
        if change.value == 0.0 || change.p_value < 0.05 { "" } else { ", a difference that chance can explain" };
    format!(
        "{metric} {moved} {} (95% interval {:+.decimals$} to {:+.decimals$}, n = {}){significance}.",
        value(estimate.value),
        scale * change.low,
        scale * change.high,
        change.n
    )
}

fn fidelity_sentence(after: &After) -> String {
    let fidelity = after.fidelity.as_ref();
    let agreement = fidelity.and_then(|fidelity| fidelity.top1_agreement);
    match (fidelity, agreement) {
        (Some(fidelity), Some(agreement)) => format!(
            "Task quality was not measured; it gives the original's answer on {} of {} {}.",
            percent(agreement.value),
            fidelity.n,
            fidelity.unit.plural()
        ),
        (Some(Fidelity { numbers: Some(numbers), n, .. }), None) => numbers_sentence(numbers, *n),
        (Some(Fidelity { cosine: Some(cosine), n, .. }), None) => format!(
            "Task quality was not measured; its outputs have a mean cosine of {cosine:.4} with the original's on {n} rows."
        ),
        _ => "What it cost was not measured.".to_owned(),
    }
}

fn numbers_sentence(numbers: &Numbers, n: u64) -> String {
    let by = match numbers.relative_rms_difference {
        Some(share) => format!("{} of the standard deviation of the original's", percent(share)),
        None => format!("{:.4} from the original's, which are all the same", numbers.rms_difference),
    };
    format!("Task quality was not measured; its numbers are off by {by} (root mean square, {n} rows).")
}

/// A metric at the beginning of a sentence: `Macro-f1`, `Entity-F1`.
fn named(metric: &str) -> String {
    match metric {
        ENTITY_F1 => "Entity-F1".to_owned(),
        TOKEN_F1 => "Token-F1".to_owned(),
        PEARSON => "Pearson's correlation".to_owned(),
        SPEARMAN => "Spearman's correlation".to_owned(),
        metric => capitalized(&metric.replace('_', "-")),
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

/// Three digits: a small model did not become "0.1 MB".
fn short(bytes: u64) -> String {
    short_bytes(bytes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::evaluate::quality::Test;

    fn sentence(value: f64, change: f64, p_value: f64) -> String {
        let estimate = Estimate { value, low: value, high: value, n: 2000 };
        let change = Change {
            value: change,
            low: change - 0.01,
            high: change + 0.01,
            p_value,
            test: Test::McnemarExact,
            n: 2000,
            smallest_detectable_difference: 0.01,
            discordant: None,
        };
        quality_sentence(ACCURACY, &estimate, Some(&change))
    }

    #[test]
    fn a_perplexity_is_no_share() {
        let estimate = Estimate { value: 39.65, low: 39.0, high: 40.0, n: 104_207 };
        assert_eq!(quality_sentence(PERPLEXITY, &estimate, None), "Perplexity is 39.6500 on 104207 tokens.");
        let change = Change {
            value: 0.18,
            low: 0.15,
            high: 0.21,
            p_value: 0.001,
            test: Test::PairedBootstrap,
            n: 104_207,
            smallest_detectable_difference: 0.01,
            discordant: None,
        };
        assert_eq!(
            quality_sentence(PERPLEXITY, &estimate, Some(&change)),
            "Perplexity rose by 0.1800 to 39.6500 (95% interval +0.1500 to +0.2100, n = 104207)."
        );
    }

    #[test]
    fn a_correlation_is_no_share_and_numbers_are_off_by_one() {
        let estimate = Estimate { value: 0.8123, low: 0.7, high: 0.9, n: 80 };
        assert_eq!(quality_sentence(PEARSON, &estimate, None), "Pearson's correlation is 0.8123 on 80 rows.");
        assert_eq!(quality_sentence(ENTITY_F1, &estimate, None), "Entity-F1 is 81.23% on 80 rows.");
        let mut numbers = Numbers {
            rms_difference: 0.25,
            relative_rms_difference: Some(0.0312),
            mean_difference: 0.1,
            largest_difference: 0.5,
            pearson: Some(0.99),
            spearman: Some(0.98),
            floor: Some(0.0),
        };
        assert_eq!(
            numbers_sentence(&numbers, 80),
            "Task quality was not measured; its numbers are off by 3.12% of the standard deviation of the original's (root \
             mean square, 80 rows)."
        );
        numbers.relative_rms_difference = None;
        assert!(numbers_sentence(&numbers, 80).contains("off by 0.2500 from the original's, which are all the same"));
    }

    #[test]
    fn a_change_is_told_as_what_it_is() {
        assert_eq!(sentence(0.895, 0.0, 1.0), "Accuracy stayed at 89.50% (95% interval -1.00 to +1.00, n = 2000).");
        assert_eq!(
            sentence(0.885, -0.01, 0.2),
            "Accuracy fell by 1.00 points to 88.50% (95% interval -2.00 to +0.00, n = 2000), \
             a difference that chance can explain."
        );
        assert!(sentence(0.5, -0.4, 1e-9).ends_with("(95% interval -41.00 to -39.00, n = 2000)."));
    }
}
