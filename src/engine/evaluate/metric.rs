//! What a metric's numbers are, for everyone who shows or compares them.

use super::perplexity::PERPLEXITY;

/// Whether values are shares of 1, shown in percent and compared in points. The others are plain numbers.
pub fn is_share(metric: &str) -> bool {
    !matches!(metric, PERPLEXITY | "mcc" | "pearson" | "spearman")
}

/// Whether less is better.
pub fn is_cost(metric: &str) -> bool {
    metric == PERPLEXITY
}

/// A value as a number of which more is better.
pub fn goodness(metric: &str, value: f64) -> f64 {
    if is_cost(metric) { -value } else { value }
}
