//! Layer by layer: errors as colours, the worst sites with their numbers, how their weights lie.

use super::format::{bytes, escape, fixed, small};
use super::histograms::histograms;
use super::read::Doc;
use super::strips::strips;
use super::{each, table, titled};

/// Sites that are shown at once.
const SHOWN: usize = 20;

/// Below this signal-to-noise ratio a site is marked.
const NOISY_DB: f64 = 10.0;

pub(super) fn section(doc: &Doc<'_>) -> String {
    let order = Order::of(doc);
    if order.places.is_empty() {
        return titled("sites", "Layer by layer", "The report lists no sites.", "");
    }
    let columns = Columns::of(doc, &order);
    let shown = order.places.get(..SHOWN).unwrap_or(&order.places);
    let label = if order.key.is_some() { "Worst sites" } else { "Sites" };
    let mut body = strips(doc) + &columns.table(doc, label, shown) + &histograms(doc, &order);
    if order.places.len() > shown.len() {
        let all = columns.table(doc, "All sites", &order.places);
        body = format!("{body}<details><summary>All {} sites</summary>\n{all}</details>\n", order.places.len());
    }
    titled("sites", "Layer by layer", lead(doc, &order), &body)
}

fn lead(doc: &Doc<'_>, order: &Order) -> &'static str {
    match order.key {
        Some("output_error") => {
            "Errors relative to the original’s, stronger where larger: ‖XWᵀ − XŴᵀ‖ / ‖XWᵀ‖ of what a site puts out on up to \
             32 of the measured rows, and ‖W − Ŵ‖ / ‖W‖ of its weights. The table has the largest first; a \
             signal-to-noise ratio below 10 dB is marked."
        }
        Some(_) => {
            "‖W − Ŵ‖ / ‖W‖ of the weights, stronger where larger; the table has the largest first, and marks a \
             signal-to-noise ratio below 10 dB. No rows were run, so what sites put out was not compared."
        }
        None if doc.get("/recipe").is_none() => "The model was measured as it is: its weights were compared with none.",
        None => "Errors of the weights were not measured.",
    }
}

/// The places of all sites, the worst first.
pub(super) struct Order {
    /// By which error; `None` where there is none, and the model's order stays.
    pub(super) key: Option<&'static str>,
    pub(super) places: Vec<usize>,
}

impl Order {
    fn of(doc: &Doc<'_>) -> Self {
        let sites = doc.len("/result/sites");
        let error = |place: usize, key: &str| doc.number(&format!("/result/sites/{place}/{key}"));
        let is_known = |key: &&str| (0..sites).any(|place| error(place, key).is_some());
        let key = ["output_error", "relative_error"].into_iter().find(is_known);
        let mut places: Vec<(usize, f64)> =
            (0..sites).map(|place| (place, key.and_then(|key| error(place, key)).unwrap_or(-1.0))).collect();
        // Stable: sites with equal errors keep the model's order
        places.sort_by(|a, b| b.1.total_cmp(&a.1));
        Self { key, places: places.into_iter().map(|(place, _)| place).collect() }
    }
}

/// Which columns say anything, and the worst errors for the bars.
struct Columns {
    keys: Vec<(&'static str, &'static str)>,
    worst: f64,
    key: Option<&'static str>,
}

/// Every column: its key and heading.
const ALL: [(&str, &str); 12] = [
    ("output_error", "Error of outputs"),
    ("relative_error", "Error of weights"),
    ("sqnr_db", "SQNR, dB"),
    ("cosine", "1 − cosine"),
    ("form", "Form"),
    ("bits", "Bits"),
    ("activations", "Inputs"),
    ("rank", "Rank"),
    ("density", "Density"),
    ("heads", "Heads"),
    ("before_bytes", "Before"),
    ("after_bytes", "After"),
];

impl Columns {
    fn of(doc: &Doc<'_>, order: &Order) -> Self {
        let values = |key: &str| -> Vec<Option<f64>> {
            order.places.iter().map(|place| doc.number(&format!("/result/sites/{place}/{key}"))).collect()
        };
        let says = |key: &str| match key {
            "form" => true,
            "activations" => {
                order.places.iter().any(|place| doc.text(&format!("/result/sites/{place}/{key}")).is_some())
            }
            // Heads are the same in all layers, and nothing is left out, unless something was pruned
            "density" => values(key).iter().any(|value| *value != Some(1.0)),
            "heads" => {
                let heads: Vec<f64> = values(key).into_iter().flatten().collect();
                heads.iter().any(|count| Some(count) != heads.first())
            }
            key => values(key).iter().any(Option::is_some),
        };
        let keys = ALL.into_iter().filter(|(key, _)| says(key)).collect();
        let worst = order.key.map_or(0.0, |key| values(key).into_iter().flatten().fold(0.0, f64::max));
        Self { keys, worst, key: order.key }
    }

    fn table(&self, doc: &Doc<'_>, label: &str, places: &[usize]) -> String {
        let head = each(&self.keys, |(key, title)| match *key {
            "after_bytes" if doc.get("/result/before").is_none() => "<th scope=\"col\">Bytes</th>".to_owned(),
            "form" | "activations" => format!("<th scope=\"col\" class=\"text\">{title}</th>"),
            key if Some(key) == self.key => format!("<th scope=\"col\" colspan=\"2\">{title}</th>"),
            _ => format!("<th scope=\"col\">{title}</th>"),
        });
        let head = format!("<th scope=\"col\">Site</th>{head}");
        table(label, &head, &each(places, |place| self.row(doc, *place)))
    }

    fn row(&self, doc: &Doc<'_>, place: usize) -> String {
        let at = |key: &str| format!("/result/sites/{place}/{key}");
        let cells = each(&self.keys, |(key, _)| {
            let pointer = at(key);
            let cell = match *key {
                "form" => return format!("<td class=\"text\">{}</td>", doc.show_text(&pointer)),
                "activations" => {
                    let bits = doc.number(&at("activation_bits")).map(|bits| format!("{} bits, ", fixed(bits, 0)));
                    let scales = doc.text(&pointer).map_or_else(|| "as they are".to_owned(), escape);
                    return format!("<td class=\"text\">{}{scales}</td>", bits.unwrap_or_default());
                }
                "before_bytes" | "after_bytes" => doc.show(&pointer, bytes),
                "density" => doc.show(&pointer, |share| fixed(share, 2)),
                "output_error" | "relative_error" => doc.show(&pointer, small),
                "cosine" => doc.show(&pointer, |cosine| small(1.0 - cosine)),
                "sqnr_db" => doc.show(&pointer, noise),
                _ => doc.show(&pointer, |value| fixed(value, 0)),
            };
            if Some(*key) == self.key {
                let error = doc.number(&pointer).unwrap_or(0.0);
                return format!("<td>{cell}</td><td class=\"bar\">{}</td>", bar(error, self.worst));
            }
            format!("<td>{cell}</td>")
        });
        let site = escape(doc.text(&at("site")).unwrap_or("unnamed"));
        format!("<tr><th scope=\"row\"><code>{site}</code></th>{cells}</tr>\n")
    }
}

fn noise(ratio: f64) -> String {
    let text = fixed(ratio, 1);
    if ratio < NOISY_DB { format!("<strong class=\"bad\">{text}</strong>") } else { text }
}

/// The error beside the worst one.
fn bar(error: f64, worst: f64) -> String {
    let width = if worst > 0.0 { 60.0 * (error / worst).clamp(0.0, 1.0) } else { 0.0 };
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 60 8\" aria-hidden=\"true\"><rect class=\"track\" width=\"60\" \
         height=\"8\"/><rect class=\"fill\" width=\"{width:.1}\" height=\"8\"/></svg>"
    )
}
