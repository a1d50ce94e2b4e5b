//! Results by what they were measured with: dataset, metric and protocol. Values of two groups are never put together.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::Measurement;
use crate::db::jobs::Measured;
use crate::engine::evaluate::quality::{ACCURACY, Quality};
use crate::id::{DatasetId, JobId};

/// Which measurement a client wants; what is not said may be anything.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) evaluation_dataset_id: Option<DatasetId>,
    pub(super) metric: Option<String>,
    pub(super) max_seq_length: Option<u64>,
}

impl Asked {
    pub(super) fn contains(&self, measurement: &Measurement) -> bool {
        self.evaluation_dataset_id.is_none_or(|id| id == measurement.evaluation_dataset_id)
            && self.metric.as_ref().is_none_or(|metric| *metric == measurement.metric)
            && self.max_seq_length.is_none_or(|length| length == measurement.max_seq_length)
    }
}

/// Results that can be compared.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) measurement: Measurement,
    pub(super) original: Option<Scored>,
    pub(super) results: Vec<Entry>,
}

/// One result of a group.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job_id: JobId,
    pub(super) recipe_name: Option<String>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) scored: Scored,
}

/// A size and a value with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    pub(super) size_bytes: u64,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) n: u64,
}

/// `before` or `after` of a report, as far as it matters here.
#[derive(Deserialize)]
struct Side {
    size_bytes: u64,
    quality: Option<Quality>,
}

impl Side {
    fn scored(&self, metric: &str) -> Option<Scored> {
        let estimate = self.quality.as_ref()?.get(metric)?;
        let (size_bytes, value) = (self.size_bytes, estimate.value);
        Some(Scored { size_bytes, value, low: estimate.low, high: estimate.high, n: estimate.n })
    }
}

#[derive(Deserialize)]
struct Protocol {
    description: String,
    max_seq_length: u64,
}

/// What was measured of a model, the group with the most results first; of those with as many, accuracy, then the one
/// with the newest result. A result counts in a group for each of its metrics; one without task quality in none.
///
/// `measured` comes newest first.
pub(super) fn group(measured: &[Measured]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for job in measured {
        let (Some(after), Some(protocol)) = (read::<Side>(job.after.as_ref()), read::<Protocol>(job.protocol.as_ref()))
        else {
            continue;
        };
        let before = read::<Side>(job.before.as_ref());
        for metric in after.quality.iter().flat_map(|quality| quality.keys()) {
            let Some(scored) = after.scored(metric) else { continue };
            let measurement = Measurement {
                evaluation_dataset_id: job.evaluation_dataset_id,
                metric: metric.clone(),
                max_seq_length: protocol.max_seq_length,
                protocol: protocol.description.clone(),
                results: 0,
            };
            let Some(group) = place(&mut groups, &measurement) else { continue };
            group.measurement.results += 1;
            group.original = group.original.or_else(|| before.as_ref()?.scored(metric));
            group.results.push(Entry {
                job_id: job.id,
                recipe_name: job.recipe_name.clone(),
                finished_at: job.finished_at,
                scored,
            });
        }
    }
    // stable: groups were found newest first
    groups.sort_by_key(|group| (std::cmp::Reverse(group.measurement.results), group.measurement.metric != ACCURACY));
    groups
}

/// The group of that measurement, made where there is none.
fn place<'a>(groups: &'a mut Vec<Group>, measurement: &Measurement) -> Option<&'a mut Group> {
    let is_same = |group: &Group| group.measurement.is_same(measurement);
    if !groups.iter().any(is_same) {
        groups.push(Group { measurement: measurement.clone(), original: None, results: Vec::new() });
    }
    groups.iter_mut().find(|group| group.measurement.is_same(measurement))
}

fn read<T: for<'a> Deserialize<'a>>(value: Option<&Value>) -> Option<T> {
    T::deserialize(value?).ok()
}
