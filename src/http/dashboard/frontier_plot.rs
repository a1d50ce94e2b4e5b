//! The frontier as a drawing: size on a logarithmic axis, the metric with its interval, the best of each size as steps.

use super::frontier::{Place, steps};
use super::results::Interval;
use super::show::{Markup, short_bytes, value};
use crate::engine::evaluate::metric::{goodness, is_share};
use crate::engine::report::html::format::{escape, fixed, small};
use crate::engine::report::html::scale::{Scale, log_ticks};
use crate::engine::report::html::svg::{figure, line, rect, text};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 892.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 344.0;
/// Of a label's letter, at most.
const LETTER: f64 = 7.2;
/// Letters of a label.
const LETTERS: usize = 24;

/// A result.
pub(super) struct Mark {
    pub(super) path: String,
    pub(super) label: String,
    pub(super) bytes: f64,
    pub(super) value: Interval,
    pub(super) is_dominated: bool,
}

/// Both axes, and the metric's key.
struct Axes {
    metric: String,
    x: Scale,
    y: Scale,
    ticks: Vec<f64>,
}

impl Axes {
    fn at(&self, bytes: f64, value: f64) -> (f64, f64) {
        (self.x.place(bytes.log10()), self.y.place(value))
    }
}

/// Draws results, and the original with its bytes.
pub(super) fn draw((metric, key): (&str, &str), marks: &[Mark], original: Option<(f64, Interval)>) -> Markup {
    let axes = axes(key, marks, original);
    let mut shapes = String::new();
    if let Some((_, value)) = original {
        let top = axes.y.place(value.high);
        shapes.push_str(&rect("band", (LEFT, top), (RIGHT - LEFT, axes.y.place(value.low) - top), ""));
    }
    shapes.push_str(&grid(&axes, metric));
    shapes.push_str(&reference(&axes, original));
    shapes.push_str(&staircase(&axes, marks));
    shapes.push_str(&results(&axes, marks, original));
    Markup(figure((WIDTH, HEIGHT), &format!("{metric} against the bytes of the weight files"), &shapes))
}

fn axes(key: &str, marks: &[Mark], original: Option<(f64, Interval)>) -> Axes {
    let all = || marks.iter().map(|mark| (mark.bytes, mark.value)).chain(original);
    let smallest = all().map(|(bytes, _)| bytes).fold(f64::INFINITY, f64::min).max(1.0) / 1.35;
    let largest = all().map(|(bytes, _)| bytes).fold(1.0, f64::max) * 1.35;
    let low = all().map(|(_, value)| value.low).fold(f64::INFINITY, f64::min);
    let high = all().map(|(_, value)| value.high).fold(f64::NEG_INFINITY, f64::max);
    let room = 0.1 * (high - low).max(1e-3);
    Axes {
        metric: key.to_owned(),
        x: Scale::new((smallest.log10(), largest.log10()), (LEFT, RIGHT)),
        y: Scale::new((low - room, high + room), (BOTTOM, TOP)),
        ticks: log_ticks(smallest, largest),
    }
}

fn grid(axes: &Axes, metric: &str) -> String {
    let mut shapes = String::new();
    let is_share = is_share(&axes.metric);
    // of shares there is nothing beyond the whole
    for tick in axes.y.ticks(5).into_iter().filter(|tick| !is_share || (-1e-9..=1.0 + 1e-9).contains(tick)) {
        let place = axes.y.place(tick);
        let share = 100.0 * tick;
        let label = if is_share {
            format!("{}%", fixed(share, usize::from((share - share.round()).abs() > 1e-6)))
        } else {
            small(tick)
        };
        shapes.push_str(&line("grid", (LEFT, place), (RIGHT, place)));
        shapes.push_str(&text("tick", (LEFT - 10.0, place + 4.0), "end", &label));
    }
    for tick in &axes.ticks {
        let place = axes.x.place(tick.log10());
        let label = short_bytes(*tick).replace(".00", "").replace(".0 ", " ");
        shapes.push_str(&line("mark", (place, BOTTOM), (place, BOTTOM + 5.0)));
        shapes.push_str(&text("tick", (place, BOTTOM + 22.0), "middle", &label));
    }
    shapes.push_str(&line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM)));
    shapes.push_str(&text("caption", (RIGHT, BOTTOM + 44.0), "end", "weight files"));
    shapes.push_str(&text("caption", (LEFT, 14.0), "start", &escape(metric)));
    shapes
}

/// The original: a line across, and its own point.
fn reference(axes: &Axes, original: Option<(f64, Interval)>) -> String {
    let Some((bytes, value)) = original else { return String::new() };
    let (across, middle) = axes.at(bytes, value.value);
    let whisker = line("whisker", (across, axes.y.place(value.high)), (across, axes.y.place(value.low)));
    let told = format!("original: {} · {}", short_bytes(bytes), super::show::value(&axes.metric)(value.value));
    format!(
        "{}<g class=\"original\"><title>{told}</title>{whisker}<circle cx=\"{across:.1}\" cy=\"{middle:.1}\" r=\"6\"/>\
         </g>\n",
        line("reference", (LEFT, middle), (RIGHT, middle))
    )
}

fn corners(axes: &Axes, marks: &[Mark]) -> Vec<Place> {
    // Twice the same turns a metric of which less is better around and back
    let turned = |place: Place| Place { value: goodness(&axes.metric, place.value), ..place };
    let places: Vec<Place> =
        marks.iter().map(|mark| turned(Place { bytes: mark.bytes, value: mark.value.value })).collect();
    steps(&places).into_iter().map(turned).collect()
}

/// The steps, drawn on to the right edge: a larger result that is no better is not needed.
fn staircase(axes: &Axes, marks: &[Mark]) -> String {
    let corners = corners(axes, marks);
    let Some(last) = corners.last().copied() else { return String::new() };
    let mut path: Vec<String> = corners
        .iter()
        .map(|corner| axes.at(corner.bytes, corner.value))
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    path.push(format!("{RIGHT:.1},{:.1}", axes.at(last.bytes, last.value).1));
    format!("<polyline class=\"steps\" points=\"{}\"/>\n", path.join(" "))
}

/// A rectangle that something stands in.
#[derive(Debug, Clone, Copy)]
struct Space {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Space {
    fn meets(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn is_inside(&self) -> bool {
        self.left >= LEFT && self.right <= RIGHT && self.top >= TOP - 10.0 && self.bottom <= BOTTOM
    }
}

/// A line from some size to the right edge: of the steps only the last one goes so far, but a label that keeps off all
/// of them is never wrong.
fn across(axes: &Axes, from_bytes: f64, value: f64) -> Space {
    let (left, middle) = axes.at(from_bytes, value);
    Space { left, top: middle - 1.5, right: RIGHT, bottom: middle + 1.5 }
}

/// Points with whiskers and, where there is room, their labels: those on the frontier first.
fn results(axes: &Axes, marks: &[Mark], original: Option<(f64, Interval)>) -> String {
    let whisker = |bytes: f64, value: Interval| {
        let (across, top) = axes.at(bytes, value.high);
        Space { left: across - 7.0, top, right: across + 7.0, bottom: axes.y.place(value.low) }
    };
    let mut taken: Vec<Space> = marks.iter().map(|mark| whisker(mark.bytes, mark.value)).collect();
    taken.extend(original.map(|(bytes, value)| whisker(bytes, value)));
    taken.extend(original.map(|(_, value)| across(axes, 1.0, value.value)));
    taken.extend(corners(axes, marks).iter().map(|corner| across(axes, corner.bytes, corner.value)));
    let mut labels = vec![String::new(); marks.len()];
    let mut order: Vec<usize> = (0..marks.len()).collect();
    order.sort_by_key(|place| marks.get(*place).is_some_and(|mark| mark.is_dominated));
    let original_label = original.map(|(bytes, value)| {
        let (at, anchor) = place_label("original", axes.at(bytes, value.value), whisker(bytes, value), &mut taken)
            .unwrap_or(((RIGHT, TOP), "end"));
        text("point-label", at, anchor, "original")
    });
    for place in order {
        let Some(mark) = marks.get(place) else { continue };
        let label: String = mark.label.chars().take(LETTERS).collect();
        let at = axes.at(mark.bytes, mark.value.value);
        if let (Some((at, anchor)), Some(slot)) =
            (place_label(&label, at, whisker(mark.bytes, mark.value), &mut taken), labels.get_mut(place))
        {
            *slot = text("point-label", at, anchor, &escape(&label));
        }
    }
    let points: String = marks.iter().zip(&labels).map(|(mark, label)| point(axes, mark, label)).collect();
    original_label.unwrap_or_default() + &points
}

/// Where a label fits: beside its point, above or below its whisker.
fn place_label(
    label: &str,
    (across, middle): (f64, f64),
    whisker: Space,
    taken: &mut Vec<Space>,
) -> Option<((f64, f64), &'static str)> {
    let width = LETTER * label.chars().count() as f64;
    let spot = |left: f64, base: f64| Space { left, top: base - 12.0, right: left + width, bottom: base + 4.0 };
    let spots = [
        (spot(across + 12.0, middle + 4.5), "start"),
        (spot(across - 12.0 - width, middle + 4.5), "end"),
        (spot(across + 12.0, middle - 9.0), "start"),
        (spot(across + 12.0, middle + 19.0), "start"),
        (spot(across - 12.0 - width, middle - 9.0), "end"),
        (spot(across - 12.0 - width, middle + 19.0), "end"),
        (spot(across - width / 2.0, whisker.top - 8.0), "middle"),
        (spot(across - width / 2.0, whisker.bottom + 17.0), "middle"),
    ];
    let is_free = |space: &Space| space.is_inside() && !taken.iter().any(|other| space.meets(other));
    let (space, anchor) = spots.into_iter().find(|(space, _)| is_free(space))?;
    taken.push(space);
    let x = match anchor {
        "start" => space.left,
        "end" => space.right,
        _ => f64::midpoint(space.left, space.right),
    };
    Some(((x, space.bottom - 4.0), anchor))
}

fn point(axes: &Axes, mark: &Mark, label: &str) -> String {
    let (across, middle) = axes.at(mark.bytes, mark.value.value);
    let (top, bottom) = (axes.y.place(mark.value.high), axes.y.place(mark.value.low));
    let class = if mark.is_dominated { "point dominated" } else { "point" };
    format!(
        "<a href=\"{}\" class=\"{class}\" aria-label=\"{told}\"><title>{told}</title>\n{}<circle cx=\"{across:.1}\" \
         cy=\"{middle:.1}\" r=\"6\"/>\n{label}</a>\n",
        escape(&mark.path),
        line("whisker", (across, top), (across, bottom)),
        told = format_args!(
            "{}: {} · {} (95% {} to {})",
            escape(&mark.label),
            short_bytes(mark.bytes),
            value(&axes.metric)(mark.value.value),
            value(&axes.metric)(mark.value.low),
            value(&axes.metric)(mark.value.high)
        ),
    )
}
