//! What it cost: task quality with its paired change, and fidelity to the original.

use super::format::{self, escape, fixed, grouped, name, percent, small, value};
use super::read::{Doc, segment};
use super::{each, facts, numbers, table, titled};
use crate::engine::evaluate::metric::is_share;

pub(super) fn section(doc: &Doc<'_>) -> String {
    let is_run = ["quality", "fidelity"].iter().any(|key| doc.get(&format!("/result/after/{key}")).is_some());
    let (title, lead) = match (doc.is_measured_only(), doc.get("/result/before").is_some()) {
        (true, false) => ("What it is worth", "Task quality, with the 95% interval of the model alone."),
        (true, true) => (
            "How the two compare",
            "Both answered the same rows in one process. The interval is that of the difference.",
        ),
        _ if !is_run => ("What it cost", "The models were not run."),
        _ => (
            "What it cost",
            "Original and result answered the same rows in one process. The interval is that of the difference.",
        ),
    };
    titled("cost", title, lead, &format!("{}{}", quality(doc), fidelity(doc)))
}

fn quality(doc: &Doc<'_>) -> String {
    let metrics = doc.keys("/result/after/quality");
    if metrics.is_empty() {
        let reason = doc.reason("/result/after/quality").unwrap_or("the report gives no reason");
        return format!(
            "<p class=\"missing\"><strong>Task quality was not measured:</strong> {}.</p>\n",
            escape(reason)
        );
    }
    if doc.get("/result/before").is_none() {
        return alone(doc, &metrics);
    }
    let rows = each(metrics, |metric| quality_row(doc, metric));
    let [first, second] = [doc.sides().0, doc.sides().1].map(name);
    let counted = if is_by_token(doc) { "Tokens" } else { "Rows" };
    let head = format!(
        "<th scope=\"col\">Metric</th><th scope=\"col\">{first}</th><th scope=\"col\">{second}</th>\
         <th scope=\"col\" title=\"Of shares in points\">Change</th><th scope=\"col\">95% interval</th>\
         <th scope=\"col\">p</th><th scope=\"col\" class=\"text\">Test</th><th scope=\"col\">{counted}</th>\
         <th scope=\"col\" title=\"The difference that rows like these show four times in five\">Detectable from</th>"
    );
    table("Task quality", &head, &rows)
}

/// Quality of a model that there is nothing to compare with.
fn alone(doc: &Doc<'_>, metrics: &[&str]) -> String {
    let rows = each(metrics, |metric| {
        let at = |key: &str| format!("/result/after/quality/{}/{key}", segment(metric));
        let interval = doc.number(&at("low")).zip(doc.number(&at("high")));
        let shown = value(metric);
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            name(metric),
            doc.show(&at("value"), &shown),
            doc.or_dash(interval, &at("low"), |(low, high)| format!("{} to {}", shown(low), shown(high))),
            doc.or_dash(doc.whole(&at("n")), &at("n"), grouped),
        )
    });
    let head = "<th scope=\"col\">Metric</th><th scope=\"col\">Value</th><th scope=\"col\">95% interval</th>\
                <th scope=\"col\">n</th>";
    table("Task quality", head, &rows)
}

fn quality_row(doc: &Doc<'_>, metric: &str) -> String {
    let key = segment(metric);
    let change = |end: &str| format!("/result/after/quality_change/{key}/{end}");
    let moved = format::change(metric);
    let interval = doc.number(&change("low")).zip(doc.number(&change("high")));
    let test = match doc.text(&change("test")) {
        Some("mcnemar_exact") => mcnemar(doc, &key),
        Some("paired_bootstrap") => "paired bootstrap".to_owned(),
        _ => doc.show_text(&change("test")),
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{test}</td>\
         <td>{}</td><td>{}</td></tr>\n",
        name(metric),
        doc.show(&format!("/result/before/quality/{key}/value"), value(metric)),
        doc.show(&format!("/result/after/quality/{key}/value"), value(metric)),
        doc.show(&change("value"), &moved),
        doc.or_dash(interval, &change("low"), |(low, high)| format!("{} to {}", moved(low), moved(high))),
        doc.show(&change("p_value"), small),
        doc.or_dash(doc.whole(&format!("/result/after/quality/{key}/n")), &change("n"), grouped),
        doc.show(&change("smallest_detectable_difference"), |x| {
            if is_share(metric) { format!("±{}", fixed(100.0 * x, 2)) } else { format!("±{}", fixed(x, 3)) }
        }),
    )
}

/// The test and the rows that it counts.
fn mcnemar(doc: &Doc<'_>, key: &str) -> String {
    let count = |which: &str| doc.whole(&format!("/result/after/quality_change/{key}/discordant/{which}"));
    match (count("original_only"), count("result_only")) {
        (Some(b), Some(c)) => format!(
            "<span title=\"{} rows only the original got right, {} only the result\">McNemar, exact ({b} : {c})</span>",
            grouped(b),
            grouped(c)
        ),
        _ => "McNemar, exact".to_owned(),
    }
}

/// Whether answers are tokens.
fn is_by_token(doc: &Doc<'_>) -> bool {
    matches!(doc.text("/model/task"), Some("causal_language" | "masked_language"))
}

/// What only models of this kind are compared by.
fn own_measure(doc: &Doc<'_>) -> Option<(&'static str, String)> {
    let measures = [("Perplexity, ratio", "perplexity_ratio"), ("Similarities, Spearman", "similarity_spearman")];
    let found = |key: &str| doc.number(&format!("/result/after/fidelity/{key}")).map(|x| fixed(x, 5));
    measures.into_iter().find_map(|(label, key)| Some((label, found(key)?)))
}

fn fidelity(doc: &Doc<'_>) -> String {
    let base = "/result/after/fidelity";
    if doc.get(base).is_none() {
        if doc.is_measured_only() && doc.get("/result/before").is_none() {
            return String::new(); // there is nothing to be faithful to
        }
        let reason = doc.reason(base).unwrap_or("the report gives no reason");
        return format!("<p class=\"missing\"><strong>Fidelity was not measured:</strong> {}.</p>\n", escape(reason));
    }
    let at = |key: &str| format!("{base}/{key}");
    let on = match doc.text(&at("measured_on")) {
        Some("evaluation") => "the evaluation rows".to_owned(),
        Some("held_out_calibration") => "held-out calibration rows".to_owned(),
        Some("vocabulary") => "text drawn from the model’s own vocabulary".to_owned(),
        _ => doc.show_text(&at("measured_on")),
    };
    let interval = doc.number(&at("top1_agreement/low")).zip(doc.number(&at("top1_agreement/high")));
    let agreement = doc.show(&at("top1_agreement/value"), |value| match interval {
        Some((low, high)) => {
            format!(
                "{} <span class=\"muted\">95% interval {} to {}</span>",
                percent(value),
                percent(low),
                percent(high)
            )
        }
        None => percent(value),
    });
    let count = doc.or_dash(doc.whole(&at("n")), &at("n"), grouped);
    let unit = match doc.text(&at("unit")) {
        Some("token") => "tokens",
        Some("word") => "words",
        _ => "rows",
    };
    if numbers::are_there(doc) {
        let measured = facts(&[("Measured on", format!("{count} {unit}: {on}"))]);
        return format!("<h3>Fidelity to the {}</h3>\n{measured}{}", doc.sides().0, numbers::section(doc));
    }
    let mut measures = vec![
        ("Measured on", format!("{count} {unit}: {on}")),
        ("Same answer", agreement),
        ("Cosine", doc.show(&at("cosine"), |x| fixed(x, 5))),
    ];
    measures.extend(own_measure(doc));
    format!("<h3>Fidelity to the {}</h3>\n{}{}", doc.sides().0, facts(&measures), divergence(doc))
}

/// How far the outputs are apart, as distributions.
fn divergence(doc: &Doc<'_>) -> String {
    let nats = |key: &str| doc.show(&format!("/result/after/fidelity/kl/{key}"), small);
    let (first, second) = doc.sides();
    table(
        "Divergence of the outputs",
        "<th scope=\"col\">KL divergence, nats</th><th scope=\"col\">Mean</th><th scope=\"col\">Median</th>\
         <th scope=\"col\">95%</th><th scope=\"col\">99%</th><th scope=\"col\">Largest</th>\
         <th scope=\"col\" title=\"The original against a second scoring of itself, at most 64 rows\">Floor</th>",
        &format!(
            "<tr><th scope=\"row\">{first} ‖ {second}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td></tr>\n",
            nats("mean"),
            nats("median"),
            nats("p95"),
            nats("p99"),
            nats("max"),
            nats("floor"),
        ),
    )
}
