//! What plots show is what the report says.

use super::*;

fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    page.split_once(from).unwrap_or_else(|| panic!("no {from}")).1.split_once(to).unwrap().0
}

#[test]
fn a_waterfall_falls_from_the_original_to_the_result() {
    let mut document = document(compressed());
    let steps = waterfall::steps(&read::Doc::new(&document)).unwrap();
    let saved: f64 = steps.iter().map(|step| step.from - step.to).sum();
    let size = |side: &str| document["result"][side]["size_bytes"].as_f64().unwrap();
    assert_eq!((steps.len(), saved), (2, size("before") - size("after")));
    let shown = page(&document);
    for title in [
        "<title>original: 45,453,840 bytes</title>",
        "<title>1. factorize: 10,607,488 bytes less, 34,846,352 left</title>",
        "<title>2. quantize: 22,408,760 bytes less, 12,437,592 left</title>",
        "<title>result: 12,437,592 bytes</title>",
    ] {
        assert!(shown.contains(title), "{title}");
    }
    assert!(!shown.contains("class=\"flow grown\""));
    document["result"]["stages"][0]["size_bytes"] = json!(50_000_000);
    assert!(page(&document).contains("class=\"flow grown\""), "a stage may add bytes");
    document["result"]["stages"][0]["size_bytes"] = Value::Null;
    assert!(!page(&document).contains("class=\"flow"), "half a waterfall is none");
}

#[test]
fn strips_have_a_row_for_each_kind_and_a_colour_that_grows_with_the_error() {
    let shown = page(&document(compressed()));
    let strips = between(&shown, "aria-label=\"Errors of every kind", "</svg>");
    for row in ["attention query", "attention output", "mlp down", "embedding token", "pooler", "layer 0"] {
        assert_eq!(strips.matches(&format!(">{row}</text>")).count(), 2, "{row} of outputs and of weights");
    }
    // 41 sites with two errors each, and a legend of seven
    assert_eq!(strips.matches("<g class=\"heat h").count(), 2 * 41 + 7);
    let level = |site: &str| -> usize {
        let before = strips.split_once(&format!("<title>{site}: ")).unwrap().0;
        before.rsplit_once("heat h").unwrap().1[..1].parse().unwrap()
    };
    let report = compressed();
    let mut sites: Vec<_> = report.result.sites.iter().collect();
    sites.sort_by(|a, b| a.output_error.partial_cmp(&b.output_error).unwrap());
    assert!(sites.windows(2).all(|pair| level(&pair[0].site) <= level(&pair[1].site)));
    assert_eq!((level("head"), level(&sites.last().unwrap().site)), (0, 6));
    let mut weights_alone = compressed();
    weights_alone.result.sites.iter_mut().for_each(|site| site.output_error = None);
    weights_alone.unmeasured("/result/sites", "no row was run");
    let shown = page(&document(weights_alone));
    assert!(!shown.contains("Error of the outputs") && shown.contains("No rows were run"));
}

#[test]
fn the_six_worst_sites_have_histograms_and_their_counts() {
    let report = compressed();
    let shown = page(&document(report.clone()));
    let plots = between(&shown, "<div class=\"multiples\">", "</div>");
    assert_eq!(plots.matches("<figure>").count(), 6);
    let mut sites = report.result.sites.clone();
    sites.sort_by(|a, b| b.output_error.partial_cmp(&a.output_error).unwrap());
    let names: Vec<&str> = plots.split("<text class=\"strong\"").skip(1).map(|rest| between(rest, ">", "<")).collect();
    assert_eq!(names, sites.iter().take(6).map(|site| site.site.as_str()).collect::<Vec<_>>());
    let most = report.result.histograms[0].before.iter().max().unwrap();
    assert!(shown.contains(&format!("<td>{}</td>", format::grouped(*most))), "the table behind the plot");
    let mut none = compressed();
    none.result.histograms.clear();
    assert!(!page(&document(none)).contains("class=\"multiples\""));
}

#[test]
fn latency_is_drawn_with_its_conditions() {
    let shown = page(&document(compressed()));
    let plot = between(&shown, "aria-label=\"Time of a call", "</svg>");
    assert!(plot.contains("batch of 8 rows × 96 tokens, 2 threads, n = 30") && plot.contains("batch of 1 row × 96"));
    assert_eq!(plot.matches("<circle").count(), 4);
    assert!(plot.contains("<title>original: median 11.8 ms · p95 13.4 ms</title>"));
    let mut none = compressed();
    none.measurements.latency = None;
    none.unmeasured("/measurements/latency", "not asked for");
    assert!(!page(&document(none)).contains("Time of a call"));
}

#[test]
fn every_plot_says_in_words_what_it_shows() {
    for report in [compressed(), without_labels(), alone(), embedding()] {
        let shown = page(&document(report));
        assert!(shown.matches("<figure>").count() >= 2);
        // Or stands beside the number that it shows
        let said = |tag: &str| tag.contains("role=\"img\" aria-label=\"") || tag.contains("aria-hidden=\"true\"");
        let silent = shown.split("<svg ").skip(1).filter_map(|rest| rest.split('>').next()).find(|tag| !said(tag));
        assert_eq!(silent, None);
    }
}
