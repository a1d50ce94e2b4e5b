//! Bytes stage by stage: each bar begins where the one before it ended, with what the model was worth then beside it.

use super::format::{self, escape, grouped, name, short_bytes, signed_bytes, small};
use super::read::{Doc, segment};
use super::svg::{figure, group, line, rect, text};

const WIDTH: f64 = 920.0;
const LEFT: f64 = 150.0;
const SPAN: f64 = 400.0;
const TOP: f64 = 30.0;
const ROW: f64 = 36.0;
const BAR: f64 = 22.0;
/// Right ends of the columns beside the bars.
const COLUMNS: [f64; 2] = [775.0, 905.0];

/// The model from one size to the next.
pub(super) struct Step {
    /// HTML.
    pub(super) label: String,
    pub(super) from: f64,
    pub(super) to: f64,
    /// Where the report tells of the model after it.
    pub(super) base: String,
}

/// The stages; `None` where a size is missing.
pub(super) fn steps(doc: &Doc<'_>) -> Option<Vec<Step>> {
    let mut from = doc.number("/result/before/size_bytes")?;
    let step = |number: usize| {
        let base = format!("/result/stages/{number}");
        let to = doc.number(&format!("{base}/size_bytes"))?;
        let method = escape(doc.text(&format!("{base}/method")).unwrap_or("stage"));
        let step = Step { label: format!("{}. {method}", number + 1), from, to, base };
        from = to;
        Some(step)
    };
    (0..doc.len("/result/stages")).map(step).collect()
}

/// The drawing; nothing where the sizes are not known, or there are very many stages.
pub(super) fn waterfall(doc: &Doc<'_>) -> String {
    let Some(steps) = steps(doc).filter(|steps| (1..=20).contains(&steps.len())) else { return String::new() };
    let largest = steps.iter().map(|step| step.from.max(step.to)).fold(1.0, f64::max);
    let beside = Beside::of(doc);
    let mut shapes = beside.heads();
    let last = steps.len() + 1;
    for row in 0..=last {
        let top = TOP + ROW * row as f64;
        let step = row.checked_sub(1).and_then(|place| steps.get(place));
        let (label, from, to, base) = match step {
            Some(step) => (step.label.as_str(), step.from, step.to, step.base.as_str()),
            None if row == 0 => ("original", 0.0, steps.first().map_or(0.0, |step| step.from), "/result/before"),
            None => ("result", 0.0, steps.last().map_or(0.0, |step| step.to), "/result/after"),
        };
        let x = |bytes: f64| LEFT + SPAN * bytes / largest;
        let (low, high) = (x(from.min(to)), x(from.max(to)));
        let (kind, title, told) = match step {
            Some(_) => {
                let way = if to > from { "more" } else { "less" };
                let title = format!("{label}: {} bytes {way}, {} left", whole((from - to).abs()), whole(to));
                (if to > from { "grown" } else { "saved" }, title, signed_bytes(to - from))
            }
            None => ("left", format!("{label}: {} bytes", whole(to)), short_bytes(to)),
        };
        // What is too thin to be seen is a line
        let bar = rect("", (low, top), ((high - low).max(1.5), BAR), "");
        shapes.push_str(&text("tick", (LEFT - 12.0, top + 16.0), "end", label));
        shapes.push_str(&group(&format!("flow {kind}"), &title, &bar));
        shapes.push_str(&text("value", (high + 8.0, top + 16.0), "start", &told));
        if row < last {
            shapes.push_str(&line("link", (x(to), top + BAR), (x(to), top + ROW)));
        }
        shapes.push_str(&beside.row(doc, base, top + 16.0, row == 0));
    }
    let label = "Bytes from the original to the result, stage by stage: the table has the numbers";
    figure((WIDTH, TOP + ROW * (last + 1) as f64 - 8.0), label, &shapes)
}

fn whole(bytes: f64) -> String {
    grouped(bytes.clamp(0.0, 1e18) as u64)
}

/// What stands beside the bars: the metric, and how near the answers are to the original's.
struct Beside {
    metric: Option<String>,
    /// Where it stands, and what it is called.
    nearness: Option<(&'static str, &'static str)>,
}

impl Beside {
    fn of(doc: &Doc<'_>) -> Self {
        let metric = doc.metric().or_else(|| doc.keys("/result/stages/0/quality").first().copied());
        let measures = [("fidelity/kl/mean", "mean KL"), ("fidelity/cosine", "cosine")];
        let is_known = |(at, _): &(&str, &str)| doc.number(&format!("/result/after/{at}")).is_some();
        let nearness = measures.into_iter().find(is_known);
        Self { metric: metric.map(str::to_owned), nearness }
    }

    fn heads(&self) -> String {
        let metric = self.metric.as_deref().map(name).unwrap_or_default();
        let [first, second] = COLUMNS;
        let bytes = text("tick", (LEFT, 14.0), "start", "weight files");
        let quality = text("tick", (first, 14.0), "end", &metric);
        bytes
            + &quality
            + &self.nearness.map_or_else(String::new, |(_, head)| text("tick", (second, 14.0), "end", head))
    }

    fn row(&self, doc: &Doc<'_>, base: &str, line: f64, is_original: bool) -> String {
        let [first, second] = COLUMNS;
        let quality = self.metric.as_deref().and_then(|metric| {
            let value = doc.number(&format!("{base}/quality/{}/value", segment(metric)))?;
            Some(text("value", (first, line), "end", &format::value(metric)(value)))
        });
        let nearness = self.nearness.filter(|_| !is_original);
        let nearness = nearness.and_then(|(at, _)| doc.number(&format!("{base}/{at}")));
        let nearness = nearness.map(|value| text("value", (second, line), "end", &small(value)));
        quality.unwrap_or_default() + &nearness.unwrap_or_default()
    }
}
