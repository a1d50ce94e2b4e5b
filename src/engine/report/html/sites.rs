//! Every site, the worst first.

use super::format::{bytes, escape, fixed, name, small};
use super::read::Doc;
use super::{each, table, titled};

/// Sites that are shown at once.
const SHOWN: usize = 20;

/// Below this signal-to-noise ratio a site is marked.
const NOISY_DB: f64 = 10.0;

pub(super) fn section(doc: &Doc<'_>) -> String {
    let mut order: Vec<(usize, f64)> = (0..doc.len("/result/sites"))
        .map(|number| (number, doc.number(&format!("/result/sites/{number}/relative_error")).unwrap_or(-1.0)))
        .collect();
    if order.is_empty() {
        return titled("sites", "Site by site", "The report lists no sites.", "");
    }
    // Stable: sites with equal errors keep the model's order.
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let worst = order.first().map_or(0.0, |(_, error)| error.max(0.0));
    let rows = |chosen: &[(usize, f64)]| each(chosen, |(number, _)| row(doc, *number, worst));
    let shown = order.get(..SHOWN).unwrap_or(&order);
    let mut body = table("Worst sites", HEAD, &rows(shown));
    if order.len() > shown.len() {
        let (count, all) = (order.len(), table("All sites", HEAD, &rows(&order)));
        body = format!("{body}<details><summary>All {count} sites</summary>\n{all}</details>\n");
    }
    let lead = "The sites whose weights moved most, first. Relative error is ‖W − Ŵ‖ / ‖W‖, or that of the outputs where \
                inputs were seen; below 10 dB the signal-to-noise ratio is marked.";
    titled("sites", "Site by site", lead, &body)
}

const HEAD: &str = "<th scope=\"col\">Site</th><th scope=\"col\" class=\"text\">Category</th><th scope=\"col\" class=\"text\">Form</th>\
                    <th scope=\"col\">Bits</th><th scope=\"col\">Rank</th><th scope=\"col\">Density</th>\
                    <th scope=\"col\">Heads</th><th scope=\"col\">Before</th><th scope=\"col\">After</th>\
                    <th scope=\"col\" colspan=\"2\">Relative error</th><th scope=\"col\">SQNR, dB</th>";

fn row(doc: &Doc<'_>, number: usize, worst: f64) -> String {
    let at = |key: &str| format!("/result/sites/{number}/{key}");
    let whole = |key: &str| doc.show(&at(key), |value| fixed(value, 0));
    let noise = doc.show(&at("sqnr_db"), |ratio| {
        let ratio_text = fixed(ratio, 1);
        if ratio < NOISY_DB { format!("<strong class=\"bad\">{ratio_text}</strong>") } else { ratio_text }
    });
    format!(
        "<tr><th scope=\"row\"><code>{}</code></th><td class=\"text\">{}</td><td class=\"text\">{}</td><td>{}</td>\
         <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"bar\">{}</td><td>{noise}</td>\
         </tr>\n",
        escape(doc.text(&at("site")).unwrap_or("unnamed")),
        doc.or_dash(doc.text(&at("category")), &at("category"), name),
        doc.show_text(&at("form")),
        whole("bits"),
        whole("rank"),
        doc.show(&at("density"), |share| fixed(share, 2)),
        whole("heads"),
        doc.show(&at("before_bytes"), bytes),
        doc.show(&at("after_bytes"), bytes),
        doc.show(&at("relative_error"), small),
        bar(doc.number(&at("relative_error")).unwrap_or(0.0), worst),
    )
}

/// The error beside the worst one.
fn bar(error: f64, worst: f64) -> String {
    let width = if worst > 0.0 { 60.0 * (error / worst).clamp(0.0, 1.0) } else { 0.0 };
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 60 8\" aria-hidden=\"true\"><rect class=\"track\" width=\"60\" \
         height=\"8\"/><rect class=\"fill\" width=\"{width:.1}\" height=\"8\"/></svg>"
    )
}
