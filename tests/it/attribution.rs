//! What each stage saved, what each site lost and how its weights lie, in reports of real runs and on their pages.

use pare::engine::job::{Datasets, Task};
use pare::engine::recipe::Recipe;
use pare::engine::report::{Report, html};
use pare::engine::run::verify::Given;
use serde_json::json;

use crate::support::engine::{model, own};
use crate::support::verified::{compressed, few_rows, measured, tickets, told};

fn page(report: &Report) -> String {
    html::page(&serde_json::to_value(report).unwrap())
}

/// The bytes that the page says each stage saved.
fn saved_on(page: &str) -> Vec<i64> {
    let titles = page.split("<title>").skip(1).map(|rest| rest.split("</title>").next().unwrap());
    let saved =
        titles.filter_map(|title| title.split_once(" bytes less, ")?.0.rsplit_once(": ").map(|(_, bytes)| bytes));
    saved.map(|bytes| bytes.replace(',', "").parse().unwrap()).collect()
}

#[test]
fn what_three_stages_saved_adds_up_in_the_report_and_on_its_page() {
    let data = tempfile::tempdir().unwrap();
    let rows = few_rows(data.path(), "rows.jsonl", 60);
    let stages = json!([
        { "method": "fold" },
        { "method": "factorize", "targets": ["block.*.mlp.*"], "params": { "rank_ratio": 0.5 } },
        { "method": "quantize", "params": { "bits": 4 } },
    ]);
    let told = compressed(&own("tickets"), &stages, Some(&rows));
    let result = &told.report.result;
    let (before, after) = (result.before.as_ref().unwrap().size_bytes as i64, result.after.size_bytes as i64);
    let sizes: Vec<i64> =
        std::iter::once(before).chain(result.stages.iter().map(|stage| stage.size_bytes as i64)).collect();
    let saved: Vec<i64> = sizes.windows(2).map(|pair| pair[0] - pair[1]).collect();
    assert_eq!((saved.len(), saved.iter().sum::<i64>()), (3, before - after));
    assert!(saved[0] == 0 && saved[1] > 0 && saved[2] > 0, "a fold saves nothing: {saved:?}");
    let on_disk = told.folder.path().join("out/model.safetensors").metadata().unwrap().len();
    assert_eq!(after, on_disk as i64);
    assert_eq!(saved_on(&page(&told.report)), saved);
    let kl: Vec<f64> =
        result.stages.iter().map(|stage| stage.fidelity.as_ref().unwrap().kl.as_ref().unwrap().mean).collect();
    assert!(kl[0] < 1e-6 && kl[1] > kl[0] && kl[2] > kl[1], "each stage costs something more: {kl:?}");
}

#[test]
fn every_site_of_a_model_that_is_run_has_its_errors_and_its_histogram() {
    let report = &tickets().report;
    let result = &report.result;
    assert_eq!(result.histograms.len(), result.sites.len());
    for (site, histogram) in result.sites.iter().zip(&result.histograms) {
        let name = &site.site;
        let (error, output) = (site.relative_error.unwrap(), site.output_error.expect(name));
        let cosine = site.cosine.unwrap();
        assert!(error > 0.0 && output > 0.0 && output < 1.5, "{name}: {error} {output}");
        // Rounding to the nearest leaves what is nearly at a right angle to the result: cos² ≈ 1 − error²
        assert!((1.0 - cosine * cosine - error * error).abs() < 0.2 * error * error + 1e-5, "{name}: {cosine} {error}");
        assert!((site.sqnr_db.unwrap() + 20.0 * error.log10()).abs() < 1e-9, "{name}");
        assert_eq!((name, histogram.wrong()), (&histogram.site, None));
        assert!(histogram.before != histogram.after && histogram.error_bin_width < histogram.weight_bin_width);
    }
    let page = page(report);
    for shown in ["Error of the outputs", "Error of the weights", "class=\"multiples\"", "class=\"heat h6\""] {
        assert!(page.contains(shown), "the page has no '{shown}'");
    }
}

#[test]
fn tensor_by_tensor_the_errors_and_histograms_are_the_same_and_outputs_are_not_compared() {
    let stages = json!([{ "method": "quantize", "params": { "bits": 4, "group_size": 32 } }]);
    let whole = compressed(&own("tickets"), &stages, None).report;
    let recipe = Recipe::parse(&json!({ "version": 1, "stages": stages, "evaluate": { "metrics": [] } })).unwrap();
    let streamed = told(|_| {
        let (of, datasets) = (model(&own("tickets")), Datasets::default());
        let given = Given { model: of.clone(), reference: None, artifact: None, datasets: datasets.clone() };
        (Task::Compress { model: of, recipe, plan: None, datasets }, given)
    });
    let streamed = streamed.report;
    assert_eq!(streamed.result.histograms, whole.result.histograms);
    for (place, (a, b)) in whole.result.sites.iter().zip(&streamed.result.sites).enumerate() {
        let near = |a: Option<f64>, b: Option<f64>| (a.unwrap() - b.unwrap()).abs() < 1e-5; // other parts of f32 sums
        assert!(near(a.relative_error, b.relative_error) && near(a.cosine, b.cosine), "{}", a.site);
        assert!(a.output_error.is_some() && b.output_error.is_none());
        let why = &streamed.unmeasured[&format!("/result/sites/{place}/output_error")];
        assert!(why.contains("metrics are empty"), "{why}");
    }
    assert!(page(&streamed).contains("No rows were run"));
}

#[test]
fn the_page_of_a_model_that_was_measured_as_it_is_speaks_of_no_compression() {
    for reference in [None, Some(own("tickets"))] {
        let told = measured(&own("tickets"), reference.as_deref());
        let page = page(&told.report);
        for foreign in ["What it cost", "Stage by stage", "No stage was run", "<section id=\"stages\">", "became"] {
            assert!(!page.contains(foreign), "'{foreign}'");
        }
        let title = if reference.is_some() { "How the two compare" } else { "What it is worth" };
        assert!(page.contains(title) && page.contains("its weights were compared with none"));
        assert_eq!(page.contains("<section id=\"plot\">"), reference.is_some());
        assert!(told.report.result.histograms.is_empty());
    }
}
