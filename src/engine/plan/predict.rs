//! What a plan will come to: bytes exactly, memory and time as well as can be told before it runs.

use super::{
    Available, PlannedAllocation, PlannedCalibration, PlannedEvaluate, PlannedStage, Predicted, PredictedFile,
};
use crate::engine::context::RESIDENT_BYTES;
use crate::engine::export::{TensorSpec, hf};
use crate::engine::method::{self, Action, Streams};
use crate::engine::model::build::resident_bytes;
use crate::engine::model::spec::SiteRole;
use crate::engine::model::{Forms, Layout, ModelHeader, SiteHeader};

/// Multiplications a second of two cores, about.
const SPEED: f64 = 1e11;
/// Weights that a streamed run works on at a time, in all threads together.
const STREAMED_WEIGHTS: usize = 384 << 10;
/// Weights of one part: 256 KiB as f32, so that what is done to them one after another finds them in the processor's cache.
const PART_WEIGHTS: usize = 64 << 10;
/// Rows go in multiples of this, so that codes that are packed down the rows begin with a word.
const PART_ROWS: usize = 32;

/// States of all rows in the model that is compressed, and of some in the original, as far as they are held in memory.
const FOLLOWING_BYTES: u64 = 1152 << 20;
/// Memory that a streamed run takes besides its weights: the program, headers, buffers.
const STREAMED_BASE_BYTES: u64 = 5 << 20;
/// What is told of a site: its histograms, as they are written into the report.
const STREAMED_SITE_BYTES: u64 = 16 << 10;
/// A weight before, after, and as a code, with what is written of it, in parts that are being worked on; as a code where they
/// wait to be written. Between what two and many threads take.
const STREAMED_WEIGHT_BYTES: u64 = 6;
/// A weight of a map that is taken apart whole, in f64, with its factors.
const MAP_WEIGHT_BYTES: u64 = 40;

/// How little of the model a stage must see at a time.
fn streams(stage: &PlannedStage) -> Streams {
    let bound = method::find(&stage.method).zip(stage.params.as_object());
    match bound.and_then(|(method, params)| method.bind(params).ok()) {
        Some(Action::Site(action)) => action.streams(),
        _ => Streams::No,
    }
}

/// Whether a run goes tensor by tensor: nothing is measured by running the model, as a budget that is shared out is, and no stage
/// must see more than a map.
pub fn is_streamed(
    evaluate: &PlannedEvaluate,
    stages: &[PlannedStage],
    allocation: Option<&PlannedAllocation>,
) -> bool {
    evaluate.metrics.is_empty() && allocation.is_none() && stages.iter().all(|stage| streams(stage) != Streams::No)
}

/// Predictions for a plan whose result has these layouts.
pub(super) fn predict(
    header: &ModelHeader,
    layouts: &[Layout],
    (stages, evaluate, allocation): (&[PlannedStage], &PlannedEvaluate, Option<&PlannedAllocation>),
    available: &Available,
    size_bytes: u64,
) -> Predicted {
    let peak_memory_bytes = if is_streamed(evaluate, stages, allocation) {
        let peak = header.sites.iter().map(|site| streamed_bytes(site, stages)).max().unwrap_or(0);
        let told = STREAMED_SITE_BYTES.saturating_mul(header.sites.len() as u64);
        STREAMED_BASE_BYTES.saturating_add(peak).saturating_add(told)
    } else {
        whole_bytes(header, layouts, (evaluate, allocation.is_some()), available)
    };
    let others: u64 = header.files.iter().filter(|f| f.path.ends_with(".json")).map(|f| f.size_bytes).sum();
    // A decomposition takes some 20 passes of out · in · min
    let encoder = hf::parameters(header, layouts) as f64;
    let rows = available.evaluation_rows.unwrap_or(256) as f64;
    let passes = if evaluate.metrics.is_empty() { 0.0 } else { (2 + stages.len()) as f64 };
    let wall_seconds = 1.0 + header.parameters as f64 * 1e-8 + rows * 64.0 * encoder * passes / SPEED;
    Predicted {
        size_bytes,
        files: vec![PredictedFile { path: hf::WEIGHTS.to_owned(), size_bytes, loaders: Vec::new() }],
        parameters: hf::parameters(header, layouts),
        peak_memory_bytes,
        disk_bytes: size_bytes.saturating_add(others).saturating_add(16 << 20),
        wall_seconds: (wall_seconds * 10.0).round() / 10.0,
    }
}

/// What coding the weight file costs besides: the largest tensor twice in memory, the file twice more on the disk, and some
/// 30 ns a byte on two cores.
pub(super) fn coding(predicted: &mut Predicted, header: &ModelHeader, forms: &Forms) {
    let tensors = hf::Manifest::new(header, forms).map(|manifest| manifest.tensors).unwrap_or_default();
    let largest = tensors.iter().map(TensorSpec::bytes).max().unwrap_or(0);
    predicted.peak_memory_bytes = predicted.peak_memory_bytes.saturating_add(largest.saturating_mul(2));
    predicted.disk_bytes = predicted.disk_bytes.saturating_add(predicted.size_bytes.saturating_mul(2));
    let wall_seconds = predicted.wall_seconds + predicted.size_bytes as f64 * 3e-8;
    predicted.wall_seconds = (wall_seconds * 10.0).round() / 10.0;
}

/// What stages that calibrate cost besides. Disk: states of all rows between two blocks, held in scratch files where they are many,
/// and kept, with those before them, for another attempt to go on from; where sites follow each other, states and what the widest
/// site is fed, of two models and of the rows that sites are judged by. Time: a pass over all rows and the sums, and where sites
/// follow each other two models side by side, their products, and about a microsecond a weight for factors and grids. Rows are
/// taken to be as long as they may be; a budget that is shared out is not counted.
pub(super) fn calibrating(
    predicted: &mut Predicted,
    header: &ModelHeader,
    stages: &[PlannedStage],
    calibration: Option<&PlannedCalibration>,
) {
    let Some((planned, spec)) = calibration.zip(header.spec.as_ref()) else { return };
    let tokens = (planned.num_calibration_samples as u64).saturating_mul(planned.max_seq_length as u64);
    let linear = || header.sites.iter().filter(|site| site.spec.role == SiteRole::Linear);
    let pass = tokens as f64 * linear().map(|site| site.layout.parameters() as f64).sum::<f64>();
    let bound = |stage: &PlannedStage| {
        let bound = method::find(&stage.method).zip(stage.params.as_object());
        bound.and_then(|(method, params)| method.bind(params).ok())
    };
    let follows = |stage: &PlannedStage| matches!(bound(stage), Some(Action::Site(action)) if action.follows());
    let widest = linear().map(|site| site.spec.r#in).max().unwrap_or(0);
    let values = if stages.iter().any(follows) { 9 * (spec.hidden + widest) / 4 } else { 0 } + 3 * spec.hidden;
    let states_bytes = tokens.saturating_mul(4 * values as u64);
    predicted.disk_bytes = predicted.disk_bytes.saturating_add(states_bytes);
    if stages.iter().any(follows) {
        predicted.peak_memory_bytes = predicted.peak_memory_bytes.saturating_add(states_bytes.min(FOLLOWING_BYTES));
    }
    let seconds = |stage: &PlannedStage| match bound(stage) {
        Some(Action::Site(action)) if action.follows() => {
            let targets = header.sites.iter().filter(|site| stage.sites.contains(&site.spec.site));
            3.0 * pass / SPEED + targets.map(|site| site.layout.parameters() as f64).sum::<f64>() * 1e-6
        }
        Some(action) if action.wants().is_some() => 1.5 * pass / SPEED,
        _ => 0.0,
    };
    let wall_seconds = predicted.wall_seconds + stages.iter().map(seconds).sum::<f64>();
    predicted.wall_seconds = (wall_seconds * 10.0).round() / 10.0;
}

/// Original and result in f32, one site in f64 with its factors, scratch of the forward pass, and the program itself: an
/// upper estimate. Where a budget is shared out two results are compared, which are run in f32.
fn whole_bytes(
    header: &ModelHeader,
    layouts: &[Layout],
    (evaluate, is_shared_out): (&PlannedEvaluate, bool),
    available: &Available,
) -> u64 {
    let largest = header.sites.iter().map(|s| s.layout.parameters()).max().unwrap_or(0);
    let whole = header.parameters.saturating_mul(4);
    if resident_bytes(header) > RESIDENT_BYTES {
        let stored = stored_bytes(header, layouts, largest);
        return if is_shared_out { stored.saturating_add(whole).saturating_add(whole / 4) } else { stored };
    }
    let models = whole.saturating_mul(match (evaluate.metrics.is_empty(), is_shared_out) {
        (true, false) => 1,
        (_, false) => 3,
        (_, true) => 4,
    });
    let data = available.evaluation_rows.unwrap_or(0).saturating_mul(8 << 10);
    models.saturating_add(largest.saturating_mul(MAP_WEIGHT_BYTES)).saturating_add(data).saturating_add(192 << 20)
}

/// Of a model that stays in its file: the result as it lies in memory (a byte a code, four a plain number), two blocks in
/// f32 with a table that is the head as well, states and scratch.
fn stored_bytes(header: &ModelHeader, layouts: &[Layout], largest: u64) -> u64 {
    let changed = |(site, layout): (&SiteHeader, &Layout)| {
        if site.layout == *layout { 0 } else { held_bytes(layout) }
    };
    let result: u64 = header.sites.iter().zip(layouts).map(changed).sum();
    let blocks = header.spec.as_ref().map_or(1, |spec| spec.layers.max(1)) as u64;
    let block = header.parameters.saturating_sub(largest) / blocks * 4;
    let site = largest.saturating_mul(MAP_WEIGHT_BYTES).max(2 * block + largest.saturating_mul(8));
    result.saturating_add(site).saturating_add(1 << 30)
}

/// What a map takes in memory.
fn held_bytes(layout: &Layout) -> u64 {
    match layout {
        Layout::Grouped { .. } | Layout::Codebook { .. } => layout.parameters(),
        Layout::Product { left, right } => held_bytes(left) + held_bytes(right),
        _ => layout.parameters().saturating_mul(4),
    }
}

/// What one site takes while it passes.
fn streamed_bytes(site: &SiteHeader, stages: &[PlannedStage]) -> u64 {
    let weights = site.layout.parameters();
    let mut own = stages.iter().filter(|stage| stage.sites.contains(&site.spec.site)).map(streams);
    let by_rows = own.all(|streams| streams == Streams::Rows);
    if by_rows && goes_by_rows(site) {
        let parts = Parts::of(site);
        let at_once = parts.rows.saturating_mul(parts.at_once).saturating_mul(site.spec.r#in);
        weights.min(at_once as u64).saturating_mul(STREAMED_WEIGHT_BYTES)
    } else {
        weights.saturating_mul(MAP_WEIGHT_BYTES)
    }
}

/// How a site whose rows can be handed over apart is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Rows of a part.
    pub rows: usize,
    /// Parts that are worked on at a time, however many threads there are.
    pub at_once: usize,
}

impl Parts {
    /// For rows of that site's width.
    pub fn of(site: &SiteHeader) -> Self {
        let columns = site.spec.r#in.max(1);
        let rows = (PART_WEIGHTS / columns).next_multiple_of(PART_ROWS).max(PART_ROWS);
        Self { rows, at_once: (STREAMED_WEIGHTS / rows.saturating_mul(columns)).max(1) }
    }

    /// The whole matrix as one part.
    pub const fn whole(site: &SiteHeader) -> Self {
        Self { rows: site.spec.out, at_once: 1 }
    }
}

/// Whether a site's rows can be handed over apart: a plain matrix that lies row by row, of which no norm sees the columns.
pub fn goes_by_rows(site: &SiteHeader) -> bool {
    matches!(site.layout, Layout::Dense { transposed: false, .. }) && !site.spec.is_centered
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::engine::export::verify::input;
    use crate::engine::model::inspect::inspect;
    use crate::engine::plan::resolve;
    use crate::engine::recipe::Recipe;

    #[test]
    fn rows_to_calibrate_on_cost_time_where_sites_are_fed_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tickets");
        let files = ["config.json", "model.safetensors", "tokenizer.json"].map(|name| input(&folder, name).unwrap());
        let header = inspect(&files).unwrap().0.header;
        let seconds = |method: &str, samples: usize| {
            let stages = json!([{ "method": method, "targets": ["block.**"], "params": {} }]);
            let calibration = json!({ "num_calibration_samples": samples });
            let recipe = json!({ "version": 1, "stages": stages, "calibration": calibration });
            let available = Available { calibration_rows: Some(100_000), ..Available::default() };
            resolve(&Recipe::parse(&recipe).unwrap(), &header, &available).unwrap().predicted.wall_seconds
        };
        assert!(seconds("gptq", 65_536) > seconds("gptq", 16));
        assert!(seconds("gptq", 16) >= seconds("quantize", 16));
        assert_eq!(seconds("quantize", 65_536), seconds("quantize", 16));
    }
}
