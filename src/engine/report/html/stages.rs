//! Which stage saved how much and cost how much.

use super::format::{self, bytes, bytes_change, count, escape, name, percent, small};
use super::read::{Doc, segment};
use super::waterfall::waterfall;
use super::{table, titled};

pub(super) fn section(doc: &Doc<'_>) -> String {
    let stages = doc.len("/result/stages");
    let lead =
        "What each stage saved, and what the model was worth after it. A bar begins where the one before it ended.";
    if doc.is_measured_only() {
        return String::new();
    }
    if stages == 0 {
        return titled("stages", "Stage by stage", "No stage was run.", "");
    }
    let metric = doc.metric().or_else(|| doc.keys("/result/stages/0/quality").first().copied());
    let title = metric.map_or_else(|| "Quality".to_owned(), name);
    let head = format!(
        "<th scope=\"col\">Model</th><th scope=\"col\">Size</th><th scope=\"col\">Saved</th>\
         <th scope=\"col\">Parameters</th><th scope=\"col\">{title}</th><th scope=\"col\" title=\"Of shares in points\">Change</th>\
         <th scope=\"col\">Same answer</th><th scope=\"col\">Mean KL</th><th scope=\"col\">Fallbacks</th>"
    );
    let mut rows = row(doc, "/result/before", None, metric, "original");
    let mut before = "/result/before".to_owned();
    for number in 0..stages {
        let base = format!("/result/stages/{number}");
        let method = escape(doc.text(&format!("{base}/method")).unwrap_or("stage"));
        rows.push_str(&row(doc, &base, Some(&before), metric, &format!("{}. {method}", number + 1)));
        before = base;
    }
    titled("stages", "Stage by stage", lead, &(waterfall(doc) + &table("Stages", &head, &rows)))
}

/// One model: `label` is HTML; `before` is the pointer of the model that the stage began with.
fn row(doc: &Doc<'_>, base: &str, before: Option<&str>, metric: Option<&str>, label: &str) -> String {
    let difference = |path: &str| {
        let now = doc.number(&format!("{base}/{path}"))?;
        Some(now - doc.number(&format!("{}/{path}", before?))?)
    };
    let shown = metric.unwrap_or("accuracy");
    let value = format!("quality/{}/value", segment(shown));
    // The original has no fidelity to itself and no stage before it: those cells are empty, not unmeasured.
    let only_stages = |cell: String| if before.is_some() { cell } else { String::new() };
    let at = |path: &str| format!("{base}/{path}");
    let fallbacks = doc.len(&at("fallbacks"));
    format!(
        "<tr><th scope=\"row\">{label}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{}</td></tr>\n",
        doc.show(&at("size_bytes"), bytes),
        only_stages(doc.or_dash(difference("size_bytes"), base, bytes_change)),
        doc.show(&at("parameters"), count),
        doc.or_dash(doc.number(&at(&value)), &at("quality"), format::value(shown)),
        only_stages(doc.or_dash(difference(&value), &at("quality"), format::change(shown))),
        only_stages(doc.show(&at("fidelity/top1_agreement/value"), percent)),
        only_stages(doc.show(&at("fidelity/kl/mean"), small)),
        only_stages(if fallbacks == 0 { "none".to_owned() } else { fallbacks.to_string() }),
    )
}
