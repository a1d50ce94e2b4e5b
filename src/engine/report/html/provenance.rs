//! Where everything came from, and all that did not go as planned.

use serde_json::Value;

use super::format::{bytes, escape, grouped, hash};
use super::read::{Doc, segment};
use super::{each, facts, table, titled};

pub(super) fn section(doc: &Doc<'_>) -> String {
    let lead = "What is needed to make this result again, and what did not go as planned.";
    let body = [fallbacks(doc), origin(doc), inputs(doc), defaults(doc), recipe(doc)].concat();
    titled("provenance", "Provenance", lead, &body)
}

fn fallbacks(doc: &Doc<'_>) -> String {
    let count = doc.len("/result/fallbacks");
    if count == 0 {
        return "<p>No fallback was taken.</p>\n".to_owned();
    }
    let rows = each(0..count, |number| {
        let at = |key: &str| format!("/result/fallbacks/{number}/{key}");
        let site = doc.text(&at("site")).filter(|site| !site.is_empty()).unwrap_or("the whole model");
        format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td class=\"text wrap\">{}</td>\
             <td class=\"text wrap\">{}</td></tr>\n",
            escape(site),
            doc.show_text(&at("what")),
            doc.show_text(&at("why"))
        )
    });
    let head = "<th scope=\"col\">Fallback at</th><th scope=\"col\" class=\"text\">What was done</th>\
                <th scope=\"col\" class=\"text\">Why</th>";
    table("Fallbacks", head, &rows)
}

fn origin(doc: &Doc<'_>) -> String {
    let at = |key: &str| format!("/provenance/{key}");
    let text = |key: &str| doc.show_text(&at(key));
    let sha = |key: &str| doc.or_dash(doc.text(&at(key)), &at(key), hash);
    let whole = |key: &str| doc.or_dash(doc.whole(&at(key)), &at(key), grouped);
    let protocol = match doc.text(&at("protocol/description")) {
        Some(protocol) => format!("{}; rows of at most {} tokens", escape(protocol), whole("protocol/max_seq_length")),
        None => doc.show_text(&at("protocol")),
    };
    facts(&[
        ("pare", format!("{} · binary {}", text("pare_version"), sha("host/binary_sha256"))),
        ("Recipe", sha("recipe_sha256")),
        ("Host", format!("{} · {}", text("host/cpu"), text("host/os"))),
        ("Instructions", text("host/instruction_set")),
        ("Device", text("device")),
        ("Threads", whole("threads")),
        ("Seed", whole("seed")),
        ("Rows as tokens", sha("evaluation/rows_sha256")),
    ]) + &format!("<dl class=\"facts\"><div class=\"wide\"><dt>Protocol</dt><dd>{protocol}</dd></div></dl>\n")
}

/// Every file that was read, with its hash.
fn inputs(doc: &Doc<'_>) -> String {
    let mut rows = file_rows(doc, "model", "/provenance/model_files");
    rows.push_str(&file_rows(doc, "reference", "/provenance/reference_files"));
    for role in doc.keys("/provenance/datasets") {
        let base = format!("/provenance/datasets/{}", segment(role));
        let name = escape(doc.text(&format!("{base}/name")).unwrap_or(""));
        let count = doc.whole(&format!("{base}/rows")).map(|rows| format!(", {} rows", grouped(rows)));
        let label = format!("{} <span class=\"muted\">{name}{}</span>", escape(role), count.unwrap_or_default());
        rows.push_str(&file_rows(doc, &label, &format!("{base}/files")));
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = "<th scope=\"col\">Input</th><th scope=\"col\" class=\"text\">File</th><th scope=\"col\">Size</th>\
                <th scope=\"col\">SHA-256</th>";
    table("Inputs", head, &rows)
}

/// `label` is HTML.
fn file_rows(doc: &Doc<'_>, label: &str, list: &str) -> String {
    each(0..doc.len(list), |number| {
        let at = |key: &str| format!("{list}/{number}/{key}");
        format!(
            "<tr><th scope=\"row\">{label}</th><td class=\"text\"><code>{}</code></td><td>{}</td><td>{}</td></tr>\n",
            doc.show_text(&at("path")),
            doc.show(&at("size_bytes"), bytes),
            doc.or_dash(doc.text(&at("sha256")), &at("sha256"), hash),
        )
    })
}

fn defaults(doc: &Doc<'_>) -> String {
    let settings = doc.get("/provenance/resolved_defaults").and_then(Value::as_object);
    let rows = each(settings.into_iter().flatten(), |(pointer, value)| {
        let (pointer, value) = (escape(pointer), escape(&value.to_string()));
        format!(
            "<tr><th scope=\"row\"><code>{pointer}</code></th><td class=\"text wrap\"><code>{value}</code></td></tr>\n"
        )
    });
    if rows.is_empty() {
        return String::new();
    }
    let head = "<th scope=\"col\">Setting</th><th scope=\"col\" class=\"text\">Value</th>";
    format!(
        "<details><summary>Settings that the recipe left open</summary>\n{}</details>\n",
        table("Resolved defaults", head, &rows)
    )
}

fn recipe(doc: &Doc<'_>) -> String {
    let Some(recipe) = doc.get("/recipe") else { return String::new() };
    let text = serde_json::to_string_pretty(recipe).unwrap_or_default();
    format!("<details><summary>The recipe as written</summary>\n<pre>{}</pre></details>\n", escape(&text))
}
