//! The report as a page.

use serde_json::Value;

/// The page.
pub fn page(report: &Value) -> String {
    let _ = report;
    String::new()
}
