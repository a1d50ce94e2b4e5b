//! The report of a sensitivity job.

use super::{alone, plan, recipe};
use crate::engine::plan::PlannedSensitivity;
use crate::engine::report::{Level, Outcome, Report, SiteSensitivity, Verdict, WeightStatistics};

const NO_RESULT: &str = "one site at a time is changed";

/// Every site at 2, 4 and 8 bits: what is lost grows from site to site, and by a hundred with two bits less.
pub(crate) fn table() -> Report {
    let mut report = alone();
    let bits = vec![2, 4, 8];
    let sensitivity = Some(PlannedSensitivity { bits, num_samples: 128, max_tokens: 8192, cells: 123 });
    (report.recipe, report.plan) = (Some(recipe()), Some(super::Plan { sensitivity, ..plan() }));
    let sites = report.result.sites.iter().enumerate();
    let sites: Vec<SiteSensitivity> = sites
        .map(|(place, site)| SiteSensitivity {
            site: site.site.clone(),
            category: site.category,
            before_bytes: 300_000 + place as u64,
            weights: weights(place),
            levels: [2u32, 4, 8].map(|bits| level(place, bits)).to_vec(),
        })
        .collect();
    report.unmeasured.clear();
    let result = &mut report.result;
    result.after.quality = None;
    result.artifacts.clear();
    let verdict = Verdict::of_table(&sites, report.provenance.evaluation.as_ref());
    *result = Outcome { verdict, probes: None, sensitivity: Some(sites), ..result.clone() };
    report.measurements.latency = None;
    report.measurements.compression = super::compressed().measurements.compression;
    report.measurements.predicted = super::compressed().measurements.predicted;
    report.provenance.recipe_sha256 = super::compressed().provenance.recipe_sha256;
    report.provenance.protocol = None;
    for pointer in ["/result/after/quality", "/result/allocation", "/result/training", "/result/probes"] {
        report.unmeasured(pointer, NO_RESULT);
    }
    report.unmeasured("/measurements/latency", NO_RESULT).unmeasured("/provenance/protocol", NO_RESULT);
    report
}

fn level(place: usize, bits: u32) -> Level {
    let lost = 0.5 * 10f64.powi(-(bits as i32)) * (1 + place) as f64;
    Level {
        bits,
        bytes: 40_000 * u64::from(bits) + place as u64,
        sqnr_db: Some(6.0 * f64::from(bits)),
        relative_error: Some(lost.sqrt()),
        kl: Some(lost),
        cosine: Some(1.0 - lost / 10.0),
        rms_difference: None,
    }
}

fn weights(place: usize) -> WeightStatistics {
    WeightStatistics {
        count: 147_456,
        min: -0.5,
        max: 0.6,
        absmax: 0.6,
        mean: 0.001,
        std: 0.05,
        kurtosis: Some(3.0 + place as f64),
        abs_p99_9: 0.2,
        abs_p99_99: 0.3,
        zero_share: 0.0,
        outlier_share: 1e-4,
    }
}
