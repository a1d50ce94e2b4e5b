//! The page of a sensitivity job shows its table, and nothing that it has not.

use super::super::super::sample::table;
use super::*;

fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    page.split_once(from).unwrap_or_else(|| panic!("no {from}")).1.split_once(to).unwrap().0
}

/// The colour of a cell, by the beginning of its title.
fn colour(map: &str, title: &str) -> usize {
    let before = map.split_once(&format!("<title>{title}")).unwrap_or_else(|| panic!("no {title}")).0;
    before.rsplit_once("heat h").unwrap().1[..1].parse().unwrap()
}

#[test]
fn a_cell_for_every_change_with_its_number_and_a_colour_that_grows_with_the_loss() {
    let report = table();
    let shown = page(&document(report.clone()));
    assert_harmless(&shown);
    let map = between(&shown, "aria-label=\"Mean KL of every site", "</svg>");
    let sites = report.result.sensitivity.unwrap();
    // Three changes of each site, and a legend of seven
    assert_eq!(map.matches("<g class=\"heat h").count(), 3 * sites.len() + 7);
    for site in &sites {
        let of = |bits: u32| colour(map, &format!("{} at {bits} bits: Mean KL", site.site));
        assert!(of(2) > of(4) && of(4) > of(8), "{}", site.site);
    }
    let last = sites.last().unwrap();
    assert_eq!(colour(map, &format!("{} at 2 bits", last.site)), 6);
    let title = between(map, &format!("<title>{} at 4 bits: ", last.site), "</title>");
    let kl = format::small(last.levels[1].kl.unwrap());
    assert!(title.starts_with(&format!("Mean KL {kl} · SQNR 24.0 dB · error of outputs")), "{title}");
    assert!(
        map.contains(&format!(">{}</text>", format::brief(last.levels[1].kl.unwrap()))),
        "the number is in the cell"
    );
    assert!(map.contains(">2 bits</text>") && map.contains(">8</text>"));
}

#[test]
fn tables_have_all_numbers_and_the_costliest_sites_first() {
    let report = table();
    let shown = page(&document(report.clone()));
    let sites = report.result.sensitivity.unwrap();
    let changes = between(&shown, "aria-label=\"Changes\"", "</table>");
    assert_eq!(changes.matches("<tr><th scope=\"row\">").count(), 3 * sites.len());
    let weights = between(&shown, "aria-label=\"Weights of the costliest sites\"", "</table>");
    assert_eq!(weights.matches("<tr><th scope=\"row\">").count(), 20);
    assert_eq!(between(weights, "<code>", "</code>"), sites.last().unwrap().site);
    for absent in ["cost", "stages", "plot", "probes", "files", "sites"] {
        assert!(!shown.contains(&format!("<section id=\"{absent}\">")), "{absent}");
    }
    assert!(!shown.contains("class=\"notice") && !shown.contains("NaN"));
    assert!(shown.contains("41 sites, each compressed alone at 2, 4, 8 bits. At 4 bits"));
}

#[test]
fn without_answers_the_errors_of_outputs_are_drawn() {
    let mut report = table();
    for level in report.result.sensitivity.iter_mut().flatten().flat_map(|site| &mut site.levels) {
        (level.kl, level.cosine) = (None, None);
    }
    report.unmeasured("/result/sensitivity", "the model was not run");
    let shown = page(&document(report));
    assert!(shown.contains("aria-label=\"Error of outputs of every site") && shown.contains("was not run as a whole"));
    let mut empty = document(table());
    empty["result"]["sensitivity"] = json!([{ "site": 5, "levels": [{ "bits": "x" }, { "bits": 4 }] }]);
    assert_harmless(&page(&empty));
}
