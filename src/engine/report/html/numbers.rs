//! Two models that answer with a number a row: how far the numbers lie apart.

use super::format::{fixed, percent, small};
use super::read::Doc;
use super::table;

const BASE: &str = "/result/after/fidelity/numbers";

/// Whether the answers are numbers.
pub(super) fn are_there(doc: &Doc<'_>) -> bool {
    doc.get(BASE).is_some()
}

/// Result − original, and how both go together.
pub(super) fn section(doc: &Doc<'_>) -> String {
    let at = |key: &str| format!("{BASE}/{key}");
    let plain = |key: &str| doc.show(&at(key), small);
    let correlation = |key: &str| doc.show(&at(key), |x| fixed(x, 5));
    let row = format!(
        "<tr><th scope=\"row\">result − original</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{}</td></tr>\n",
        plain("rms_difference"),
        doc.show(&at("relative_rms_difference"), percent),
        plain("mean_difference"),
        plain("largest_difference"),
        correlation("pearson"),
        correlation("spearman"),
        plain("floor"),
    );
    table(
        "Distance of the numbers",
        "<th scope=\"col\">In the answers’ own unit</th><th scope=\"col\" title=\"Root mean square\">RMS</th>\
         <th scope=\"col\" title=\"Of how the original’s answers vary over these rows\">of the original’s deviation</th>\
         <th scope=\"col\" title=\"What all answers were shifted by\">Mean</th><th scope=\"col\">Largest</th>\
         <th scope=\"col\">Pearson</th><th scope=\"col\">Spearman</th>\
         <th scope=\"col\" title=\"RMS of the original against a second scoring of itself, at most 64 rows\">Floor</th>",
        &row,
    )
}
