//! Whole reports for tests: a classifier in two stages, and the ways in which less was measured.

mod histograms;
mod origin;
mod probes;
mod table;

use std::collections::BTreeMap;

use serde_json::json;

use self::histograms::histograms;
use self::origin::provenance;
use self::probes::{of_vectors, probes, without_original, without_quality};
pub(crate) use self::table::table;
use super::accounting::CATEGORIES;
use super::*;
use crate::engine::evaluate::fidelity::{Fidelity, Kl, MeasuredOn, Unit};
use crate::engine::evaluate::latency::Latency;
use crate::engine::evaluate::quality::{Change, Discordant, Estimate, Quality, QualityChange, Test};
use crate::engine::evaluate::statistics::wilson;
use crate::engine::model::Category;
use crate::engine::plan::{PlannedEvaluate, PlannedStage, Predicted, PredictedFile};

const BEFORE_BYTES: u64 = 45_453_840;
const AFTER_BYTES: u64 = 12_437_592;
const PARAMETERS: u64 = 22_720_916;
const NO_LABELS: &str = "the evaluation data has no labels";

/// A compressed classifier, everything measured.
pub(crate) fn compressed() -> Report {
    let before = Before {
        size_bytes: BEFORE_BYTES,
        total_bytes: 46_216_894,
        parameters: PARAMETERS,
        quality: Some(quality(1697, 0.792_35)),
    };
    let mut after = After::new(Some(&before), AFTER_BYTES, 13_200_640, 17_397_524);
    after.quality = Some(quality(1684, 0.785_11));
    after.quality_change = Some(quality_change());
    after.fidelity = Some(fidelity(1942, 1.0));
    let mut report = Report {
        version: VERSION,
        model: ModelSummary {
            name: "mdl_0198f2a4-7d10-7cc3-98d3-3f6b0c5a7e21".into(),
            family: Some("bert".into()),
            architecture: Some("BertForSequenceClassification".into()),
            support: Support::Full,
            task: Some("classification".into()),
            dtype: Dtype::F16,
            parameters: PARAMETERS,
            size_bytes: BEFORE_BYTES,
        },
        recipe: Some(recipe()),
        plan: Some(plan()),
        result: outcome(before, after),
        measurements: measurements(),
        provenance: provenance(),
        unmeasured: BTreeMap::new(),
    };
    report
        .unmeasured("/result/allocation", "no stage of this recipe allocates")
        .unmeasured("/result/sensitivity", "only a sensitivity job makes this table")
        .unmeasured("/result/training", "no stage of this recipe trains")
        .unmeasured("/result/artifacts/1/parity", "no weight file: there are no weights to compare");
    report
}

/// The same without labels: fidelity alone, on drawn text.
pub(crate) fn without_labels() -> Report {
    let mut report = compressed();
    if let Some(before) = &mut report.result.before {
        before.quality = None;
    }
    report.result.after.quality = None;
    report.result.after.quality_change = None;
    if let Some(fidelity) = &mut report.result.after.fidelity {
        fidelity.measured_on = MeasuredOn::Vocabulary;
    }
    for pointer in ["before/quality", "after/quality", "after/quality_change"] {
        report.unmeasured(format!("/result/{pointer}"), NO_LABELS);
    }
    if let Some(probes) = &mut report.result.probes {
        without_quality(probes);
    }
    report.unmeasured("/result/probes/long_range/metric", NO_LABELS);
    report.unmeasured("/result/probes/long_range/quartiles", NO_LABELS);
    for (number, stage) in report.result.stages.iter_mut().enumerate() {
        stage.quality = None;
        report.unmeasured.insert(format!("/result/stages/{number}/quality"), NO_LABELS.into());
    }
    if let Some(evaluation) = &mut report.provenance.evaluation {
        evaluation.measured_on = MeasuredOn::Vocabulary;
        evaluation.metrics.retain(|metric| metric != "accuracy");
    }
    report.provenance.protocol = None;
    report.unmeasured("/provenance/protocol", NO_LABELS);
    report.result.verdict = Verdict::new(report.result.before.as_ref(), &report.result.after, None);
    report
}

/// A model that was measured on its own.
pub(crate) fn alone() -> Report {
    let mut report = compressed();
    (report.recipe, report.plan) = (None, None);
    let result = &mut report.result;
    let quality = result.after.quality.take();
    result.before = None;
    result.after = After::new(None, AFTER_BYTES, 13_200_640, 17_397_524);
    result.after.quality = quality;
    result.stages.clear();
    result.fallbacks.clear();
    for site in &mut result.sites {
        (site.before_bytes, site.relative_error, site.sqnr_db) = (None, None, None);
        (site.cosine, site.output_error) = (None, None);
    }
    result.histograms.clear();
    for bytes in result.bytes_by_category.values_mut() {
        bytes.before = None;
    }
    result.verdict = Verdict::new(None, &result.after, Some(0.805));
    if let Some(probes) = &mut result.probes {
        without_original(probes);
    }
    (report.measurements.compression, report.measurements.predicted) = (None, None);
    for comparison in report.measurements.latency.iter_mut().flatten() {
        comparison.original = None;
    }
    report.provenance.recipe_sha256 = None;
    report.provenance.resolved_defaults.clear();
    for pointer in
        ["/recipe", "/plan", "/provenance/recipe_sha256", "/measurements/compression", "/measurements/predicted"]
    {
        report.unmeasured(pointer, "nothing was compressed");
    }
    report
}

/// A compressed embedding model: cosines instead of answers.
pub(crate) fn embedding() -> Report {
    let mut report = without_labels();
    report.model.task = Some("embedding".into());
    if let Some(probes) = &mut report.result.probes {
        of_vectors(probes);
    }
    let stages = report.result.stages.iter_mut().filter_map(|stage| stage.fidelity.as_mut());
    for fidelity in stages.chain(report.result.after.fidelity.as_mut()) {
        (fidelity.kl, fidelity.top1_agreement, fidelity.similarity_spearman) = (None, None, Some(0.9981));
    }
    report.result.verdict = Verdict::new(report.result.before.as_ref(), &report.result.after, None);
    report
}

fn outcome(before: Before, after: After) -> Outcome {
    let sites = sites();
    let sum = |of: &dyn Fn(&SiteReport) -> u64, category| -> u64 {
        sites.iter().filter(|site| site.category == category).map(of).sum()
    };
    let mut bytes_by_category = BTreeMap::from(CATEGORIES.map(|category| {
        let before = sum(&|site| site.before_bytes.unwrap_or(0), category);
        // A fifteenth of a site's bytes are its scales.
        let after: u64 = sum(&|site| site.after_bytes - site.after_bytes / 15, category);
        (category, Bytes { before: Some(before), after })
    }));
    let scales = sites.iter().map(|site| site.after_bytes / 15).sum();
    bytes_by_category.insert(Category::ScalesAndZeros, Bytes { before: Some(0), after: scales });
    bytes_by_category.insert(Category::Norms, Bytes { before: Some(19_968), after: 19_968 });
    let held: Bytes = bytes_by_category.values().fold(Bytes { before: Some(0), after: 0 }, |sum, bytes| Bytes {
        before: sum.before.zip(bytes.before).map(|(a, b)| a + b),
        after: sum.after + bytes.after,
    });
    let metadata = Bytes { before: held.before.map(|held| BEFORE_BYTES - held), after: AFTER_BYTES - held.after };
    bytes_by_category.insert(Category::Metadata, metadata);
    Outcome {
        verdict: Verdict::new(Some(&before), &after, Some(0.805)),
        before: Some(before),
        after,
        stages: stages(),
        histograms: histograms(&sites),
        sites,
        bytes_by_category,
        probes: Some(probes()),
        allocation: None,
        sensitivity: None,
        training: None,
        artifacts: artifacts(),
        fallbacks: vec![fallback()],
    }
}

fn sites() -> Vec<SiteReport> {
    let linear = [
        ("self_attention.query", 384, 384),
        ("self_attention.key", 384, 384),
        ("self_attention.value", 384, 384),
        ("self_attention.output", 384, 384),
        ("mlp.up", 1536, 384),
        ("mlp.down", 384, 1536),
    ];
    let mut sites = vec![
        site("embedding.token", Category::Embedding, 30_522 * 384, 4, 0.071),
        site("embedding.position", Category::Embedding, 512 * 384, 4, 0.064),
        site("embedding.token_type", Category::Embedding, 2 * 384, 8, 0.0042),
    ];
    for layer in 0..6_u32 {
        for (number, (name, out, columns)) in linear.iter().enumerate() {
            let category = if name.starts_with("mlp") { Category::Mlp } else { Category::Attention };
            let error = 0.05 + 0.03 * f64::from((layer * 7 + number as u32 * 5) % 11);
            let mut site = site(&format!("encoder.{layer}.{name}"), category, out * columns + out, 4, error);
            site.heads = (category == Category::Attention).then_some(12);
            sites.push(site);
        }
    }
    sites.push(site("pooler", Category::Head, 384 * 384 + 384, 4, 0.082));
    sites.push(site("head", Category::Head, 20 * 384 + 20, 8, 0.0));
    for site in sites.iter_mut().filter(|site| site.site.contains("mlp")) {
        (site.form, site.rank, site.bits) = ("product".into(), Some(192), 4);
        site.after_bytes = site.after_bytes * 5 / 8;
    }
    sites
}

fn site(name: &str, category: Category, weights: u64, bits: u32, error: f64) -> SiteReport {
    SiteReport {
        site: name.into(),
        category,
        before_bytes: Some(2 * weights),
        after_bytes: weights * u64::from(bits) / 8 + weights / 32,
        form: "grouped".into(),
        bits,
        rank: None,
        density: 1.0,
        heads: None,
        relative_error: None,
        sqnr_db: None,
        cosine: Some((1.0 - error * error).sqrt()),
        output_error: Some(0.8 * error),
        activations: None,
        activation_bits: None,
    }
    .with_error(error)
}

fn stages() -> Vec<StageReport> {
    let stage = |method: &str, size_bytes, parameters, right, f1, same, factor, fallbacks| StageReport {
        method: method.into(),
        size_bytes,
        parameters,
        quality: Some(quality(right, f1)),
        fidelity: Some(fidelity(same, factor)),
        fallbacks,
    };
    vec![
        stage("factorize", 34_846_352, 17_397_524, 1689, 0.788_02, 1961, 0.6, vec![]),
        stage("quantize", AFTER_BYTES, 17_397_524, 1684, 0.785_11, 1942, 1.0, vec![fallback()]),
    ]
}

fn quality(right: u64, f1: f64) -> Quality {
    let accuracy = wilson(right, 2_000).unwrap();
    let estimate = |value, low, high| Estimate { value, low, high, n: 2_000 };
    Quality::from([
        ("accuracy".into(), estimate(accuracy.value, accuracy.low, accuracy.high)),
        ("macro_f1".into(), estimate(f1, f1 - 0.0213, f1 + 0.0198)),
    ])
}

fn quality_change() -> QualityChange {
    let change = |value, low, high, p_value, test, smallest_detectable_difference, discordant| Change {
        value,
        low,
        high,
        p_value,
        test,
        n: 2_000,
        smallest_detectable_difference,
        discordant,
    };
    let discordant = Some(Discordant { original_only: 31, result_only: 18 });
    QualityChange::from([
        ("accuracy".into(), change(-0.0065, -0.013_35, 0.000_35, 0.0854, Test::McnemarExact, 0.0098, discordant)),
        ("macro_f1".into(), change(-0.007_24, -0.0169, 0.0021, 0.1279, Test::PairedBootstrap, 0.0136, None)),
    ])
}

fn fidelity(same: u64, factor: f64) -> Fidelity {
    let kl = |value: f64| value * factor;
    Fidelity {
        measured_on: MeasuredOn::Evaluation,
        n: 2_000,
        kl: Some(Kl {
            mean: kl(0.004_75),
            median: kl(0.001_12),
            p95: kl(0.0213),
            p99: kl(0.0587),
            max: kl(0.3719),
            floor: Some(0.0),
        }),
        top1_agreement: wilson(same, 2_000),
        unit: Unit::Row,
        cosine: Some(0.998_31),
        similarity_spearman: None,
        perplexity_ratio: None,
        numbers: None,
    }
}

fn fallback() -> Fallback {
    Fallback {
        site: "encoder.2.mlp.down".into(),
        what: "damping raised to 0.1".into(),
        why: "the Gram matrix was not positive definite at 0.01".into(),
    }
}

fn artifacts() -> Vec<ArtifactReport> {
    let file = |path: &str, format: &str, size_bytes, loaders: &[&str], parity| ArtifactReport {
        path: path.into(),
        format: format.into(),
        size_bytes,
        sha256: "3f0c5d6f1d6f5c2f1f6a3e4b7c8d9e0f3f0c5d6f1d6f5c2f1f6a3e4b7c8d9e0f".into(),
        loaders: loaders.iter().map(|&loader| loader.to_owned()).collect(),
        parity,
    };
    vec![
        file("model.safetensors", "safetensors", AFTER_BYTES, &["pare", "transformers", "vllm"], Some(0.0)),
        file("config.json", "json", 2_210, &["pare", "transformers"], None),
    ]
}

fn recipe() -> Recipe {
    serde_json::from_value(json!({
        "version": 1,
        "stages": [
            { "method": "factorize", "targets": ["**.mlp.*"], "params": { "rank_ratio": 0.5 } },
            { "method": "quantize", "ignore": ["head"], "params": { "bits": 4, "group_size": null } },
        ],
        "evaluate": { "max_seq_length": 96, "reference_floor": 0.805 },
    }))
    .unwrap()
}

fn plan() -> Plan {
    let stage = |method: &str, params, size_bytes| PlannedStage {
        method: method.into(),
        params,
        sites: sites().into_iter().map(|site| site.site).collect(),
        size_bytes,
        parameters: 17_397_524,
    };
    let loaders = vec!["pare".into()];
    Plan {
        calibration: None,
        version: 1,
        seed: 0,
        stages: vec![
            stage("factorize", json!({ "objective": "plain", "rank_ratio": 0.5 }), 34_846_352),
            stage("quantize", json!({ "bits": 4, "group_size": null, "symmetric": false }), AFTER_BYTES),
        ],
        allocation: None,
        evaluate: PlannedEvaluate {
            metrics: vec!["accuracy".into(), "fidelity".into(), "latency".into()],
            max_seq_length: 96,
            reference_floor: serde_json::Number::from_f64(0.805),
        },
        sensitivity: None,
        export: vec!["safetensors".into()],
        predicted: Predicted {
            size_bytes: AFTER_BYTES,
            files: vec![PredictedFile { path: "model.safetensors".into(), size_bytes: AFTER_BYTES, loaders }],
            parameters: 17_397_524,
            peak_memory_bytes: 412_000_000,
            disk_bytes: 14_000_000,
            wall_seconds: 20.0,
        },
        notes: vec![],
    }
}

fn measurements() -> Measurements {
    let latency = |median_ms: f64| Latency { median_ms, p95_ms: 1.13 * median_ms, min_ms: 0.94 * median_ms, n: 30 };
    let comparison = |batch, length, original, result| LatencyComparison {
        threads: 2,
        batch,
        length,
        original: Some(latency(original)),
        result: latency(result),
    };
    Measurements {
        latency: Some(vec![comparison(1, 96, 11.84, 9.52), comparison(8, 96, 82.3, 64.71)]),
        compression: Some(Compression {
            wall_seconds: 17.42,
            cpu_seconds: Some(29.8),
            peak_memory_bytes: Some(391_237_632),
        }),
        predicted: Some(PredictedCost::from(&plan().predicted)),
    }
}
