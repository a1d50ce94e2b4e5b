//! `result.histograms`: how a site's weights lie before and after, and what they differ by.

use serde::{Deserialize, Serialize};

use super::result::SiteReport;
use crate::engine::evaluate::finite;

/// Up to so many sites all have their histograms.
pub const MOST_SITES: usize = 400;
/// Of more sites the worst have theirs, so many.
pub const WORST_SITES: usize = 40;

/// How the weights of a site lie. Bin `i` of `2n + 1` holds those that are nearest to `(i − n) · width`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteHistogram {
    /// Which.
    pub site: String,
    /// Weights that were counted: of large sites runs of 1,024, spread evenly.
    pub counted: u64,
    /// Width of the bins of weights; 0 where all weights are 0.
    #[serde(serialize_with = "finite::number")]
    pub weight_bin_width: f64,
    /// Counts of the original's weights; of what the norm sees where one follows.
    pub before: Vec<u64>,
    /// Counts of the result's, in the same bins.
    pub after: Vec<u64>,
    /// Width of the bins of differences; 0 where there are none.
    #[serde(serialize_with = "finite::number")]
    pub error_bin_width: f64,
    /// Counts of result − original.
    pub error: Vec<u64>,
}

impl SiteHistogram {
    /// What can't be, if anything.
    pub fn wrong(&self) -> Option<String> {
        let sums = [&self.before, &self.after, &self.error];
        let is_whole = |counts: &Vec<u64>| {
            let sum = counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count));
            counts.len() % 2 == 1 && sum == Some(self.counted)
        };
        if self.before.len() == self.after.len() && sums.into_iter().all(is_whole) {
            return None;
        }
        Some(format!("the bins of '{}' are not {} weights in an odd number of bins", self.site, self.counted))
    }
}

/// The places of the sites whose histograms are told, in order: all, or of more than [`MOST_SITES`] the worst.
pub fn told(sites: &[SiteReport]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..sites.len()).collect();
    if sites.len() > MOST_SITES {
        let error = |place: &usize| sites.get(*place).and_then(|site| site.relative_error).unwrap_or(-1.0);
        places.sort_by(|a, b| error(b).total_cmp(&error(a)));
        places.truncate(WORST_SITES);
        places.sort_unstable();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn of_very_many_sites_the_worst_are_told_in_the_models_order() {
        let one = sample::compressed().result.sites[0].clone();
        let sites = |count: usize| -> Vec<SiteReport> {
            (0..count).map(|i| one.clone().with_error((i * 7919 % count) as f64 / count as f64)).collect()
        };
        assert_eq!(told(&sites(MOST_SITES)), (0..MOST_SITES).collect::<Vec<_>>());
        let many = sites(MOST_SITES + 1);
        let places = told(&many);
        assert!(places.len() == WORST_SITES && places.is_sorted());
        let least = places.iter().map(|at| many[*at].relative_error.unwrap()).fold(f64::INFINITY, f64::min);
        assert_eq!(many.iter().filter(|site| site.relative_error.unwrap() > least).count(), WORST_SITES - 1);
    }

    #[test]
    fn bins_that_do_not_hold_what_was_counted_are_wrong() {
        let good = sample::compressed().result.histograms[0].clone();
        assert_eq!(good.wrong(), None);
        let mut other = good.clone();
        other.after[3] += 1;
        assert!(other.wrong().is_some());
        let mut other = good.clone();
        other.after.push(0);
        assert!(other.wrong().is_some());
        let mut other = good;
        (other.error[0], other.error[1]) = (u64::MAX, u64::MAX);
        assert!(other.wrong().is_some());
    }
}
