//! How the weights of the worst sites lie before and after, and what they differ by.

use serde_json::Value;

use super::format::{escape, grouped, small};
use super::read::Doc;
use super::sites::Order;
use super::svg::{figure, line, rect, text};
use super::{each, table};

/// Sites that are drawn.
const SHOWN: usize = 6;
const WIDTH: f64 = 290.0;
const MIDDLE: f64 = WIDTH / 2.0;
/// The weights' bars stand on this line, those of the differences on the other.
const WEIGHTS: f64 = 116.0;
const ERRORS: f64 = 196.0;
/// Bins of a drawing, at most: a report has 65.
const MOST_BINS: usize = 201;

/// A site's counts.
struct Histogram<'a> {
    site: &'a str,
    before: Vec<u64>,
    after: Vec<u64>,
    width: f64,
    error: Vec<u64>,
    error_width: f64,
}

/// The drawings of the worst sites that have a histogram, and their counts; nothing where none has.
pub(super) fn histograms(doc: &Doc<'_>, order: &Order) -> String {
    let shown: Vec<Histogram<'_>> = order.places.iter().filter_map(|place| find(doc, *place)).take(SHOWN).collect();
    if shown.is_empty() {
        return String::new();
    }
    let plots = each(&shown, plot);
    let counts = each(&shown, counts);
    format!(
        "<h3>How the weights of the worst sites lie</h3>\n<p class=\"lead\">The area is the original’s weights, the line \
         the result’s; below, result − original. Heights go by the square root of the counts, so that tails are seen. \
         Each axis ends at the largest number.</p>\n<div class=\"multiples\">\n{plots}</div>\n\
         <details><summary>The counts</summary>\n<div class=\"multiples\">\n{counts}</div></details>\n"
    )
}

/// The histogram of the site at a place among the sites.
fn find<'a>(doc: &Doc<'a>, place: usize) -> Option<Histogram<'a>> {
    let site = doc.text(&format!("/result/sites/{place}/site"))?;
    let all = doc.get("/result/histograms")?.as_array()?;
    let one = all.iter().find(|one| one.get("site").and_then(Value::as_str) == Some(site))?;
    let counts = |key: &str| -> Option<Vec<u64>> {
        let counts = one.get(key)?.as_array().filter(|counts| (1..=MOST_BINS).contains(&counts.len()))?;
        counts.iter().map(Value::as_u64).collect()
    };
    let width = |key: &str| one.get(key)?.as_f64().filter(|width| (0.0..1e30).contains(width));
    let (before, after) = (counts("before")?, counts("after")?);
    (before.len() == after.len()).then_some(())?;
    let (width, error_width) = (width("weight_bin_width")?, width("error_bin_width")?);
    Some(Histogram { site, before, after, width, error: counts("error")?, error_width })
}

fn plot(one: &Histogram<'_>) -> String {
    let most = one.before.iter().chain(&one.after).copied().max().unwrap_or(0);
    let shapes = [
        text("strong", (0.0, 14.0), "start", &escape(&shortened(one.site))),
        bars("before-area", &one.before, most, (WEIGHTS, 88.0)),
        outline(&one.after, most, (WEIGHTS, 88.0)),
        axis(WEIGHTS, one.before.len(), one.width),
        bars("error-area", &one.error, one.error.iter().copied().max().unwrap_or(0), (ERRORS, 52.0)),
        axis(ERRORS, one.error.len(), one.error_width),
    ];
    let label = format!("Weights of {} before and after, and their differences", escape(one.site));
    figure((WIDTH, 214.0), &label, &shapes.concat())
}

fn shortened(site: &str) -> String {
    let length = site.chars().count();
    if length <= 38 { site.to_owned() } else { ['…'].into_iter().chain(site.chars().skip(length - 37)).collect() }
}

fn height(count: u64, most: u64, high: f64) -> f64 {
    if most == 0 { 0.0 } else { high * (count as f64 / most as f64).sqrt() }
}

fn bars(class: &str, counts: &[u64], most: u64, (line, high): (f64, f64)) -> String {
    let wide = WIDTH / counts.len() as f64;
    each(counts.iter().enumerate().filter(|(_, count)| **count > 0), |(bin, count)| {
        let high = height(*count, most, high).max(0.6);
        rect(class, (bin as f64 * wide, line - high), (wide + 0.2, high), "")
    })
}

/// The tops of bars as one line.
fn outline(counts: &[u64], most: u64, (line, high): (f64, f64)) -> String {
    let wide = WIDTH / counts.len() as f64;
    let points = each(counts.iter().enumerate(), |(bin, count)| {
        let (from, top) = (bin as f64 * wide, line - height(*count, most, high));
        format!("{from:.1},{top:.1} {:.1},{top:.1} ", from + wide)
    });
    format!("<polyline class=\"after-line\" points=\"{}\"/>\n", points.trim_end())
}

/// The line that bars stand on, with its ends' values.
fn axis(at: f64, bins: usize, width: f64) -> String {
    let end = small(width * bins as f64 / 2.0);
    line("axis", (0.0, at), (WIDTH, at))
        + &line("mark", (MIDDLE, at), (MIDDLE, at + 4.0))
        + &text("tick", (0.0, at + 16.0), "start", &format!("−{end}"))
        + &text("tick", (MIDDLE, at + 16.0), "middle", "0")
        + &text("tick", (WIDTH, at + 16.0), "end", &end)
}

fn counts(one: &Histogram<'_>) -> String {
    let centre = |bin: usize, bins: usize, width: f64| small((bin as f64 - (bins / 2) as f64) * width);
    let rows = each(0..one.before.len().max(one.error.len()), |bin| {
        let of = |counts: &[u64]| counts.get(bin).map(|count| grouped(*count)).unwrap_or_default();
        let at = |counts: &[u64], width| {
            if bin < counts.len() { centre(bin, counts.len(), width) } else { String::new() }
        };
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            at(&one.before, one.width),
            of(&one.before),
            of(&one.after),
            at(&one.error, one.error_width),
            of(&one.error)
        )
    });
    let head = "<th scope=\"col\">Weight near</th><th scope=\"col\">Before</th><th scope=\"col\">After</th>\
                <th scope=\"col\">Difference near</th><th scope=\"col\">Weights</th>";
    let site = escape(one.site);
    format!("<div><p><code>{site}</code></p>\n{}</div>\n", table(&format!("Counts of {site}"), head, &rows))
}
