//! The sentence on top, what must not be overlooked, and the four or five numbers.

use super::format::{self, bytes, count, escape, fixed, milliseconds, name, percent, short_bytes, small};
use super::read::{Doc, segment};
use super::sensitivity;
use crate::engine::evaluate::metric::is_share;

pub(super) fn section(doc: &Doc<'_>) -> String {
    let summary = doc.text("/result/verdict/summary").unwrap_or("This report has no verdict.");
    format!(
        "<header>\n<p class=\"over\"><span class=\"brand\">pare</span> report · {}</p>\n<h1>{}</h1>\n{}</header>\n{}\
         <div class=\"tiles\">\n{}</div>\n",
        over(doc),
        // The document is plain ASCII; a minus sign reads better.
        escape(summary).replace(" -", " −"),
        goal(doc),
        notices(doc),
        tiles(doc)
    )
}

/// The model and the stages.
fn over(doc: &Doc<'_>) -> String {
    let model = escape(doc.text("/model/name").unwrap_or("unnamed model"));
    let stages: Vec<String> = (0..doc.len("/result/stages"))
        .filter_map(|number| doc.text(&format!("/result/stages/{number}/method")).map(escape))
        .collect();
    let architecture = doc.text("/model/architecture").map(|name| format!(" · {}", escape(name))).unwrap_or_default();
    let stages = if stages.is_empty() { String::new() } else { format!(" · {}", stages.join(" → ")) };
    format!("{model}{architecture}{stages}")
}

fn goal(doc: &Doc<'_>) -> &'static str {
    match doc.flag("/result/verdict/goal_met") {
        Some(true) => "<p class=\"goal good\">The recipe’s goal is met.</p>\n",
        Some(false) => "<p class=\"goal bad\">The recipe’s goal is not met; this is the best that was found.</p>\n",
        None => "",
    }
}

/// What must not be overlooked.
fn notices(doc: &Doc<'_>) -> String {
    below_floor(doc) + &no_quality(doc)
}

fn below_floor(doc: &Doc<'_>) -> String {
    if doc.flag("/result/verdict/reference_floor/below") != Some(true) {
        return String::new();
    }
    let floor = doc.number("/result/verdict/reference_floor/accuracy").map(percent).unwrap_or_default();
    format!(
        "<p class=\"notice bad\" role=\"note\"><strong>The result is below the reference floor of {floor}.</strong> \
         A trivial baseline does better: this model should not be used.</p>\n"
    )
}

fn no_quality(doc: &Doc<'_>) -> String {
    // The table of a sensitivity job is of one model, as it is
    if sensitivity::is_there(doc) || !doc.keys("/result/after/quality").is_empty() {
        return String::new();
    }
    let reason = doc.reason("/result/after/quality").unwrap_or("the report gives no reason");
    let rest = match doc.text("/result/after/fidelity/measured_on") {
        Some("vocabulary") => {
            " Fidelity was measured on text drawn from the model’s own vocabulary, which is not the text that it will \
             meet."
        }
        Some("held_out_calibration") => " Fidelity was measured on held-out calibration rows.",
        Some(_) => " Fidelity to the original was measured.",
        None => " Fidelity was not measured either: nothing is known of what compression cost.",
    };
    format!(
        "<p class=\"notice warn\" role=\"note\"><strong>Task quality was not measured:</strong> {}.{rest}</p>\n",
        escape(reason)
    )
}

fn tiles(doc: &Doc<'_>) -> String {
    if sensitivity::is_there(doc) {
        return [size(doc), parameters(doc)].concat();
    }
    let alone = doc.is_measured_only() && doc.get("/result/before").is_none();
    // Of a model on its own there is nothing to agree with and nothing that it was smaller than
    let (agreement, bits) = if alone { (parameters(doc), String::new()) } else { (agreement(doc), bits(doc)) };
    [size(doc), quality(doc), agreement, bits, latency(doc)].concat()
}

fn tile(label: &str, value: &str, note: &str) -> String {
    format!(
        "<div class=\"tile\"><p class=\"label\">{label}</p><p class=\"value\">{value}</p><p class=\"note\">{note}</p>\
         </div>\n"
    )
}

fn size(doc: &Doc<'_>) -> String {
    let note = match (doc.number("/result/before/size_bytes"), doc.number("/result/after/ratio_to_stored")) {
        (Some(before), Some(ratio)) => format!("from {} · {}×", short_bytes(before), fixed(ratio, 2)),
        (Some(before), None) => format!("from {}", short_bytes(before)),
        _ => "weight files".to_owned(),
    };
    tile("Size", &doc.show("/result/after/size_bytes", bytes), &note)
}

fn quality(doc: &Doc<'_>) -> String {
    let Some(metric) = doc.metric() else {
        return tile("Task quality", "<span class=\"none\">not measured</span>", "");
    };
    let pointer = format!("/result/after/quality/{}/value", segment(metric));
    let change = |end: &str| doc.number(&format!("/result/after/quality_change/{}/{end}", segment(metric)));
    let note = match (change("value"), change("low"), change("high")) {
        (Some(value), Some(low), Some(high)) => {
            let (moved, unit) = (format::change(metric), if is_share(metric) { " points" } else { "" });
            format!("{}{unit} · 95% {} to {}", moved(value), moved(low), moved(high))
        }
        _ => {
            let end = |end: &str| doc.number(&format!("/result/after/quality/{}/{end}", segment(metric)));
            let shown = format::value(metric);
            let interval = end("low").zip(end("high"));
            interval.map_or_else(String::new, |(low, high)| format!("95% {} to {}", shown(low), shown(high)))
        }
    };
    tile(&name(metric), &doc.show(&pointer, format::value(metric)), &note)
}

fn agreement(doc: &Doc<'_>) -> String {
    let kl = doc.number("/result/after/fidelity/kl/mean");
    let note = kl.map(|kl| format!("mean KL {} nats", small(kl))).unwrap_or_default();
    if doc.number("/result/after/fidelity/top1_agreement/value").is_some() {
        return tile("Same answer", &doc.show("/result/after/fidelity/top1_agreement/value", percent), &note);
    }
    if doc.number("/result/after/fidelity/cosine").is_some() {
        return tile("Cosine to the original", &doc.show("/result/after/fidelity/cosine", |x| fixed(x, 4)), &note);
    }
    let numbers = "/result/after/fidelity/numbers/relative_rms_difference";
    if doc.number(numbers).is_some() {
        let note = "of the original’s deviation, root mean square";
        return tile("Off the original’s numbers by", &doc.show(numbers, percent), note);
    }
    tile("Fidelity", "<span class=\"none\">not measured</span>", "")
}

fn parameters(doc: &Doc<'_>) -> String {
    tile("Parameters", &doc.show("/result/after/parameters", count), "")
}

fn bits(doc: &Doc<'_>) -> String {
    let f32 = doc.number("/result/after/ratio_to_f32");
    let note = f32.map(|ratio| format!("{}× under f32", fixed(ratio, 2))).unwrap_or_default();
    tile("Bits per weight", &doc.show("/result/after/bits_per_weight", |x| fixed(x, 2)), &note)
}

fn latency(doc: &Doc<'_>) -> String {
    let Some(result) = doc.number("/measurements/latency/0/result/median_ms") else { return String::new() };
    let note = match doc.number("/measurements/latency/0/original/median_ms") {
        Some(original) if result > 0.0 => {
            format!("from {} · {}×", milliseconds(original), fixed(original / result, 2))
        }
        _ => "median of a call".to_owned(),
    };
    tile("Latency", &milliseconds(result), &note)
}
