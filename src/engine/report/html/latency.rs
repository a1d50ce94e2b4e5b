//! One call's time, original and result: a bar to the median, a dot at the 95% quantile.

use super::each;
use super::format::{fixed, milliseconds};
use super::read::Doc;
use super::svg::{figure, group, line, rect, text};

const WIDTH: f64 = 920.0;
const LEFT: f64 = 150.0;
const SPAN: f64 = 560.0;
const BAR: f64 = 20.0;
const ROW: f64 = 27.0;
/// A caption and two bars.
const ENTRY: f64 = 92.0;
/// Entries that are drawn; the table has all.
const MOST_ENTRIES: usize = 12;

/// The drawing; nothing where nothing can be drawn.
pub(super) fn latency(doc: &Doc<'_>) -> String {
    let entries = doc.len("/measurements/latency").min(MOST_ENTRIES);
    let times = |entry: usize, side: &str| {
        let time = |key: &str| {
            let time = doc.number(&format!("/measurements/latency/{entry}/{side}/{key}"))?;
            (0.0..1e12).contains(&time).then_some(time)
        };
        Some((time("median_ms")?, time("p95_ms")?))
    };
    let largest = (0..entries)
        .flat_map(|entry| ["original", "result"].map(|side| times(entry, side)))
        .flatten()
        .fold(0.0, |most: f64, (median, p95)| most.max(median).max(p95));
    if largest <= 0.0 {
        return String::new();
    }
    let x = |ms: f64| LEFT + SPAN * ms / largest;
    let (first, second) = doc.sides();
    let mut top = 0.0;
    let shapes = each(0..entries, |entry| {
        let mut shapes = text("caption", (LEFT, top + 14.0), "start", &conditions(doc, entry));
        let mut at = top + 22.0;
        for (side, label) in [("original", first), ("result", second)] {
            let Some((median, p95)) = times(entry, side) else { continue };
            let told = format!("{} · p95 {}", milliseconds(median), milliseconds(p95));
            let middle = at + BAR / 2.0;
            let bar = rect("", (LEFT, at), (x(median) - LEFT, BAR), "")
                + &line("whisker", (x(median), middle), (x(p95), middle))
                + &format!("<circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"4\"/>\n", x(p95));
            shapes.push_str(&text("tick", (LEFT - 12.0, at + 15.0), "end", label));
            shapes.push_str(&group(&format!("time {side}-time"), &format!("{label}: median {told}"), &bar));
            shapes.push_str(&text("value", (x(median.max(p95)) + 12.0, at + 15.0), "start", &told));
            at += ROW;
        }
        top += if at > top + 22.0 + ROW { ENTRY } else { ENTRY - ROW };
        shapes
    });
    figure((WIDTH, top), "Time of a call, median and 95% quantile: the table has the numbers", &shapes)
}

/// What was called, on how much, how often.
fn conditions(doc: &Doc<'_>, entry: usize) -> String {
    let whole = |key: &str| {
        let value = doc.number(&format!("/measurements/latency/{entry}/{key}"));
        value.map_or_else(|| "?".to_owned(), |value| fixed(value, 0))
    };
    let plural = |count: &str, one: &str| format!("{count} {one}{}", if count == "1" { "" } else { "s" });
    format!(
        "batch of {} × {}, {}, n = {}",
        plural(&whole("batch"), "row"),
        plural(&whole("length"), "token"),
        plural(&whole("threads"), "thread"),
        whole("result/n")
    )
}
