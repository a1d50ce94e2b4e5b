//! The rules that types can't hold: a reason for every `null`, and sums to the byte.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Report;
use crate::engine::error::EngineError;
use crate::engine::problem::escape_pointer;

/// Why a report is not fit to be handed out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// A number is NaN or infinite.
    #[error("the report holds a number that JSON has not: {0}")]
    NotFinite(String),
    /// [`Report::check`] refused it.
    #[error("the report is not complete: {}", .0.join("; "))]
    Incomplete(Vec<String>),
}

impl From<ReportError> for EngineError {
    fn from(error: ReportError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl Report {
    /// Refuses a `null` that has no reason, a reason that points to nothing `null`, categories or sites that do not sum to
    /// the weight files, and bins that do not sum to what was counted.
    ///
    /// # Errors
    ///
    /// All that is wrong, each with its JSON pointer.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let document = match serde_json::to_value(self) {
            Ok(document) => document,
            Err(error) => return Err(vec![error.to_string()]),
        };
        let mut wrong = self.check_reasons(&document);
        wrong.extend(
            self.result.histograms.iter().filter_map(|one| Some(format!("/result/histograms: {}", one.wrong()?))),
        );
        self.check_sums(&mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// The document after [`Report::explain`] and [`Report::check`]: the bytes of `report.json`.
    ///
    /// # Errors
    ///
    /// [`ReportError`] when a number is not finite or the report is not complete.
    pub fn finish(&mut self) -> Result<Vec<u8>, ReportError> {
        self.explain()?;
        self.check().map_err(ReportError::Incomplete)?;
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| ReportError::NotFinite(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn check_reasons(&self, document: &Value) -> Vec<String> {
        let nulls = nulls(document);
        let mut used: BTreeSet<&str> = BTreeSet::new();
        let mut wrong = Vec::new();
        for null in &nulls {
            let found: Vec<&str> = self.reasons(null).collect();
            if found.is_empty() {
                wrong.push(format!("{null} is null without a reason in unmeasured"));
            }
            used.extend(found);
        }
        for (pointer, reason) in &self.unmeasured {
            if !used.contains(pointer.as_str()) {
                wrong.push(format!("unmeasured gives a reason for {pointer}, where nothing is null"));
            }
            if reason.trim().is_empty() {
                wrong.push(format!("the reason for {pointer} in unmeasured is empty"));
            }
        }
        wrong
    }

    /// Whether there is a reason at `pointer` or at a parent of it.
    pub(super) fn is_explained(&self, pointer: &str) -> bool {
        self.reasons(pointer).next().is_some()
    }

    /// The pointers of all reasons that speak of `pointer`: its own, and its parents'.
    fn reasons<'a>(&'a self, pointer: &'a str) -> impl Iterator<Item = &'a str> {
        let parents = pointer.match_indices('/').map(|(at, _)| pointer.get(..at).unwrap_or(pointer));
        let named = move |pointer| self.unmeasured.get_key_value(pointer).map(|(pointer, _)| pointer.as_str());
        parents.chain([pointer]).filter_map(named)
    }

    fn check_sums(&self, wrong: &mut Vec<String>) {
        let categories = self.result.bytes_by_category.values();
        let after = categories.clone().try_fold(0_u64, |sum, bytes| sum.checked_add(bytes.after));
        if after != Some(self.result.after.size_bytes) {
            wrong.push(format!(
                "/result/bytes_by_category sums to {after:?} bytes after, the weight files to {}",
                self.result.after.size_bytes
            ));
        }
        if let Some(before) = &self.result.before {
            let sum = categories.clone().try_fold(0_u64, |sum, bytes| sum.checked_add(bytes.before.unwrap_or(0)));
            if sum != Some(before.size_bytes) {
                wrong.push(format!(
                    "/result/bytes_by_category sums to {sum:?} bytes before, the weight files to {}",
                    before.size_bytes
                ));
            }
        }
        let sites = self.result.sites.iter().try_fold(0_u64, |sum, site| sum.checked_add(site.after_bytes));
        if sites.is_none_or(|sites| sites > self.result.after.size_bytes) {
            wrong.push(format!("/result/sites sums to {sites:?} bytes after, more than the weight files"));
        }
    }
}

/// JSON pointers of every `null`, in the document's order.
pub(super) fn nulls(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(document, &mut String::new(), &mut found);
    found
}

fn collect(value: &Value, pointer: &mut String, found: &mut Vec<String>) {
    let length = pointer.len();
    match value {
        Value::Null => found.push(pointer.clone()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
                collect(item, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                pointer.push('/');
                pointer.push_str(&escape_pointer(name));
                collect(field, pointer, found);
                pointer.truncate(length);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
