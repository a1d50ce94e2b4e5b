//! Bars of bytes, as the report draws them.

use super::show::{Markup, name, short_bytes};
use crate::engine::report::html::svg::{figure, rect, text};

const WIDTH: f64 = 920.0;
const ROW: f64 = 44.0;

/// A row of a table of shares.
pub(super) struct Share {
    pub(super) name: Markup,
    pub(super) bytes: Markup,
    pub(super) share: String,
}

/// A bar, and the table that says the same.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) bar: Markup,
    pub(super) rows: Vec<Share>,
    pub(super) total: Markup,
}

/// The colour of a group.
fn class(group: &str) -> &'static str {
    match group {
        "embedding" => "c-embedding",
        "attention" => "c-attention",
        "mlp" => "c-mlp",
        "norms" => "c-norms",
        "head" => "c-head",
        _ => "c-metadata",
    }
}

/// Groups of bytes side by side.
pub(super) fn groups(groups: &[(&'static str, u64)]) -> Groups {
    let total = groups.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
    if total == 0 {
        return Groups::default();
    }
    let mut left = 0.0;
    let mut shapes = String::new();
    let mut rows = Vec::new();
    for (group, bytes) in groups {
        let width = WIDTH * *bytes as f64 / total as f64;
        let title = format!("{}: {}", name(group), short_bytes(*bytes as f64));
        shapes.push_str(&rect(class(group), (left, 2.0), (width, 28.0), &title));
        left += width;
        rows.push(Share {
            name: Markup(format!(
                "<svg class=\"swatch\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"{}\" width=\"10\" \
                 height=\"10\"/></svg>{}",
                class(group),
                name(group)
            )),
            bytes: Markup::bytes(*bytes),
            share: percent(*bytes, total),
        });
    }
    let label = "Bytes by group: the table below has the numbers";
    Groups { bar: Markup(figure((WIDTH, 32.0), label, &shapes)), rows, total: Markup::bytes(total) }
}

/// Sizes one under the other, to one scale.
pub(super) fn sizes(sizes: &[(String, u64)]) -> Markup {
    let (left, most) = (128.0, sizes.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0).max(1));
    let scale = (WIDTH - left - 90.0) / most as f64;
    let mut shapes = String::new();
    for (number, (label, bytes)) in sizes.iter().enumerate() {
        let (top, width) = (ROW * number as f64, *bytes as f64 * scale);
        let class = if number == 0 { "track-full" } else { "fill" };
        let label = Markup::text(label);
        shapes.push_str(&text("tick", (left - 12.0, top + 21.0), "end", &label.0));
        shapes.push_str(&rect(class, (left, top + 2.0), (width, 28.0), ""));
        shapes.push_str(&text("tick strong", (left + width + 10.0, top + 21.0), "start", &short_bytes(*bytes as f64)));
    }
    Markup(figure((WIDTH, ROW * sizes.len() as f64), "Bytes after each stage: the table has the numbers", &shapes))
}

/// A small bar of a share.
pub(super) fn spark(part: u64, whole: u64) -> Markup {
    let width = 120.0 * part as f64 / whole.max(1) as f64;
    Markup(format!(
        "<svg class=\"spark\" viewBox=\"0 0 120 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect \
         class=\"track\" width=\"120\" height=\"8\"/><rect class=\"fill\" width=\"{width:.2}\" height=\"8\"/></svg>"
    ))
}

/// `12.3%`
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", 100.0 * part as f64 / whole.max(1) as f64)
}
