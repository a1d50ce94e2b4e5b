//! What may be said of the difference between two reports, and what may not.
//!
//! Numbers are compared only where they mean the same: quality on the same rows under the same protocol, fidelity to the
//! same original besides, latency on the same machine. Everything else is a reason.

use std::collections::BTreeMap;

use super::{DatasetProvenance, FileHash, LatencyComparison, Report};
use crate::engine::evaluate::fidelity::{Fidelity, MeasuredOn};

/// Second − first of one call's time under equal conditions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyDifference {
    /// Threads.
    pub threads: usize,
    /// Rows in a call.
    pub batch: usize,
    /// Tokens in a row.
    pub length: usize,
    /// Of the 50% quantiles.
    pub median_ms: f64,
    /// Of the 95% quantiles.
    pub p95_ms: f64,
}

/// Second − first of how near two results are to their original.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FidelityDifference {
    /// Of the mean divergences, in nats; `None` where either has none.
    pub kl_mean: Option<f64>,
    /// Of the shares of rows with the original's answer; `None` where either has none.
    pub top1_agreement: Option<f64>,
    /// Of the mean cosines; `None` where either has none.
    pub cosine: Option<f64>,
    /// Of the root mean squares of the numbers' differences, as shares of the original's deviation; `None` where either has
    /// none.
    pub relative_rms_difference: Option<f64>,
}

/// Whether task quality of both was measured on the same rows under the same protocol.
///
/// # Errors
///
/// Why not.
pub fn same_measurement(first: &Report, second: &Report) -> Result<(), String> {
    let rows = |report: &Report| report.provenance.datasets.get("evaluation").map(hashes);
    match (rows(first), rows(second)) {
        (Some(a), Some(b)) if a == b => {}
        (Some(_), Some(_)) => return Err("they were measured on other evaluation rows".to_owned()),
        _ => return Err("one of them was not measured on evaluation rows".to_owned()),
    }
    match (&first.provenance.protocol, &second.provenance.protocol) {
        (Some(a), Some(b)) if a == b => Ok(()),
        (Some(a), Some(b)) if a.max_seq_length != b.max_seq_length => {
            Err(format!("their rows were cut to other lengths: {} and {} tokens", a.max_seq_length, b.max_seq_length))
        }
        (Some(_), Some(_)) => Err("they were measured under other protocols".to_owned()),
        _ => Err("one of them was not measured against labels".to_owned()),
    }
}

/// Metric → second − first, of the metrics that both have.
///
/// There is no interval: the rows are paired, and reports do not hold answers row by row.
///
/// # Errors
///
/// Why the two can't be compared.
pub fn quality(first: &Report, second: &Report) -> Result<BTreeMap<String, f64>, String> {
    same_measurement(first, second)?;
    let (Some(a), Some(b)) = (&first.result.after.quality, &second.result.after.quality) else {
        return Err("task quality of one of them was not measured".to_owned());
    };
    let differences: BTreeMap<String, f64> =
        a.iter().filter_map(|(metric, a)| Some((metric.clone(), b.get(metric)?.value - a.value))).collect();
    if differences.is_empty() { Err("they have no metric in common".to_owned()) } else { Ok(differences) }
}

/// Second − first of the fidelity to the original that both have.
///
/// # Errors
///
/// Why the two can't be compared.
pub fn fidelity(first: &Report, second: &Report) -> Result<FidelityDifference, String> {
    let (Some(a), Some(b)) = (&first.result.after.fidelity, &second.result.after.fidelity) else {
        return Err("fidelity of one of them was not measured".to_owned());
    };
    if hashes_of(original(first)) != hashes_of(original(second)) {
        return Err("they are measured against other originals".to_owned());
    }
    if Basis::of(first, a) != Basis::of(second, b) {
        return Err("they were measured on other rows, or rows that were cut to another length".to_owned());
    }
    let top1 = |fidelity: &Fidelity| fidelity.top1_agreement.map(|interval| interval.value);
    let numbers = |fidelity: &Fidelity| fidelity.numbers.and_then(|numbers| numbers.relative_rms_difference);
    Ok(FidelityDifference {
        kl_mean: a.kl.zip(b.kl).map(|(a, b)| b.mean - a.mean),
        top1_agreement: top1(a).zip(top1(b)).map(|(a, b)| b - a),
        cosine: a.cosine.zip(b.cosine).map(|(a, b)| b - a),
        relative_rms_difference: numbers(a).zip(numbers(b)).map(|(a, b)| b - a),
    })
}

/// Second − first of the latency of the results, for each shape of call that both were timed on.
///
/// # Errors
///
/// Why the two can't be compared.
pub fn latency(first: &Report, second: &Report) -> Result<Vec<LatencyDifference>, String> {
    let (Some(a), Some(b)) = (&first.measurements.latency, &second.measurements.latency) else {
        return Err("latency of one of them was not measured".to_owned());
    };
    let machine = |report: &Report| {
        let provenance = &report.provenance;
        (provenance.host.cpu.clone(), provenance.host.os.clone(), provenance.device.clone())
    };
    if machine(first) != machine(second) {
        return Err("they were timed on other machines".to_owned());
    }
    let shape = |one: &LatencyComparison| (one.threads, one.batch, one.length);
    let differences: Vec<LatencyDifference> = a
        .iter()
        .filter_map(|a| {
            let b = b.iter().find(|b| shape(b) == shape(a))?;
            Some(LatencyDifference {
                threads: a.threads,
                batch: a.batch,
                length: a.length,
                median_ms: b.result.median_ms - a.result.median_ms,
                p95_ms: b.result.p95_ms - a.result.p95_ms,
            })
        })
        .collect();
    if differences.is_empty() { Err("no shape of call was timed in both".to_owned()) } else { Ok(differences) }
}

/// What fidelity was measured on.
#[derive(PartialEq)]
struct Basis {
    measured_on: MeasuredOn,
    /// Hashes of the files that the rows come from.
    files: Option<Vec<String>>,
    rows: u64,
    max_seq_length: Option<usize>,
    /// The seed that chose or drew the rows, where one did.
    seed: Option<u64>,
}

impl Basis {
    fn of(report: &Report, fidelity: &Fidelity) -> Self {
        let provenance = &report.provenance;
        let files = |role: &str| provenance.datasets.get(role).map(hashes);
        let (files, seed) = match fidelity.measured_on {
            MeasuredOn::Evaluation => (files("evaluation"), None),
            MeasuredOn::HeldOutCalibration => (files("calibration"), Some(provenance.seed)),
            MeasuredOn::Vocabulary => (None, Some(provenance.seed)),
        };
        let planned = report.plan.as_ref().map(|plan| plan.evaluate.max_seq_length);
        let measured = provenance.evaluation.as_ref().map(|evaluation| evaluation.max_seq_length);
        let protocol = provenance.protocol.as_ref().map(|protocol| protocol.max_seq_length);
        let max_seq_length = protocol.or(measured).or(planned);
        Self { measured_on: fidelity.measured_on, files, rows: fidelity.n, max_seq_length, seed }
    }
}

/// The files of what a result is measured against.
fn original(report: &Report) -> &[FileHash] {
    let provenance = &report.provenance;
    if provenance.reference_files.is_empty() { &provenance.model_files } else { &provenance.reference_files }
}

fn hashes(dataset: &DatasetProvenance) -> Vec<String> {
    hashes_of(&dataset.files)
}

fn hashes_of(files: &[FileHash]) -> Vec<String> {
    let mut hashes: Vec<String> = files.iter().map(|file| file.sha256.clone()).collect();
    hashes.sort_unstable();
    hashes
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn equal_measurements_are_subtracted() {
        let first = sample::compressed();
        let mut second = first.clone();
        if let Some(accuracy) = second.result.after.quality.as_mut().and_then(|quality| quality.get_mut("accuracy")) {
            accuracy.value -= 0.25;
        }
        if let Some(kl) = second.result.after.fidelity.as_mut().and_then(|fidelity| fidelity.kl.as_mut()) {
            kl.mean += 0.5;
        }
        for one in second.measurements.latency.iter_mut().flatten() {
            one.result.median_ms += 2.0;
        }
        let change = quality(&first, &second).unwrap();
        // differences of sums in binary: a rounding of 1e-16 in each
        assert!((change["accuracy"] + 0.25).abs() < 1e-12 && change["macro_f1"] == 0.0, "{change:?}");
        assert!((fidelity(&first, &second).unwrap().kl_mean.unwrap() - 0.5).abs() < 1e-12);
        let times = latency(&first, &second).unwrap();
        assert_eq!(times.len(), 2);
        assert!(times.iter().all(|time| (time.median_ms - 2.0).abs() < 1e-9 && time.p95_ms == 0.0), "{times:?}");
    }

    #[test]
    fn other_rows_lengths_originals_and_machines_are_not_mixed() {
        let first = sample::compressed();
        let changed = |change: &dyn Fn(&mut Report)| {
            let mut second = first.clone();
            change(&mut second);
            second
        };
        let other_rows = changed(&|report| {
            for file in report.provenance.datasets.values_mut().flat_map(|dataset| &mut dataset.files) {
                file.sha256 = "1".repeat(64);
            }
        });
        assert!(quality(&first, &other_rows).unwrap_err().contains("other evaluation rows"));
        assert!(fidelity(&first, &other_rows).unwrap_err().contains("other rows"));
        let longer = changed(&|report| {
            if let Some(protocol) = &mut report.provenance.protocol {
                protocol.max_seq_length = 128;
            }
        });
        assert!(quality(&first, &longer).unwrap_err().contains("96 and 128"));
        assert!(fidelity(&first, &longer).is_err());
        let other_model = changed(&|report| report.provenance.model_files.truncate(1));
        assert!(quality(&first, &other_model).is_ok(), "another model on the same rows is a fair comparison");
        assert!(fidelity(&first, &other_model).unwrap_err().contains("other originals"));
        let elsewhere = changed(&|report| report.provenance.host.cpu = "another".into());
        assert!(latency(&first, &elsewhere).unwrap_err().contains("other machines"));
        assert!(quality(&first, &sample::without_labels()).is_err());
        assert!(quality(&sample::without_labels(), &sample::without_labels()).unwrap_err().contains("labels"));
    }
}
