//! How a budget was shared out over sites, beside one level for all.

use serde_json::Value;

use super::format::{bytes, count, escape, name, small};
use super::read::{Doc, segment};
use super::{each, table, titled};

const BASE: &str = "/result/allocation";
/// Sites that are shown at once; the others are folded away.
const SHOWN: usize = 20;

pub(super) fn section(doc: &Doc<'_>) -> String {
    if doc.get(BASE).is_none() {
        return String::new();
    }
    let at = |key: &str| format!("{BASE}/{key}");
    let kept = match doc.flag(&at("is_kept")) {
        Some(true) => {
            "The budget shared out over sites is the result: on held-out rows it stays nearer to the original."
        }
        Some(false) => {
            "One level for all is the result: on held-out rows sharing the budget out did not stay nearer to the original by more than \
             chance gives."
        }
        None => "Which of the two is the result is not told.",
    };
    let lead = format!(
        "At most {} for the weight file. {kept} Shared out, answers moved by {}; with one level for all by {}. The standard error of \
         the difference is {}.",
        doc.show(&at("max_bytes"), bytes),
        doc.show(&at("loss"), small),
        doc.show(&at("uniform_loss"), small),
        doc.show(&at("standard_error"), small),
    );
    titled("allocation", "How the budget was shared out", &lead, &(levels(doc) + &sites(doc)))
}

/// A level, as its parameters are written.
fn level(doc: &Doc<'_>, place: u64) -> String {
    let base = format!("{BASE}/levels/{place}");
    let shown = doc.keys(&base).into_iter().filter_map(|key| {
        let value = doc.get(&format!("{base}/{}", segment(key)))?;
        let value = value.as_str().map_or_else(|| Value::to_string(value), str::to_owned);
        Some(format!("{} {}", name(key), escape(&value)))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// How many sites have each level.
fn levels(doc: &Doc<'_>) -> String {
    let given: Vec<Option<u64>> =
        (0..doc.len(&format!("{BASE}/sites"))).map(|i| doc.whole(&format!("{BASE}/sites/{i}/level"))).collect();
    let uniform = doc.whole(&format!("{BASE}/uniform"));
    let rows = each(0..doc.len(&format!("{BASE}/levels")) as u64, |place| {
        let sites = given.iter().filter(|level| **level == Some(place)).count();
        let note = if uniform == Some(place) { "one for all" } else { "" };
        let sites = count(sites as f64);
        format!("<tr><th scope=\"row\">{}</th><td>{sites}</td><td>{note}</td></tr>\n", level(doc, place))
    });
    let head = "<th scope=\"col\">Level</th><th scope=\"col\">Sites</th><th scope=\"col\"></th>";
    table("Levels of the budget", head, &rows)
}

/// What every site was given, those that would have moved answers the most first.
fn sites(doc: &Doc<'_>) -> String {
    let mut order: Vec<usize> = (0..doc.len(&format!("{BASE}/sites"))).collect();
    let loss = |i: usize| doc.number(&format!("{BASE}/sites/{i}/loss")).unwrap_or(-1.0);
    // Stable: sites that cost alike keep the model's order
    order.sort_by(|a, b| loss(*b).total_cmp(&loss(*a)));
    let part = |label: &str, order: &[usize]| {
        let rows = each(order, |i| {
            let at = |key: &str| format!("{BASE}/sites/{i}/{key}");
            format!(
                "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td></tr>\n",
                doc.show_text(&at("site")),
                doc.whole(&at("level")).map(|place| level(doc, place)).unwrap_or_default(),
                doc.show(&at("loss"), small),
            )
        });
        let head = "<th scope=\"col\">Site</th><th scope=\"col\">Level</th>\
                    <th scope=\"col\" title=\"On calibration rows, this site changed alone\">Costs alone</th>";
        table(label, head, &rows)
    };
    let shown = order.get(..SHOWN).unwrap_or(&order);
    let first = part("What the costliest sites were given", shown);
    if shown.len() == order.len() {
        return first;
    }
    let all = part("What all sites were given", &order);
    format!("{first}<details><summary>All {} sites</summary>\n{all}</details>\n", order.len())
}
