//! A cell is what a whole run would report of that one change, and the table is whole for every kind of answer.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::{Value, json};

use super::*;
use crate::engine::calibrate::{Sites, Statistics};
use crate::engine::checkpoint::Checkpoint;
use crate::engine::context::{Host, Silent, Stopwatch};
use crate::engine::export::verify::input;
use crate::engine::method::{Fallback, Fed, SiteAction, Streams};
use crate::engine::model::linear::Linear;
use crate::engine::model::{Layout, SiteSpec};
use crate::engine::plan::sensitivity::{Choice, Target};
use crate::engine::report::{Level, SiteSensitivity};
use crate::engine::run::compress;

struct Still;

impl Stopwatch for Still {
    fn elapsed(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn cpu_time(&self) -> Option<std::time::Duration> {
        None
    }

    fn peak_memory_bytes(&self) -> Option<u64> {
        None
    }
}

fn with_context<T>((threads, resident_bytes): (usize, u64), see: impl FnOnce(&RunContext<'_>) -> T) -> T {
    let scratch = tempfile::tempdir().unwrap();
    see(&RunContext {
        observer: &Silent,
        stopwatch: &Still,
        device: Device::Cpu,
        threads,
        resident_bytes,
        scratch: scratch.path().to_owned(),
        host: Host::default(),
        kept: Checkpoint::default(),
        statistics: Statistics::default(),
    })
}

fn place(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

fn model(path: &str) -> Source {
    let folder = place(path);
    let names = ["config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"];
    let names = names.iter().filter(|name| folder.join(name).is_file());
    Source { name: path.to_owned(), files: names.map(|name| input(&folder, name).unwrap()).collect() }
}

fn tickets() -> (Source, Datasets) {
    let rows = input(&place("fixtures/tickets/data"), "calibration.jsonl").unwrap();
    let calibration = Some(Source { name: "rows".to_owned(), files: vec![rows] });
    (model("fixtures/tickets"), Datasets { calibration, ..Datasets::default() })
}

fn recipe(targets: &[&str], params: &Value, bits: Option<&[u32]>) -> Recipe {
    let stage = json!({ "method": "quantize", "targets": targets, "params": params });
    let written = json!({
        "version": 1, "stages": [stage], "sensitivity": { "bits": bits }, "evaluate": { "max_seq_length": 48, "metrics": ["fidelity"] },
    });
    Recipe::parse(&written).unwrap()
}

fn of_recipe(source: &Source, recipe: &Recipe, datasets: &Datasets, ctx: &RunContext<'_>) -> Result<Report> {
    measure(&Asked { source, recipe, plan: None, datasets }, None, ctx)
}

fn of(report: &Report) -> &[SiteSensitivity] {
    report.result.sensitivity.as_deref().unwrap()
}

#[test]
fn a_cell_is_what_a_run_that_changes_that_site_alone_reports() {
    let (model, datasets) = tickets();
    let sites = ["embedding.token", "encoder.0.self_attention.query", "encoder.1.mlp.down", "encoder.3.mlp.up", "head"];
    for observer in ["minmax", "weighted_mse"] {
        let params = json!({ "bits": 8, "group_size": 32, "symmetric": false, "observer": observer });
        let asked = recipe(&sites, &params, Some(&[2, 4]));
        let mut table = with_context((2, u64::MAX), |ctx| of_recipe(&model, &asked, &datasets, ctx)).unwrap();
        table.finish().unwrap();
        assert_eq!(of(&table).iter().map(|row| row.site.as_str()).collect::<Vec<_>>(), sites);
        for (row, bits) in of(&table).iter().flat_map(|row| [(row, 2u32), (row, 4)]) {
            let params = json!({ "bits": bits, "group_size": 32, "symmetric": false, "observer": observer });
            let alone = recipe(&[&row.site], &params, None);
            let whole = with_context((2, u64::MAX), |ctx| {
                compress::compress(&model, &alone, None, &datasets, ctx).unwrap();
                std::fs::read(ctx.scratch.join(OUT).join("report.json")).unwrap()
            });
            let whole: Report = serde_json::from_slice(&whole).unwrap();
            let cell = row.levels.iter().find(|level| level.bits == bits).unwrap();
            let site = whole.result.sites.iter().find(|site| site.site == row.site).unwrap();
            let fidelity = whole.result.after.fidelity.unwrap();
            let found = (cell.bytes, cell.sqnr_db, cell.relative_error, cell.kl, cell.cosine);
            // The same numbers in the same order of sums: to the bit
            let want =
                (site.after_bytes, site.sqnr_db, site.output_error, Some(fidelity.kl.unwrap().mean), fidelity.cosine);
            assert_eq!(found, want, "{observer}: {} at {bits} bits", row.site);
            assert_eq!(Some(row.before_bytes), site.before_bytes);
        }
    }
}

#[test]
fn errors_fall_and_bytes_grow_with_bits() {
    let (model, datasets) = tickets();
    let params = json!({ "group_size": 64, "symmetric": false, "observer": "mse" });
    let report =
        with_context((2, u64::MAX), |ctx| of_recipe(&model, &recipe(&["**"], &params, None), &datasets, ctx).unwrap());
    let rows = of(&report);
    assert_eq!(rows.len(), report.result.sites.len());
    for row in rows {
        assert!(
            row.levels.len() >= 3 && row.levels.is_sorted_by_key(|level| (level.bits, level.bytes)),
            "{}",
            row.site
        );
        let falls = |of: fn(&Level) -> Option<f64>| row.levels.windows(2).all(|two| of(&two[0]) > of(&two[1]));
        assert!(falls(|level| level.relative_error) && falls(|level| level.sqnr_db.map(|db| -db)), "{}", row.site);
        assert!(row.levels[0].bytes < row.before_bytes);
    }
    // Of one site chance may favour the coarser grid; of all together it does not
    let mean = |level: usize| rows.iter().filter_map(|row| row.levels.get(level)?.kl).sum::<f64>();
    let last = rows[0].levels.len() - 1;
    assert!((0..last).all(|level| mean(level) > 2.0 * mean(level + 1)), "two bits more halve it many times over");
    assert!(report.result.verdict.summary.contains("costs most: answers diverge by"));
}

/// Changes nothing.
struct Same;

impl SiteAction for Same {
    fn layout(&self, _: &SiteSpec, current: &Layout) -> std::result::Result<Layout, String> {
        Ok(current.clone())
    }

    fn streams(&self) -> Streams {
        Streams::No
    }

    fn apply(&self, _: &SiteSpec, linear: &Linear, _: Option<&Fed<'_>>) -> Result<(Linear, Vec<Fallback>)> {
        Ok((linear.clone(), Vec::new()))
    }
}

#[test]
fn what_changes_nothing_costs_nothing() {
    let (model, datasets) = tickets();
    with_context((2, u64::MAX), |ctx| {
        let opened = evaluate::open(&model, ctx).unwrap();
        let header = &opened.inspected.header;
        let plan = planning::plan(
            &recipe(&["**"], &json!({}), None),
            header,
            &crate::engine::plan::Available { calibration_rows: Some(256), ..Default::default() },
        )
        .unwrap();
        let from = Opened { source: &model, inspected: &opened.inspected, checkpoint: &opened.checkpoint };
        let mut bench = bench(&from, &plan, &datasets, ctx).unwrap().unwrap();
        bench.original(&opened.model, ctx).unwrap();
        let target = |site: usize| {
            let choice =
                |bits| Choice { bits, actions: vec![(0, Box::new(Same))], layout: header.sites[site].layout.clone() };
            Target { site, choices: vec![choice(16), choice(32)] }
        };
        let targets: Vec<Target> = (0..header.sites.len()).map(target).collect();
        let seen: [Sites; 0] = [];
        let given = Given { model: &opened.model, targets: &targets, seen: &seen, bench: Some(&bench) };
        let found = table(&given, ctx).unwrap();
        assert_eq!(found.sites.len(), header.sites.len());
        for row in &found.sites {
            for level in &row.levels {
                assert_eq!((level.bytes, level.sqnr_db), (row.before_bytes, None), "{}", row.site);
                assert_eq!((level.kl, level.relative_error), (Some(0.0), Some(0.0)), "{}", row.site);
            }
        }
    });
}

#[test]
fn every_kind_of_answer_has_its_measure_and_every_null_its_reason() {
    for (name, measure_of) in [
        ("bert-regression", "rms_difference"),
        ("distilbert-embed", "cosine"),
        ("bert-tags", "kl"),
        ("bert-mlm", "kl"),
        ("llama-gqa", "kl"),
        ("gpt2-lm", "kl"),
    ] {
        let model = model(&format!("goldens/models/{name}"));
        let asked = recipe(&["**"], &json!({ "observer": "minmax", "symmetric": false }), Some(&[2, 8]));
        let asked = Recipe { evaluate: crate::engine::recipe::Evaluate::default(), ..asked };
        let mut report =
            with_context((3, u64::MAX), |ctx| of_recipe(&model, &asked, &Datasets::default(), ctx)).unwrap();
        report.finish().unwrap_or_else(|error| panic!("{name}: {error}"));
        for row in of(&report) {
            for level in &row.levels {
                let is_there = match measure_of {
                    "kl" => level.kl.is_some(),
                    "cosine" => level.kl.is_none() && level.cosine.is_some(),
                    _ => level.kl.is_none() && level.rms_difference.is_some(),
                };
                assert!(is_there && level.loss().unwrap() >= 0.0, "{name}: {} {level:?}", row.site);
            }
        }
        let moved = of(&report).iter().filter(|row| row.levels[0].loss() > row.levels[1].loss()).count();
        assert!(moved * 2 > of(&report).len(), "{name}: {moved} of {} cost more at 2 bits", of(&report).len());
    }
}

#[test]
fn a_model_in_its_file_has_the_same_errors_and_says_why_answers_are_not_compared() {
    let (model, datasets) = tickets();
    let asked = recipe(&["encoder.1.**", "head"], &json!({ "observer": "minmax" }), Some(&[4]));
    let of_room = |threads, bytes| {
        let mut report = with_context((threads, bytes), |ctx| of_recipe(&model, &asked, &datasets, ctx)).unwrap();
        report.finish().unwrap();
        report
    };
    let (held, stored) = (of_room(1, u64::MAX), of_room(2, 0));
    assert_eq!(of(&held), of(&of_room(3, u64::MAX)), "nothing depends on threads");
    for (held, stored) in of(&held).iter().zip(of(&stored)) {
        assert_eq!((held.weights, &held.site), (stored.weights, &stored.site));
        let without = |level: &Level| Level { kl: None, cosine: None, ..level.clone() };
        assert_eq!(held.levels.iter().map(without).collect::<Vec<_>>(), stored.levels);
    }
    let why = &stored.unmeasured["/result/sensitivity/0/levels/0/kl"];
    assert!(why.contains("larger than what a run holds in memory"), "{why}");
}

#[test]
fn a_table_is_used_again_where_nothing_that_it_depends_on_is_another() {
    let (model, datasets) = tickets();
    let asked = |bits: u32| recipe(&["encoder.2.mlp.*"], &json!({ "observer": "minmax" }), Some(&[bits]));
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("earlier.json");
    let go = |bits: u32, datasets: &Datasets| {
        with_context((2, u64::MAX), |ctx| {
            let recipe = asked(bits);
            let asked = Asked { source: &model, recipe: &recipe, plan: None, datasets };
            let mut report = measure(&asked, Some(&path), ctx).unwrap();
            let bytes = report.finish().unwrap();
            (report, bytes)
        })
    };
    let (first, bytes) = go(4, &datasets); // there is no file yet
    assert_eq!(first.provenance.table_from, None);
    std::fs::write(&path, &bytes).unwrap();
    let (second, again) = go(4, &datasets);
    assert_eq!(second.provenance.table_from.as_deref(), Some(crate::engine::hash::sha256(&bytes).as_str()));
    assert_eq!((&second.result, &second.unmeasured), (&first.result, &first.unmeasured));
    assert_eq!(second.provenance.evaluation, first.provenance.evaluation);
    std::fs::write(&path, &again).unwrap();
    assert_eq!(go(4, &datasets).0.provenance.table_from, second.provenance.table_from, "the one that made it");
    assert_eq!(go(8, &datasets).0.provenance.table_from, None, "other bits");
    let training = Datasets { training: datasets.calibration.clone(), ..Datasets::default() };
    assert_eq!(go(4, &training).0.provenance.table_from, None, "data of another role");
    let mut damaged: Value = serde_json::from_slice(&bytes).unwrap();
    damaged["result"]["sensitivity"] = Value::Null;
    std::fs::write(&path, damaged.to_string()).unwrap();
    assert_eq!(go(4, &datasets).0.provenance.table_from, None, "without its table");
}

#[test]
fn rows_stay_in_bounds_and_are_spread_evenly() {
    let asked = |num_samples, max_tokens| PlannedSensitivity { bits: vec![4], num_samples, max_tokens, cells: 1 };
    assert_eq!(few(&[5; 6], &asked(3, 1000)), [0, 2, 4]);
    assert_eq!(few(&[5; 6], &asked(100, 1000)), [0, 1, 2, 3, 4, 5]);
    assert_eq!(few(&[5; 6], &asked(100, 10)), [0, 3]);
    assert_eq!(few(&[50], &asked(100, 10)), [0], "one row at least");
    assert!(few(&[], &asked(100, 10)).is_empty());
}
