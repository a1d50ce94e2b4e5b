//! The sample's histograms: bell curves, and the steps that rounding leaves.

use crate::engine::report::{SiteHistogram, SiteReport};

const BINS: i32 = 17;
/// Of so many sites, so that fixtures stay readable: the worst.
const SITES: usize = 8;

pub(super) fn histograms(sites: &[SiteReport]) -> Vec<SiteHistogram> {
    let mut worst: Vec<&SiteReport> = sites.iter().collect();
    worst.sort_by(|a, b| b.relative_error.partial_cmp(&a.relative_error).unwrap());
    worst.into_iter().take(SITES).map(histogram).collect()
}

fn histogram(site: &SiteReport) -> SiteHistogram {
    let bell = |middle: i32, spread: f64| -> Vec<u64> {
        let height = |bin: i32| (4_000.0 * (-f64::from((bin - middle).pow(2)) / spread).exp()).round() as u64;
        (-BINS..=BINS).map(height).collect()
    };
    let before = bell(0, 30.0);
    let counted: u64 = before.iter().sum();
    // Each third bin takes those beside it
    let mut after = vec![0; before.len()];
    for (place, count) in before.iter().enumerate() {
        after[(place / 3 * 3 + 1).min(before.len() - 1)] += count;
    }
    let mut error = bell(0, 22.0);
    let sum: u64 = error.iter().sum();
    // All differences are somewhere: the middle takes what is left, or gives
    let middle = BINS as usize;
    if sum <= counted {
        error[middle] += counted - sum;
    } else {
        error = vec![0; 2 * middle + 1];
        error[middle] = counted;
    }
    let (error_bin_width, error) =
        if site.relative_error == Some(0.0) { (0.0, vec![counted]) } else { (0.001_953_125, error) };
    SiteHistogram {
        site: site.site.clone(),
        counted,
        weight_bin_width: 0.007_812_5,
        before,
        after,
        error_bin_width,
        error,
    }
}
