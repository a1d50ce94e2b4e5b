//! What a plan will come to: bytes exactly, memory and time as well as can be told before it runs.

use super::{Available, PlannedCalibration, PlannedEvaluate, PlannedStage, Predicted, PredictedFile};
use crate::engine::context::RESIDENT_BYTES;
use crate::engine::export::{TensorSpec, hf};
use crate::engine::method::{self, Action, Streams};
use crate::engine::model::build::resident_bytes;
use crate::engine::model::{Forms, Layout, ModelHeader, SiteHeader};

/// Weights that a streamed run works on at a time, in all threads together.
const STREAMED_WEIGHTS: usize = 384 << 10;
/// Weights of one part: 256 KiB as f32, so that what is done to them one after another finds them in the processor's cache.
const PART_WEIGHTS: usize = 64 << 10;
/// Rows go in multiples of this, so that codes that are packed down the rows begin with a word.
const PART_ROWS: usize = 32;

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

/// Whether a run goes tensor by tensor: nothing is measured by running the model, and no stage must see more than a map.
pub fn is_streamed(evaluate: &PlannedEvaluate, stages: &[PlannedStage]) -> bool {
    evaluate.metrics.is_empty() && stages.iter().all(|stage| streams(stage) != Streams::No)
}

/// Predictions for a plan whose result has these layouts.
pub(super) fn predict(
    header: &ModelHeader,
    layouts: &[Layout],
    (stages, evaluate): (&[PlannedStage], &PlannedEvaluate),
    available: &Available,
    size_bytes: u64,
) -> Predicted {
    let peak_memory_bytes = if is_streamed(evaluate, stages) {
        let peak = header.sites.iter().map(|site| streamed_bytes(site, stages)).max().unwrap_or(0);
        let told = STREAMED_SITE_BYTES.saturating_mul(header.sites.len() as u64);
        STREAMED_BASE_BYTES.saturating_add(peak).saturating_add(told)
    } else {
        whole_bytes(header, layouts, evaluate, available)
    };
    let others: u64 = header.files.iter().filter(|f| f.path.ends_with(".json")).map(|f| f.size_bytes).sum();
    // Two cores run about 1e11 multiplications a second; a decomposition takes some 20 passes of out · in · min
    let encoder = hf::parameters(header, layouts) as f64;
    let rows = available.evaluation_rows.unwrap_or(256) as f64;
    let passes = if evaluate.metrics.is_empty() { 0.0 } else { (2 + stages.len()) as f64 };
    let wall_seconds = 1.0 + header.parameters as f64 * 1e-8 + rows * 64.0 * encoder * passes / 1e11;
    Predicted {
        size_bytes,
        files: vec![PredictedFile { path: hf::WEIGHTS.to_owned(), size_bytes }],
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

/// States of all calibration rows between two blocks: held in scratch files where they are many, and kept, with those before
/// them, for another attempt to go on from.
pub(super) fn kept_bytes(header: &ModelHeader, calibration: Option<&PlannedCalibration>) -> u64 {
    let Some((planned, spec)) = calibration.zip(header.spec.as_ref()) else { return 0 };
    let tokens = (planned.num_calibration_samples as u64).saturating_mul(planned.max_seq_length as u64);
    tokens.saturating_mul(4 * spec.hidden as u64).saturating_mul(3)
}

/// Original and result in f32, one site in f64 with its factors, scratch of the forward pass, and the program itself: an
/// upper estimate.
fn whole_bytes(header: &ModelHeader, layouts: &[Layout], evaluate: &PlannedEvaluate, available: &Available) -> u64 {
    let largest = header.sites.iter().map(|s| s.layout.parameters()).max().unwrap_or(0);
    if resident_bytes(header) > RESIDENT_BYTES {
        return stored_bytes(header, layouts, largest);
    }
    let models = header.parameters.saturating_mul(4).saturating_mul(if evaluate.metrics.is_empty() { 1 } else { 3 });
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
