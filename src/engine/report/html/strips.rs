//! Errors layer by layer: a row for each kind of site, a column for each layer, the colour is the error.

use super::colours::Colours;
use super::each;
use super::format::{brief, escape, small};
use super::read::Doc;
use super::svg::{figure, group, rect, text};

const WIDTH: f64 = 920.0;
const LEFT: f64 = 176.0;
const ROW: f64 = 26.0;
/// The widest column.
const WIDEST: f64 = 96.0;
/// Columns that are wide enough for a number.
const FOR_TEXT: f64 = 46.0;
/// Shown at most; what is beyond stands in the table.
const MOST_LAYERS: usize = 160;
const MOST_ROWS: usize = 40;

/// A kind of site in every layer, or one site outside of layers.
struct Row<'a> {
    label: String,
    /// Layer, site, place among the sites. Outside of layers the layer is 0.
    cells: Vec<(usize, &'a str, usize)>,
    is_outside: bool,
}

/// An error that sites have.
const PANELS: [(&str, &str); 2] =
    [("output_error", "Error of the outputs"), ("relative_error", "Error of the weights")];

/// The drawing; nothing where no error is known.
pub(super) fn strips(doc: &Doc<'_>) -> String {
    let rows = rows(doc);
    let error = |key: &str, place: usize| doc.number(&format!("/result/sites/{place}/{key}")).filter(|x| *x >= 0.0);
    let panels: Vec<(&str, &str)> = PANELS
        .into_iter()
        .filter(|(key, _)| rows.iter().flat_map(|row| &row.cells).any(|cell| error(key, cell.2).is_some()))
        .collect();
    let all = panels
        .iter()
        .flat_map(|(key, _)| rows.iter().flat_map(|row| &row.cells).filter_map(move |cell| error(key, cell.2)));
    let positive = all.filter(|x| *x > 0.0);
    let (least, most) = positive.fold((f64::INFINITY, 0.0_f64), |(a, b), x| (a.min(x), b.max(x)));
    if panels.is_empty() {
        return String::new();
    }
    // What is a thousandth of the worst is as good as nothing
    let colours = Colours::new(least, most, 1e3);
    let layers = 1 + rows.iter().flat_map(|row| &row.cells).map(|cell| cell.0).max().unwrap_or(0);
    let wide = ((WIDTH - LEFT) / layers as f64).min(WIDEST);
    let mut top = 0.0;
    let shapes = each(&panels, |(key, title)| {
        let (drawn, end) = panel(&rows, (*title, top), (layers, wide), &colours, |place| error(key, place));
        top = end + 26.0;
        drawn
    });
    let shapes = shapes + &colours.legend((LEFT, top), "relative error");
    let label = "Errors of every kind of site in every layer: the table has the numbers";
    figure((WIDTH, top + 44.0), label, &shapes)
}

/// Rows in the model's order, those outside of layers last.
fn rows<'a>(doc: &Doc<'a>) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let names: Vec<&str> =
        (0..doc.len("/result/sites")).filter_map(|place| doc.text(&format!("/result/sites/{place}/site"))).collect();
    let is_one_stack = {
        let mut stacks: Vec<&str> = names.iter().filter_map(|name| Some(in_layer(name)?.0)).collect();
        stacks.dedup();
        stacks.len() <= 1
    };
    for place in 0..doc.len("/result/sites") {
        let Some(site) = doc.text(&format!("/result/sites/{place}/site")) else { continue };
        let (label, layer, is_outside) = match in_layer(site) {
            Some((stack, layer, kind)) => {
                let kind = kind.replace("self_attention.", "attention ").replace(['.', '_'], " ");
                (if is_one_stack { kind } else { format!("{stack} {kind}") }, layer, false)
            }
            None => (site.replace(['.', '_'], " "), 0, true),
        };
        let cell = (layer, site, place);
        if let Some(row) = rows.iter_mut().find(|row| !is_outside && !row.is_outside && row.label == label) {
            row.cells.push(cell);
        } else if rows.len() < MOST_ROWS {
            rows.push(Row { label, cells: vec![cell], is_outside });
        }
    }
    rows.sort_by_key(|row| row.is_outside);
    rows
}

/// `encoder.3.mlp.up` as its stack, layer and kind.
fn in_layer(site: &str) -> Option<(&str, usize, &str)> {
    let (stack, rest) = site.split_once('.')?;
    let (layer, kind) = rest.split_once('.')?;
    let layer = layer.parse().ok().filter(|layer| *layer < MOST_LAYERS)?;
    Some((stack, layer, kind))
}

/// The rows of one kind of error, and where they end.
fn panel(
    rows: &[Row<'_>],
    (title, top): (&str, f64),
    (layers, wide): (usize, f64),
    colours: &Colours,
    error: impl Fn(usize) -> Option<f64>,
) -> (String, f64) {
    let mut shapes = text("caption", (0.0, top + 14.0), "start", title);
    let every = layers.div_ceil(24);
    for layer in (0..layers).step_by(every).filter(|_| rows.iter().any(|row| !row.is_outside)) {
        let middle = LEFT + (layer as f64 + 0.5) * wide;
        let label = if layer == 0 { "layer 0".to_owned() } else { layer.to_string() };
        let label = if wide < FOR_TEXT { layer.to_string() } else { label };
        shapes.push_str(&text("tick", (middle, top + 14.0), "middle", &label));
    }
    let mut at = top + 22.0;
    for (number, row) in rows.iter().enumerate() {
        if row.is_outside && number > 0 && rows.get(number - 1).is_some_and(|before| !before.is_outside) {
            at += 8.0;
        }
        shapes.push_str(&text("tick", (LEFT - 10.0, at + 17.0), "end", &escape(&shortened(&row.label))));
        for (layer, site, place) in &row.cells {
            let Some(error) = error(*place) else { continue };
            let wide = if row.is_outside { wide.max(FOR_TEXT) } else { wide };
            let from = LEFT + *layer as f64 * wide;
            let title = format!("{}: {}", escape(site), small(error));
            let mut cell = rect("", (from + 0.5, at + 0.5), (wide - 1.0, ROW - 1.0), "");
            if wide >= FOR_TEXT {
                cell.push_str(&text("", (from + wide / 2.0, at + 17.0), "middle", &brief(error)));
            }
            shapes.push_str(&group(&format!("heat h{}", colours.level(error)), &title, &cell));
        }
        at += ROW;
    }
    (shapes, at)
}

fn shortened(label: &str) -> String {
    if label.chars().count() <= 20 { label.to_owned() } else { label.chars().take(19).chain(['…']).collect() }
}
