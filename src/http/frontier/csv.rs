//! The frontier as a table: the original in the first row, then the results.

use super::{Measurement, Shown};

const HEADER: [&str; 13] = [
    "role",
    "job_id",
    "recipe_name",
    "size_bytes",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "dominated",
    "evaluation_dataset_id",
    "max_seq_length",
    "finished_at",
];

/// The table; its header alone where nothing was measured.
///
/// # Errors
///
/// None that writing to memory has.
pub(super) fn write(shown: &Shown) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    if let Some(measurement) = &shown.measurement {
        let Measurement { evaluation_dataset_id, metric, max_seq_length, .. } = measurement;
        let (dataset, length) = (evaluation_dataset_id.to_string(), max_seq_length.to_string());
        if let Some(it) = &shown.original {
            let numbers = [it.size_bytes.to_string(), metric.clone()];
            let estimate = [it.value.to_string(), it.low.to_string(), it.high.to_string(), it.n.to_string()];
            let head = ["original".to_owned(), String::new(), String::new()];
            let tail = [String::new(), dataset.clone(), length.clone(), String::new()];
            writer.write_record(head.iter().chain(&numbers).chain(&estimate).chain(&tail))?;
        }
        for it in &shown.points {
            let finished = it.finished_at.map(|at| at.to_rfc3339()).unwrap_or_default();
            let head = ["result".to_owned(), it.job_id.to_string(), it.recipe_name.clone().unwrap_or_default()];
            let numbers = [it.size_bytes.to_string(), metric.clone()];
            let estimate = [it.value.to_string(), it.low.to_string(), it.high.to_string(), it.n.to_string()];
            let tail = [it.dominated.to_string(), dataset.clone(), length.clone(), finished];
            writer.write_record(head.iter().chain(&numbers).chain(&estimate).chain(&tail))?;
        }
    }
    Ok(writer.into_inner().map_err(|error| error.to_string())?)
}
