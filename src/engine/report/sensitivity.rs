//! The table of a sensitivity job: what every site, changed alone, costs at every level.

use serde::{Deserialize, Serialize};

use super::provenance::EvaluationProvenance;
use super::verdict::Verdict;
use crate::engine::evaluate::fidelity::MeasuredOn;
use crate::engine::evaluate::finite;
use crate::engine::model::Category;

/// A site with all that was tried on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSensitivity {
    /// Which.
    pub site: String,
    /// What its bytes count as.
    pub category: Category,
    /// All its tensors as they are.
    pub before_bytes: u64,
    /// Its weights as they are.
    pub weights: WeightStatistics,
    /// What was tried, by ascending bits.
    pub levels: Vec<Level>,
}

/// One site changed alone, at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Bits of a code; of a change that has no such parameter, of a stored number.
    pub bits: u32,
    /// All tensors of the site in the weight file then.
    pub bytes: u64,
    /// `10 log₁₀(‖W‖² / ‖W − Ŵ‖²)`, in decibels; `None` where there is no error at all.
    #[serde(serialize_with = "finite::optional")]
    pub sqnr_db: Option<f64>,
    /// `‖X Wᵀ − X Ŵᵀ‖ / ‖X Wᵀ‖`: `X` is what the site is fed by at most 32 of the rows. `None` where none comes through.
    #[serde(serialize_with = "finite::optional")]
    pub relative_error: Option<f64>,
    /// Mean `KL(p_original ‖ p)` of the whole model's answers, nats; `None` where it was not run, or answers with no
    /// distribution.
    #[serde(serialize_with = "finite::optional")]
    pub kl: Option<f64>,
    /// Mean cosine of the answers to the original's; absent where it was not run, or answers with numbers.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "finite::optional")]
    pub cosine: Option<f64>,
    /// Root mean square of the difference; of models that answer with one number a row alone.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "finite::optional")]
    pub rms_difference: Option<f64>,
}

impl Level {
    /// How far answers moved, in one number that is larger where they moved further: divergence, for answers without
    /// distributions `1 − cosine`, for numbers their difference. `None` where the model was not run.
    pub fn loss(&self) -> Option<f64> {
        self.kl.or(self.rms_difference).or_else(|| self.cosine.map(|cosine| (1.0 - cosine).max(0.0)))
    }
}

impl Verdict {
    /// What a table says on top: how many sites were tried, and which of them costs most in the middle of the levels, where
    /// neither all nor none of them do. `evaluation`: the rows that answers were compared on.
    pub fn of_table(sites: &[SiteSensitivity], evaluation: Option<&EvaluationProvenance>) -> Self {
        let summary = summary(sites, evaluation);
        Self { summary, metric: None, change: None, goal_met: None, reference_floor: None }
    }
}

fn summary(sites: &[SiteSensitivity], evaluation: Option<&EvaluationProvenance>) -> String {
    let mut bits: Vec<u32> = sites.iter().flat_map(|site| site.levels.iter().map(|level| level.bits)).collect();
    bits.sort_unstable();
    bits.dedup();
    let listed: Vec<String> = bits.iter().map(ToString::to_string).collect();
    let tried = format!("{} sites, each compressed alone at {} bits.", sites.len(), listed.join(", "));
    let costliest = |bits: u32| {
        let levels = sites.iter().filter_map(|site| Some((site, site.levels.iter().find(|level| level.bits == bits)?)));
        let costs = levels.filter_map(|(site, level)| Some((site, level, level.loss()?)));
        costs.max_by(|a, b| a.2.total_cmp(&b.2))
    };
    let middle = bits.get(bits.len().saturating_sub(1) / 2).copied();
    let Some((site, level, loss)) = middle.and_then(costliest) else {
        return format!("{tried} Answers were not compared.");
    };
    let what = match level {
        Level { kl: Some(_), .. } => format!("answers diverge by {loss:.2e} nats (mean KL)"),
        Level { rms_difference: Some(_), .. } => format!("its numbers are off by {loss:.2e} (root mean square)"),
        _ => format!("its vectors turn by {loss:.2e} (one minus the mean cosine)"),
    };
    let rows = evaluation.map_or_else(String::new, |evaluation| {
        let of =
            if evaluation.measured_on == MeasuredOn::Vocabulary { "rows of random tokens" } else { "held-out rows" };
        format!(" on {} {of}", evaluation.rows)
    });
    format!("{tried} At {} bits {} costs most: {what}{rows}.", level.bits, site.site)
}

/// How the weights of a site lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightStatistics {
    /// Weights.
    pub count: u64,
    /// The smallest.
    #[serde(serialize_with = "finite::number")]
    pub min: f64,
    /// The largest.
    #[serde(serialize_with = "finite::number")]
    pub max: f64,
    /// The largest absolute value.
    #[serde(serialize_with = "finite::number")]
    pub absmax: f64,
    /// Mean.
    #[serde(serialize_with = "finite::number")]
    pub mean: f64,
    /// Standard deviation, of the whole: `sqrt(Σ (w − mean)² / count)`.
    #[serde(serialize_with = "finite::number")]
    pub std: f64,
    /// `Σ (w − mean)⁴ / (count · std⁴)`: 3 of a normal distribution. `None` where all weights are one number.
    #[serde(serialize_with = "finite::optional")]
    pub kurtosis: Option<f64>,
    /// 99.9% of the absolute values are at most this.
    #[serde(serialize_with = "finite::number")]
    pub abs_p99_9: f64,
    /// 99.99% of the absolute values are at most this.
    #[serde(serialize_with = "finite::number")]
    pub abs_p99_99: f64,
    /// Share of the weights that are 0.
    #[serde(serialize_with = "finite::number")]
    pub zero_share: f64,
    /// Share of the weights that are further than six standard deviations from the mean.
    #[serde(serialize_with = "finite::number")]
    pub outlier_share: f64,
}
