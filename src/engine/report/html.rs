//! The report as one page that stands on its own: no script, no font, no picture from elsewhere.
//!
//! It is drawn from the JSON, not from [`super::Report`], so that reports of other versions and damaged ones still make
//! a page: what is missing, `null` or of another type reads as not measured. All text is escaped.

mod allocation;
mod bytes;
mod colours;
mod cost;
mod files;
pub(crate) mod format;
mod histograms;
mod latency;
mod numbers;
mod plot;
mod probes;
mod provenance;
mod read;
pub(crate) mod scale;
mod sensitivity;
mod sites;
mod speed;
mod stages;
mod strips;
pub(crate) mod svg;
mod unmeasured;
mod verdict;
mod waterfall;

use serde_json::Value;

use format::escape;
use read::Doc;

/// What stands in the page's `<style>`.
pub const STYLE: &str = include_str!("html/style.css");

/// SHA-256 of [`STYLE`] for a `Content-Security-Policy` header: `style-src 'sha256-…'`.
pub const STYLE_SHA256_BASE64: &str = "iHGsfDar703IGVeTo5imAi1JAm80nATTbH+Pu7+LIVM=";

/// The page of a report. Any JSON makes a page; a foreign one makes a page that says that nothing was measured.
///
/// Linear in the size of the report.
pub fn page(report: &Value) -> String {
    let doc = Doc::new(report);
    let model = doc.text("/model/name").unwrap_or("unnamed model");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'sha256-{STYLE_SHA256_BASE64}'; base-uri 'none'; form-action 'none'\">\n\
         <title>{} · pare report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(model)
    );
    for part in parts(&doc) {
        page.push_str(&part(&doc));
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// The sections, in their order.
fn parts(doc: &Doc<'_>) -> Vec<fn(&Doc<'_>) -> String> {
    if sensitivity::is_there(doc) {
        // There is one model, as it was: nothing to compare, and no file
        return vec![
            verdict::section,
            sensitivity::section,
            bytes::section,
            speed::section,
            provenance::section,
            unmeasured::section,
        ];
    }
    vec![
        verdict::section,
        plot::section,
        cost::section,
        stages::section,
        allocation::section,
        bytes::section,
        sites::section,
        probes::section,
        speed::section,
        files::section,
        provenance::section,
        unmeasured::section,
    ]
}

/// A section with a heading and a line that says what it shows.
fn titled(id: &str, title: &str, lead: &str, body: &str) -> String {
    format!("<section id=\"{id}\">\n<h2>{title}</h2>\n<p class=\"lead\">{lead}</p>\n{body}</section>\n")
}

/// A table that scrolls sideways where the page is too narrow. `head` and `rows` are cells with their tags.
fn table(label: &str, head: &str, rows: &str) -> String {
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\"><table>\n<thead><tr>{head}</tr>\
         </thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// Names and values, one beside the other. Values are HTML.
fn facts(rows: &[(&str, String)]) -> String {
    let rows = each(rows, |(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"));
    format!("<dl class=\"facts\">\n{rows}</dl>\n")
}

/// What `write` makes of each item, one after the other.
fn each<T>(items: impl IntoIterator<Item = T>, write: impl FnMut(T) -> String) -> String {
    items.into_iter().map(write).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests;
