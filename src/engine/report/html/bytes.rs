//! Where the bytes of the weight files are, before and after.

use super::format::{bytes, bytes_change, escape, fixed, name, short_bytes};
use super::read::{Doc, segment};
use super::svg::{figure, rect, text};
use super::{each, table, titled};

const WIDTH: f64 = 920.0;
const LEFT: f64 = 100.0;
const ROW: f64 = 44.0;

/// A category's bytes.
struct Part<'a> {
    category: &'a str,
    before: Option<u64>,
    after: u64,
}

pub(super) fn section(doc: &Doc<'_>) -> String {
    let base = "/result/bytes_by_category";
    let parts: Vec<Part<'_>> = doc
        .keys(base)
        .into_iter()
        .map(|category| Part {
            category,
            before: doc.whole(&format!("{base}/{}/before", segment(category))),
            after: doc.whole(&format!("{base}/{}/after", segment(category))).unwrap_or(0),
        })
        .collect();
    if parts.is_empty() {
        return titled("bytes", "Where the bytes went", "The report does not account for them.", "");
    }
    let (title, lead) = if parts.iter().any(|part| part.before.is_some()) {
        ("Where the bytes went", "Every byte of the weight files, both bars to one scale.")
    } else {
        ("Where the bytes are", "Every byte of the weight files.")
    };
    titled("bytes", title, lead, &format!("{}{}", bars(&parts, sides(doc)), sums(doc, &parts)))
}

/// What the bars are called.
fn sides(doc: &Doc<'_>) -> (&'static str, &'static str) {
    if doc.is_measured_only() { doc.sides() } else { ("before", "after") }
}

fn total(parts: &[Part<'_>], of: impl Fn(&Part<'_>) -> u64) -> u64 {
    parts.iter().map(of).fold(0, u64::saturating_add)
}

fn bars(parts: &[Part<'_>], (first, second): (&str, &str)) -> String {
    let (before, after) = (total(parts, |part| part.before.unwrap_or(0)), total(parts, |part| part.after));
    let scale = (WIDTH - LEFT - 76.0) / before.max(after).max(1) as f64;
    let mut rows = Vec::new();
    if before > 0 {
        rows.push(bar(parts, first, |part| part.before.unwrap_or(0), scale, 0.0));
    }
    rows.push(bar(parts, second, |part| part.after, scale, ROW * rows.len() as f64));
    let label = "Bytes by category before and after: the table below has the numbers";
    figure((WIDTH, ROW * rows.len() as f64), label, &rows.concat())
}

fn bar(parts: &[Part<'_>], label: &str, of: impl Fn(&Part<'_>) -> u64, scale: f64, top: f64) -> String {
    let mut left = LEFT;
    let shapes = each(parts, |part| {
        let (from, width) = (left, of(part) as f64 * scale);
        left += width;
        if width < 0.05 {
            return String::new();
        }
        let title = format!("{} {label}: {}", name(part.category), short_bytes(of(part) as f64));
        let shape = rect(class(part.category), (from, top + 2.0), (width, 28.0), &title);
        let label = name(part.category);
        // Of each what is read on it; the others are narrow
        let ink = match part.category {
            "embedding" | "attention" | "mlp" => "on-bar",
            "head" => "on-head",
            _ => return shape,
        };
        if width < 9.0 * label.chars().count() as f64 {
            return shape;
        }
        shape + &text(ink, (from + 8.0, top + 21.0), "start", &label)
    });
    let all = short_bytes(total(parts, of) as f64);
    let line = top + 21.0;
    text("tick", (LEFT - 12.0, line), "end", label) + &shapes + &text("tick strong", (left + 10.0, line), "start", &all)
}

/// The colour of a category; names that are not ours share one.
fn class(category: &str) -> &'static str {
    match category {
        "embedding" => "c-embedding",
        "attention" => "c-attention",
        "mlp" => "c-mlp",
        "norms" => "c-norms",
        "head" => "c-head",
        "scales_and_zeros" => "c-scales",
        _ => "c-metadata",
    }
}

fn sums(doc: &Doc<'_>, parts: &[Part<'_>]) -> String {
    let (before, after) = (total(parts, |part| part.before.unwrap_or(0)), total(parts, |part| part.after));
    let known = parts.iter().any(|part| part.before.is_some());
    let (first, second) = sides(doc);
    // Of a model on its own there is one column
    let (head, cells) = if known {
        let change = bytes_change(after as f64 - before as f64);
        let head = [&*name(first), &*name(second), "Change"].map(|title| format!("<th scope=\"col\">{title}</th>"));
        let cells = format!("<td>{}</td><td>{}</td><td>{change}</td>", bytes(before as f64), bytes(after as f64));
        (head.concat(), cells)
    } else {
        ("<th scope=\"col\">Bytes</th>".to_owned(), format!("<td>{}</td>", bytes(after as f64)))
    };
    let rows = each(parts, |part| row(doc, part, (after, known)))
        + &format!("<tr class=\"total\"><th scope=\"row\">Weight files</th>{cells}<td>100%</td></tr>\n");
    let share = if known { "Share of the result" } else { "Share" };
    let head = format!("<th scope=\"col\">Category</th>{head}<th scope=\"col\">{share}</th>");
    table("Bytes by category", &head, &rows) + &mismatch(doc, before, after)
}

fn row(doc: &Doc<'_>, part: &Part<'_>, (all, known): (u64, bool)) -> String {
    let pointer = format!("/result/bytes_by_category/{}/before", segment(part.category));
    let change = part.before.map(|before| part.after as f64 - before as f64);
    let compared = |cell: String| if known { format!("<td>{cell}</td>") } else { String::new() };
    format!(
        "<tr><th scope=\"row\"><svg class=\"swatch\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"{}\" \
         width=\"10\" height=\"10\"/></svg>{}</th>{}<td>{}</td>{}<td>{}%</td></tr>\n",
        class(part.category),
        name(part.category),
        compared(doc.or_dash(part.before, &pointer, |before| bytes(before as f64))),
        bytes(part.after as f64),
        compared(doc.or_dash(change, &pointer, bytes_change)),
        fixed(100.0 * part.after as f64 / all.max(1) as f64, 1),
    )
}

/// Says so where the table is not the files.
fn mismatch(doc: &Doc<'_>, before: u64, after: u64) -> String {
    let mut wrong = Vec::new();
    for (side, sum) in [("before", before), ("after", after)] {
        if let Some(size) = doc.whole(&format!("/result/{side}/size_bytes")).filter(|size| *size != sum) {
            wrong.push(format!("{side} they sum to {sum} bytes, the weight files to {size}"));
        }
    }
    if wrong.is_empty() {
        return String::new();
    }
    format!(
        "<p class=\"notice bad\"><strong>The categories are not the files:</strong> {}.</p>\n",
        escape(&wrong.join("; "))
    )
}
