//! The table of a sensitivity job: sites by bits, the colour is what the change alone costs; and how weights lie.

use super::colours::Colours;
use super::format::{brief, bytes, count, escape, fixed, percent, small};
use super::read::Doc;
use super::svg::{figure, group, rect, text};
use super::{each, table, titled};

const BASE: &str = "/result/sensitivity";
const WIDTH: f64 = 920.0;
const LEFT: f64 = 300.0;
const ROW: f64 = 22.0;
/// The widest column.
const WIDEST: f64 = 96.0;
/// Columns that are wide enough for a number.
const FOR_TEXT: f64 = 46.0;
/// Shown at most; what is beyond stands in the table.
const MOST_ROWS: usize = 200;
const MOST_COLUMNS: usize = 16;
/// Letters of a site's name that have room.
const LETTERS: usize = 40;
/// Sites of the table of weights that are shown at once.
const SHOWN: usize = 20;

/// What is shown of a change.
#[derive(Clone, Copy)]
struct Measure {
    key: &'static str,
    title: &'static str,
    unit: &'static str,
}

/// The first that any change has.
const MEASURES: [Measure; 4] = [
    Measure { key: "kl", title: "Mean KL", unit: "nats" },
    Measure { key: "rms_difference", title: "RMS difference", unit: "in the answers’ own unit" },
    Measure { key: "cosine", title: "1 − cosine", unit: "of the vectors" },
    Measure { key: "relative_error", title: "Error of outputs", unit: "relative" },
];

/// Whether the report is that of a sensitivity job.
pub(super) fn is_there(doc: &Doc<'_>) -> bool {
    doc.len(BASE) > 0
}

/// A site's row.
struct Row<'a> {
    site: &'a str,
    place: usize,
    /// Bits, the place of the level, and what it costs.
    cells: Vec<(u64, usize, Option<f64>)>,
}

pub(super) fn section(doc: &Doc<'_>) -> String {
    if !is_there(doc) {
        return String::new();
    }
    let measure = MEASURES.into_iter().find(|measure| any(doc, measure.key));
    let rows = rows(doc, measure);
    let lead = match measure {
        Some(Measure { key: "relative_error", .. }) | None => {
            "Every site was compressed alone, at each number of bits. The model was not run as a whole: what is told is the \
             site’s own error."
        }
        Some(_) => {
            "Every site was compressed alone, at each number of bits, and the whole model run on held-out rows: the colour is how \
             far its answers moved, in equal steps of the logarithm. Hover names the rest."
        }
    };
    let mut body = measure.map(|measure| heat(doc, &rows, measure)).unwrap_or_default();
    body.push_str(&changes(doc, &rows, measure));
    body.push_str("<h3>How the weights lie</h3>\n");
    body.push_str(&weights(doc, &rows));
    titled("sensitivity", "What each site costs alone", lead, &body)
}

/// A change's number; of cosines what is missing to 1.
fn cost(doc: &Doc<'_>, key: &str, at: &str) -> Option<f64> {
    let value = doc.number(&format!("{at}/{key}"))?;
    Some(if key == "cosine" { 1.0 - value } else { value }.max(0.0))
}

fn level(site: usize, level: usize) -> String {
    format!("{BASE}/{site}/levels/{level}")
}

fn any(doc: &Doc<'_>, key: &str) -> bool {
    let levels = |site: usize| (0..doc.len(&format!("{BASE}/{site}/levels"))).map(move |place| (site, place));
    (0..doc.len(BASE)).flat_map(levels).any(|(site, place)| cost(doc, key, &level(site, place)).is_some())
}

fn rows<'a>(doc: &Doc<'a>, measure: Option<Measure>) -> Vec<Row<'a>> {
    let row = |place: usize| {
        let cell = |number: usize| {
            let at = level(place, number);
            let cost = measure.and_then(|measure| cost(doc, measure.key, &at));
            Some((doc.whole(&format!("{at}/bits"))?, number, cost))
        };
        let levels = doc.len(&format!("{BASE}/{place}/levels"));
        let site = doc.text(&format!("{BASE}/{place}/site")).unwrap_or("unnamed");
        Row { site, place, cells: (0..levels).filter_map(cell).collect() }
    };
    (0..doc.len(BASE)).map(row).collect()
}

/// The drawing, sites in the model's order.
fn heat(doc: &Doc<'_>, rows: &[Row<'_>], measure: Measure) -> String {
    let mut bits: Vec<u64> = rows.iter().flat_map(|row| row.cells.iter().map(|cell| cell.0)).collect();
    bits.sort_unstable();
    bits.dedup();
    bits.truncate(MOST_COLUMNS);
    let shown = rows.get(..MOST_ROWS).unwrap_or(rows);
    let positive = shown.iter().flat_map(|row| row.cells.iter().filter_map(|cell| cell.2)).filter(|x| *x > 0.0);
    let (least, most) = positive.fold((f64::INFINITY, 0.0_f64), |(a, b), x| (a.min(x), b.max(x)));
    // Divergence goes with the square of an error: six decades of it are three of errors
    let colours = Colours::new(least, most, 1e6);
    let wide = ((WIDTH - LEFT) / bits.len().max(1) as f64).min(WIDEST);
    let mut shapes = text("caption", (0.0, 14.0), "start", &format!("{}, {}", measure.title, measure.unit));
    for (column, bits) in bits.iter().enumerate() {
        let label = if column == 0 { format!("{bits} bits") } else { bits.to_string() };
        shapes.push_str(&text("tick", (LEFT + (column as f64 + 0.5) * wide, 14.0), "middle", &label));
    }
    let mut at = 22.0;
    for row in shown {
        shapes.push_str(&text("tick", (LEFT - 10.0, at + 15.0), "end", &escape(&shortened(row.site))));
        for (of, number, cost) in &row.cells {
            let Some((column, cost)) = bits.iter().position(|bits| bits == of).zip(*cost) else { continue };
            let from = LEFT + column as f64 * wide;
            let mut cell = rect("", (from + 0.5, at + 0.5), (wide - 1.0, ROW - 1.0), "");
            if wide >= FOR_TEXT {
                cell.push_str(&text("", (from + wide / 2.0, at + 15.0), "middle", &brief(cost)));
            }
            let title = told(doc, row, (*of, *number), (measure, cost));
            shapes.push_str(&group(&format!("heat h{}", colours.level(cost)), &title, &cell));
        }
        at += ROW;
    }
    let shapes = shapes + &colours.legend((LEFT, at + 16.0), measure.title);
    let label = format!("{} of every site at every number of bits: the table has the numbers", measure.title);
    figure((WIDTH, at + 52.0), &label, &shapes)
}

/// A change in words.
fn told(doc: &Doc<'_>, row: &Row<'_>, (bits, number): (u64, usize), (measure, cost): (Measure, f64)) -> String {
    let at = level(row.place, number);
    let part = |key: &str, show: &dyn Fn(f64) -> String| doc.number(&format!("{at}/{key}")).map(show);
    let parts = [
        part("sqnr_db", &|ratio| format!("SQNR {} dB", fixed(ratio, 1))),
        part("relative_error", &|error| format!("error of outputs {}", small(error))),
        doc.whole(&format!("{at}/bytes")).map(|bytes| format!("{} bytes", super::format::grouped(bytes))),
    ];
    let rest: Vec<String> = parts.into_iter().flatten().collect();
    let title = format!("{} at {bits} bits: {} {}", escape(row.site), measure.title, small(cost));
    std::iter::once(title).chain(rest).collect::<Vec<_>>().join(" · ")
}

fn shortened(site: &str) -> String {
    let letters = site.chars().count();
    if letters <= LETTERS {
        site.to_owned()
    } else {
        ['…'].into_iter().chain(site.chars().skip(letters - LETTERS + 1)).collect()
    }
}

/// Every change with all its numbers, folded.
fn changes(doc: &Doc<'_>, rows: &[Row<'_>], measure: Option<Measure>) -> String {
    let line = |row: &Row<'_>, (bits, number, cost): &(u64, usize, Option<f64>)| {
        let at = level(row.place, *number);
        let costs = measure.filter(|measure| measure.key != "relative_error").map_or_else(String::new, |measure| {
            format!("<td>{}</td>", doc.or_dash(*cost, &format!("{at}/{}", measure.key), small))
        });
        format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td>{bits}</td><td>{}</td><td>{}</td><td>{}</td>{costs}</tr>\n",
            escape(row.site),
            doc.show(&format!("{at}/bytes"), bytes),
            doc.show(&format!("{at}/sqnr_db"), |ratio| fixed(ratio, 1)),
            doc.show(&format!("{at}/relative_error"), small),
        )
    };
    let lines = each(rows, |row| each(&row.cells, |cell| line(row, cell)));
    let last = measure.filter(|measure| measure.key != "relative_error");
    let last = last.map_or_else(String::new, |measure| format!("<th scope=\"col\">{}</th>", measure.title));
    let head = format!(
        "<th scope=\"col\">Site</th><th scope=\"col\">Bits</th><th scope=\"col\">Bytes</th><th scope=\"col\">SQNR, dB</th>\
         <th scope=\"col\">Error of outputs</th>{last}"
    );
    let changes: usize = rows.iter().map(|row| row.cells.len()).sum();
    format!("<details><summary>All {changes} changes</summary>\n{}</details>\n", table("Changes", &head, &lines))
}

/// Statistics of the weights, the costliest sites first.
fn weights(doc: &Doc<'_>, rows: &[Row<'_>]) -> String {
    let mut order: Vec<(f64, &Row<'_>)> =
        rows.iter().map(|row| (row.cells.first().and_then(|cell| cell.2).unwrap_or(-1.0), row)).collect();
    // Stable: sites that cost alike keep the model's order
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let order: Vec<&Row<'_>> = order.into_iter().map(|(_, row)| row).collect();
    let shown = order.get(..SHOWN).unwrap_or(&order);
    let first = weights_table(doc, "Weights of the costliest sites", shown);
    if shown.len() == order.len() {
        return first;
    }
    let all = weights_table(doc, "Weights of all sites", &order);
    format!("{first}<details><summary>All {} sites</summary>\n{all}</details>\n", order.len())
}

fn weights_table(doc: &Doc<'_>, label: &str, rows: &[&Row<'_>]) -> String {
    let lines = each(rows, |row| {
        let at = |key: &str| format!("{BASE}/{}/weights/{key}", row.place);
        let cells = each(["min", "max", "mean", "std"], |key| format!("<td>{}</td>", doc.show(&at(key), small)));
        let sizes = each(["abs_p99_9", "abs_p99_99"], |key| format!("<td>{}</td>", doc.show(&at(key), small)));
        let shares = each(["zero_share", "outlier_share"], |key| format!("<td>{}</td>", doc.show(&at(key), percent)));
        format!(
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td>{cells}<td>{}</td>{sizes}{shares}</tr>\n",
            escape(row.site),
            doc.show(&at("count"), count),
            doc.show(&at("kurtosis"), |x| fixed(x, 1)),
        )
    });
    let head = "<th scope=\"col\">Site</th><th scope=\"col\">Weights</th><th scope=\"col\">Least</th>\
                <th scope=\"col\">Largest</th><th scope=\"col\">Mean</th><th scope=\"col\">Deviation</th>\
                <th scope=\"col\" title=\"3 of a normal distribution\">Kurtosis</th>\
                <th scope=\"col\" title=\"Of the absolute values\">99.9%</th>\
                <th scope=\"col\" title=\"Of the absolute values\">99.99%</th><th scope=\"col\">Zero</th>\
                <th scope=\"col\" title=\"Further than six deviations from the mean\">Outliers</th>";
    table(label, head, &lines)
}
