//! Size against quality: the original, the model after each stage, the result.

use super::format::{escape, fixed, name, percent, short_bytes, small};
use super::read::{Doc, segment};
use super::scale::{Scale, log_ticks};
use super::svg::{figure, line, rect, text};
use super::{each, titled};
use crate::engine::evaluate::metric::is_share;

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 892.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 328.0;

/// A model at one moment.
struct Point {
    label: String,
    kind: &'static str,
    bytes: f64,
    value: f64,
    low: f64,
    high: f64,
}

/// What the upright axis shows.
struct Measure<'a> {
    title: String,
    points: Vec<Point>,
    floor: Option<f64>,
    /// The result's value by the paired difference: the original's plus the ends of the interval.
    paired: Option<(f64, f64)>,
    lead: &'a str,
    /// Whether values are shares.
    share: bool,
}

pub(super) fn section(doc: &Doc<'_>) -> String {
    if doc.get("/result/before").is_none() && doc.len("/result/stages") == 0 {
        return String::new(); // one point says nothing that the numbers do not
    }
    let Some(measure) = quality(doc).or_else(|| agreement(doc)) else {
        let reason = doc.reason("/result/after/quality").unwrap_or("no quality was measured");
        let lead = "There is nothing to draw against size:";
        return titled("plot", "Size against quality", &format!("{lead} {}.", escape(reason)), "");
    };
    titled("plot", "Size against quality", measure.lead, &draw(&measure))
}

/// The verdict's metric, with the original where there is one.
fn quality<'a>(doc: &Doc<'_>) -> Option<Measure<'a>> {
    let metric = segment(doc.metric()?);
    let at = |base: &str| format!("{base}/quality/{metric}");
    let points = points(doc, &at, point(doc, doc.sides().0, "original", "/result/before", &at("/result/before")));
    let floor = (metric == "accuracy").then(|| doc.number("/result/verdict/reference_floor/accuracy")).flatten();
    let ends = ["low", "high"].map(|end| doc.number(&format!("/result/after/quality_change/{metric}/{end}")));
    let paired = match (points.first().filter(|point| point.kind == "original"), ends) {
        (Some(original), [Some(low), Some(high)]) => Some((original.value + low, original.value + high)),
        _ => None,
    };
    let lead = if paired.is_some() {
        "Bytes of the weight files (logarithmic) against the metric. Thin whiskers are the 95% interval of each model \
         alone. The broad one is that of the paired difference: if it reaches the dashed line, chance can explain the \
         change."
    } else {
        "Bytes of the weight files (logarithmic) against the metric, with its 95% interval."
    };
    let share = is_share(&metric);
    (!points.is_empty()).then(|| Measure { title: name(&metric), points, floor, paired, lead, share })
}

/// Agreement with the original, in place of a metric that was not measured.
fn agreement<'a>(doc: &Doc<'_>) -> Option<Measure<'a>> {
    let at = |base: &str| format!("{base}/fidelity/top1_agreement");
    doc.number(&format!("{}/value", at("/result/after")))?;
    let original = doc.number("/result/before/size_bytes").filter(|bytes| drawable(*bytes, 1.0)).map(|bytes| Point {
        label: doc.sides().0.into(),
        kind: "original",
        bytes,
        value: 1.0,
        low: 1.0,
        high: 1.0,
    });
    let lead = "Task quality was not measured. Shown is the share of rows on which the answer is the original’s, with \
                its 95% interval, against the bytes of the weight files (logarithmic).";
    let points = points(doc, &at, original);
    Some(Measure { title: "Same answer as the original".into(), points, floor: None, paired: None, lead, share: true })
}

/// The original, every stage but the last, and the result, which is the last.
fn points(doc: &Doc<'_>, at: &dyn Fn(&str) -> String, original: Option<Point>) -> Vec<Point> {
    let mut points: Vec<Point> = original.into_iter().collect();
    let stages = doc.len("/result/stages");
    for number in 0..stages.saturating_sub(1) {
        let base = format!("/result/stages/{number}");
        let method = doc.text(&format!("{base}/method")).unwrap_or("stage");
        points.extend(point(doc, &format!("after {method}"), "stage", &base, &at(&base)));
    }
    points.extend(point(doc, doc.sides().1, "result", "/result/after", &at("/result/after")));
    points
}

fn point(doc: &Doc<'_>, label: &str, kind: &'static str, size: &str, value: &str) -> Option<Point> {
    let bytes = doc.number(&format!("{size}/size_bytes"))?;
    let end = |end: &str| doc.number(&format!("{value}/{end}"));
    let middle = end("value")?;
    let (low, high) = (end("low").unwrap_or(middle).min(middle), end("high").unwrap_or(middle).max(middle));
    let all = [middle, low, high].into_iter().all(|value| drawable(bytes, value));
    all.then(|| Point { label: label.to_owned(), kind, bytes, value: middle, low, high })
}

/// Within what an axis can hold.
fn drawable(bytes: f64, value: f64) -> bool {
    (1.0..1e15).contains(&bytes) && value.abs() < 1e6
}

fn draw(measure: &Measure<'_>) -> String {
    let (x, y, x_ticks) = axes(measure);
    let upright = each(y.ticks(5), |tick| {
        let place = y.place(tick);
        line("grid", (LEFT, place), (RIGHT, place))
            + &text(
                "tick",
                (LEFT - 10.0, place + 4.0),
                "end",
                &if measure.share { axis_percent(tick) } else { small(tick) },
            )
    });
    let across = each(x_ticks, |tick| {
        let place = x.place(tick.log10());
        line("mark", (place, BOTTOM), (place, BOTTOM + 5.0))
            + &text("tick", (place, BOTTOM + 22.0), "middle", &short_tick(tick))
    });
    let shapes = [
        band(measure, &y),
        upright,
        across,
        line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM)),
        text("caption", (RIGHT, BOTTOM + 42.0), "end", "weight files"),
        text("caption", (LEFT, 12.0), "start", &measure.title),
        references(measure, &x, &y),
        path(measure, &x, &y),
        each(measure.points.iter().enumerate(), |(place, point)| mark(point, (place, measure.share), &x, &y)),
    ];
    let label = format!("{} against the bytes of the weight files", measure.title);
    figure((WIDTH, HEIGHT), &label, &shapes.concat())
}

/// Both axes, with a little room around what is drawn, and the sizes to mark.
fn axes(measure: &Measure<'_>) -> (Scale, Scale, Vec<f64>) {
    let least = |of: &dyn Fn(&Point) -> f64| measure.points.iter().map(of).fold(f64::INFINITY, f64::min);
    let most = |of: &dyn Fn(&Point) -> f64| measure.points.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
    let (smallest, largest) = (least(&|p| p.bytes) / 1.35, most(&|p| p.bytes) * 1.35);
    let (mut low, high) = (least(&|p| p.low), most(&|p| p.high));
    let height = (high - low).max(1e-3);
    // A floor is drawn where it does not squeeze everything else to a line.
    if let Some(floor) = measure.floor.filter(|floor| *floor > low - 1.5 * height) {
        low = low.min(floor);
    }
    let room = 0.12 * (high - low).max(1e-3);
    let y = Scale::new((low - room, high + room), (BOTTOM, TOP));
    (Scale::new((smallest.log10(), largest.log10()), (LEFT, RIGHT)), y, log_ticks(smallest, largest))
}

/// The original's interval, across.
fn band(measure: &Measure<'_>, y: &Scale) -> String {
    let Some(original) = measure.points.iter().find(|point| point.kind == "original") else { return String::new() };
    let top = y.place(original.high);
    rect("band", (LEFT, top), (RIGHT - LEFT, y.place(original.low) - top), "")
}

/// The original and the floor as lines across, and the paired interval at the result.
fn references(measure: &Measure<'_>, x: &Scale, y: &Scale) -> String {
    let original = measure.points.iter().find(|point| point.kind == "original").map(|original| {
        let place = y.place(original.value);
        line("reference", (LEFT, place), (RIGHT, place))
    });
    let floor = measure.floor.filter(|floor| y.holds(*floor)).map(|floor| {
        let (place, label) = (y.place(floor), format!("reference floor {}", percent(floor)));
        line("floor", (LEFT, place), (RIGHT, place)) + &text("floor-label", (RIGHT, place - 6.0), "end", &label)
    });
    let paired = measure.paired.zip(measure.points.last()).map(|((low, high), result)| {
        let across = x.place(result.bytes.log10());
        line("paired", (across, y.place(low)), (across, y.place(high)))
    });
    each([original, floor, paired], Option::unwrap_or_default)
}

fn path(measure: &Measure<'_>, x: &Scale, y: &Scale) -> String {
    let places: Vec<String> = measure
        .points
        .iter()
        .map(|point| format!("{:.1},{:.1}", x.place(point.bytes.log10()), y.place(point.value)))
        .collect();
    format!("<polyline class=\"path\" points=\"{}\"/>\n", places.join(" "))
}

/// A point with its whisker and its label; labels stand by turns above and below, so that neighbours do not collide.
fn mark(point: &Point, (number, share): (usize, bool), x: &Scale, y: &Scale) -> String {
    let value = |x: f64| if share { percent(x) } else { fixed(x, 3) };
    let (across, middle) = (x.place(point.bytes.log10()), y.place(point.value));
    let (top, bottom) = (y.place(point.high), y.place(point.low));
    let anchor = if across > RIGHT - 90.0 {
        "end"
    } else if across < LEFT + 60.0 {
        "start"
    } else {
        "middle"
    };
    let beside = if number.is_multiple_of(2) { top - 10.0 } else { bottom + 18.0 };
    let label = escape(&point.label);
    let (radius, kind) = (if point.kind == "stage" { 4 } else { 6 }, point.kind);
    format!(
        "<g class=\"{kind}\"><title>{label}: {} · {} (95% {} to {})</title>\n{}\
         <circle cx=\"{across:.1}\" cy=\"{middle:.1}\" r=\"{radius}\"/>\n{}</g>\n",
        short_bytes(point.bytes),
        value(point.value),
        value(point.low),
        value(point.high),
        line("whisker", (across, top), (across, bottom)),
        text("point-label", (across, beside), anchor, &label)
    )
}

fn axis_percent(share: f64) -> String {
    format!("{}%", fixed(100.0 * share, usize::from((100.0 * share).fract().abs() > 1e-6)))
}

/// `20 MB`: a round size without decimals.
fn short_tick(bytes: f64) -> String {
    short_bytes(bytes).replace(".00", "").replace(".0 ", " ")
}
