//! Recipes that look at one map at a time, at no data, and whose result is not measured by running it: each tensor is read,
//! changed and written before the next one is, a few rows at a time where rows do not depend on each other. Memory is bounded
//! by that, not by the model.
//!
//! What was written is verified without the model in memory: every tensor's checksum is taken as it is written, and again of
//! the file that is read back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use super::compress::{Opened, bind};
use super::distance::{self, Distance};
use crate::engine::context::{RunContext, Silent};
use crate::engine::error::{EngineError, Result};
use crate::engine::export::encoding::{self, TensorSpec};
use crate::engine::export::hf::{self, Manifest};
use crate::engine::export::{packed, safetensors, verify};
use crate::engine::method::{Action, Fallback, SiteAction, Streams};
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::inspect::{Inspected, inspect};
use crate::engine::model::linear::{Dense, Input, Linear, LinearMap};
use crate::engine::model::{Forms, Layout, ModelHeader, SiteHeader};
use crate::engine::plan::{self, Parts, Plan};

/// What a streamed run leaves.
pub(super) struct Streamed {
    /// The files, weights first.
    pub(super) written: Vec<String>,
    /// What they say, read back.
    pub(super) inspected: Inspected,
    /// How far every site's weights are from the original's.
    pub(super) errors: Vec<Distance>,
    /// What was not done as asked, by stage.
    pub(super) fallbacks: Vec<Vec<Fallback>>,
    /// What was not, in the format.
    pub(super) told: Vec<Fallback>,
}

/// Runs a plan that [`plan::is_streamed`].
///
/// # Errors
///
/// As the stages; `verification_failed` where what is read back is not what was written.
pub(super) fn run(plan: &Plan, from: &Opened<'_>, folder: &Path, ctx: &RunContext<'_>) -> Result<Streamed> {
    let header = &from.inspected.header;
    let forms = plan::forms(plan, header).ok_or_else(|| EngineError::Internal("the plan is another model's".into()))?;
    std::fs::create_dir_all(folder).map_err(EngineError::io(folder, "created"))?;
    let path = folder.join(hf::WEIGHTS);
    let manifest = Manifest::new(header, &forms)?;
    let mut out = Out::create(&path, &manifest)?;
    keep_freed_memory();
    let mut stages = Vec::new();
    for stage in &plan.stages {
        let Action::Site(action) = bind(stage)? else {
            return Err(EngineError::Internal("a stage that works on whole models can't be streamed".into()));
        };
        stages.push((action, stage.sites.iter().map(String::as_str).collect::<BTreeSet<_>>()));
    }
    let mut fallbacks: Vec<Vec<Fallback>> = stages.iter().map(|_| Vec::new()).collect();
    let mut errors = Vec::with_capacity(header.sites.len());
    for (done, site) in header.sites.iter().enumerate() {
        let actions: Vec<(usize, &dyn SiteAction)> = stages
            .iter()
            .enumerate()
            .filter(|(_, (_, targets))| targets.contains(site.spec.site.as_str()))
            .map(|(stage, (action, _))| (stage, action.as_ref()))
            .collect();
        let work = Work { site, actions, checkpoint: from.checkpoint };
        let (error, found) = work.change(&mut out)?;
        errors.push(error);
        for (stage, fallback) in found {
            if let Some(list) = fallbacks.get_mut(stage) {
                list.push(fallback);
            }
        }
        ctx.progress(done + 1, header.sites.len(), "sites")?;
    }
    let as_they_are: Vec<&str> =
        manifest.tensors.iter().map(|t| t.name.as_str()).filter(|name| !out.begun.contains_key(*name)).collect();
    let problems = from.checkpoint.not_finite(Some(&as_they_are), &Silent)?;
    if !problems.is_empty() {
        return Err(EngineError::Invalid(problems));
    }
    for name in as_they_are {
        out.part(name, &from.checkpoint.read(name)?)?;
    }
    let sums = out.finish()?;
    let told = if plan.is_packed() { packed::rewrite(&path, ctx)? } else { Vec::new() };
    let mut written = vec![hf::WEIGHTS.to_owned()];
    written.extend(hf::write_beside(header, from.inspected, &forms, &from.source.files, folder)?);
    let inspected = read_back(&sums, header, &forms, folder, &written)?;
    Ok(Streamed { written, inspected, errors, fallbacks, told })
}

/// A C library that gives freed memory back to the system at once asks for it again with every part: two million page faults
/// for a model of 2 GB, and a third of all the time. glibc keeps what is less than twice the largest block that was ever
/// freed, so one such block, which nothing is written into, is enough.
fn keep_freed_memory() {
    std::hint::black_box(Vec::<u8>::with_capacity(16 << 20));
}

/// One site's way through the stages.
struct Work<'a> {
    site: &'a SiteHeader,
    /// With the number of their stage.
    actions: Vec<(usize, &'a dyn SiteAction)>,
    checkpoint: &'a Checkpoint,
}

type Found = Vec<(usize, Fallback)>;

/// Some rows, changed.
struct Part {
    tensors: Vec<(TensorSpec, Vec<u8>)>,
    distance: Distance,
    /// That behind a norm, which only all rows together tell.
    centered: Option<Distance>,
    found: Found,
}

impl Work<'_> {
    /// Writes the site's new tensors; gives how far it moved and what was not done as asked.
    fn change(&self, out: &mut Out) -> Result<(Distance, Found)> {
        let by_rows = self.actions.iter().all(|(_, action)| action.streams() == Streams::Rows);
        let is_cut = by_rows && plan::goes_by_rows(self.site);
        let parts = if is_cut { Parts::of(self.site) } else { Parts::whole(self.site) };
        let rows = self.site.spec.out;
        let ranges: Vec<Range<usize>> =
            (0..rows).step_by(parts.rows.max(1)).map(|start| start..(start + parts.rows).min(rows)).collect();
        let mut distance = Distance::default();
        let mut centered = None;
        let mut found = Found::new();
        if is_cut {
            // A coded tensor is decoded here, once, and not by every thread that wants some of its rows
            self.read(0..0)?;
        }
        for some in ranges.chunks(parts.at_once) {
            let changed = some.par_iter().map(|rows| self.part(rows.clone())).collect::<Result<Vec<Part>>>()?;
            for part in changed {
                for (tensor, bytes) in &part.tensors {
                    // Each part tells its own shape; the file holds the whole's, once
                    let is_shape = is_cut && tensor.name.strip_prefix(&self.site.spec.module) == Some(".weight_shape");
                    if !is_shape {
                        out.part(&tensor.name, bytes)?;
                    } else if !out.begun.contains_key(&tensor.name) {
                        out.part(&tensor.name, &self.shape())?;
                    }
                }
                distance.join(&part.distance);
                centered = part.centered;
                // Each part tells of itself: of the whole it is told once, and counts add up
                for (stage, fallback) in part.found {
                    let is_told = found.iter_mut().any(|(of, told)| *of == stage && told.join(&fallback));
                    if !is_told {
                        found.push((stage, fallback));
                    }
                }
            }
        }
        let distance = centered.unwrap_or(distance);
        if distance.relative().is_finite() { Ok((distance, found)) } else { Err(self.not_finite()?) }
    }

    /// The shape of the whole, as packed codes have it beside them.
    fn shape(&self) -> Vec<u8> {
        let spec = &self.site.spec;
        [spec.out, spec.r#in].iter().flat_map(|size| (*size as i64).to_le_bytes()).collect()
    }

    fn part(&self, rows: Range<usize>) -> Result<Part> {
        let spec = &self.site.spec;
        let start = rows.start * spec.r#in;
        let original = self.read(rows)?;
        let (map, found) = self.apply(&original)?;
        let after = map.to_vec()?;
        let mut distance = Distance::of(spec.out * spec.r#in, start);
        let mut centered = None;
        if spec.is_centered {
            centered = Some(distance::between(original.to_vec()?, after, spec.r#in, true));
        } else {
            original.look(|before| distance.add(before, &after))?;
        }
        Ok(Part { tensors: encoding::encode(&map, &spec.module)?, distance, centered, found })
    }

    /// Says which of the site's numbers are NaN or infinite.
    fn not_finite(&self) -> Result<EngineError> {
        let module = format!("{}.", self.site.spec.module);
        let names: Vec<&str> = self
            .checkpoint
            .tensors()
            .iter()
            .map(|t| t.name.as_str())
            .filter(|name| name.starts_with(&module))
            .collect();
        let problems = self.checkpoint.not_finite(Some(&names), &Silent)?;
        let unknown = || EngineError::Internal(format!("{} came out as NaN or infinite", self.site.spec.site));
        Ok(if problems.is_empty() { unknown() } else { EngineError::Invalid(problems) })
    }

    /// Some rows of the map; all where it is no plain matrix.
    fn read(&self, rows: Range<usize>) -> Result<LinearMap> {
        let spec = &self.site.spec;
        match &self.site.layout {
            Layout::Dense { r#in, dtype, transposed: false, .. } => {
                let name = format!("{}.weight", spec.module);
                let values = self.checkpoint.rows_f32(&name, *r#in, rows.clone())?;
                let weight = candle_core::Tensor::from_vec(values, (rows.len(), *r#in), &candle_core::Device::Cpu)?;
                Ok(LinearMap::Dense(Dense { weight, dtype: *dtype, transposed: false }))
            }
            layout => encoding::decode(layout, &spec.module, self.checkpoint, &candle_core::Device::Cpu),
        }
    }

    fn apply(&self, map: &LinearMap) -> Result<(LinearMap, Found)> {
        let bias_dtype = crate::engine::model::Dtype::F32; // there is no bias here: it is written as it was
        // A scale of inputs is found where the model runs: here there is none to write, and one that was there stays
        let mut linear = Linear { map: map.clone(), bias: None, bias_dtype, input: Input::None };
        let mut found = Vec::new();
        for (stage, action) in &self.actions {
            let (changed, fallbacks) = action.apply(&self.site.spec, &linear, None)?;
            found.extend(fallbacks.into_iter().map(|fallback| (*stage, fallback)));
            linear = changed;
        }
        Ok((linear.map, found))
    }
}

/// The weight file on its way to disk, with a checksum of every tensor.
struct Out {
    path: std::path::PathBuf,
    writer: safetensors::Writer<File>,
    begun: BTreeMap<String, crc32fast::Hasher>,
}

impl Out {
    fn create(path: &Path, manifest: &Manifest) -> Result<Self> {
        let failed = || EngineError::io(path, "written");
        let file = File::create(path).map_err(failed())?;
        let writer = safetensors::Writer::new(file, &manifest.tensors).map_err(failed())?;
        Ok(Self { path: path.to_owned(), writer, begun: BTreeMap::new() })
    }

    /// Adds to what there is of a tensor.
    fn part(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.begun.entry(name.to_owned()).or_default().update(bytes);
        self.writer.part(name, bytes).map_err(EngineError::io(&self.path, "written"))
    }

    fn finish(self) -> Result<BTreeMap<String, u32>> {
        let failed = || EngineError::io(&self.path, "written");
        self.writer.finish().map_err(failed())?.sync_all().map_err(failed())?;
        Ok(self.begun.into_iter().map(|(name, sum)| (name, sum.finalize())).collect())
    }
}

/// Opens what was written as anyone would, and takes every tensor's checksum again.
fn read_back(
    sums: &BTreeMap<String, u32>,
    header: &ModelHeader,
    forms: &Forms,
    folder: &Path,
    written: &[String],
) -> Result<Inspected> {
    let files = written.iter().map(|path| verify::input(folder, path)).collect::<Result<Vec<_>>>()?;
    let (inspected, checkpoint) =
        inspect(&files).map_err(|error| verify::failed("", format!("can't be opened again: {error}")))?;
    let sites = &inspected.header.sites;
    if sites.len() != header.sites.len() {
        return Err(verify::failed("", "holds other sites than were written"));
    }
    for ((site, before), (layout, input)) in sites.iter().zip(&header.sites).zip(forms.iter()) {
        if site.spec != before.spec || site.layout != *layout || site.input != input {
            return Err(verify::failed(&before.spec.site, "reads back in another form"));
        }
    }
    for (name, sum) in sums {
        let found = checkpoint.read(name).map(|bytes| crc32fast::hash(&bytes));
        if found.ok() != Some(*sum) {
            return Err(verify::failed("", format_args!("differs in '{name}'")));
        }
    }
    Ok(inspected)
}
