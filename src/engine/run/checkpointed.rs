//! What a stage that goes block by block keeps, so that another attempt goes on behind the last block that was finished.
//!
//! `s0-b3.safetensors` holds the maps that stage 0 changed in its block 3, `s0-end.safetensors` those outside of blocks,
//! `s0-states-4.safetensors` the states that go into block 4, where rows pass at all, and `s0-said-4.json` what was not done
//! as asked up to there. The last two take the place of those before them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::engine::calibrate::Stream;
use crate::engine::checkpoint;
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::export::encoding::{self, TensorSpec, float_bytes};
use crate::engine::export::inputs;
use crate::engine::export::safetensors::{self, Writer};
use crate::engine::job::InputFile;
use crate::engine::method::{Fallback, SiteAction};
use crate::engine::model::Dtype;
use crate::engine::model::build::Model;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::linear::{Input, LinearMap};

/// What is outside of blocks.
pub(super) const END: &str = "end";
/// Files of a part: maps, states, what was said.
const FILES_A_PART: usize = 3;

/// One stage's part of the run's checkpoint.
pub(super) struct Kept<'a> {
    stage: usize,
    ctx: &'a RunContext<'a>,
}

impl<'a> Kept<'a> {
    pub(super) const fn new(stage: usize, ctx: &'a RunContext<'a>) -> Self {
        Self { stage, ctx }
    }

    fn name(&self, what: &str) -> String {
        format!("s{}-{what}", self.stage)
    }

    /// Blocks that an earlier attempt finished.
    pub(super) fn blocks(&self) -> usize {
        (0..checkpoint::MOST_FILES).take_while(|block| self.file(&format!("b{block}.safetensors")).is_some()).count()
    }

    fn file(&self, what: &str) -> Option<&Path> {
        self.ctx.kept.file(&self.name(what))
    }

    /// The maps that were changed in a block, or outside of all (`end`), with what happens to their inputs: by index of the site.
    ///
    /// # Errors
    ///
    /// A file that is not what this stage would have left.
    pub(super) fn maps(
        &self,
        part: &str,
        model: &Model,
        action: &dyn SiteAction,
        sites: &[usize],
    ) -> Result<Option<BTreeMap<usize, (LinearMap, Input)>>> {
        let Some(path) = self.file(&format!("{part}.safetensors")) else { return Ok(None) };
        if sites.is_empty() {
            return Ok(Some(BTreeMap::new())); // a file without a tensor is no model's
        }
        let checkpoint = open(path)?;
        let map = |index: &usize| {
            let missing = || EngineError::Internal(format!("there is no site {index}"));
            let (site, current) = model.sites.get(*index).zip(model.maps.get(*index)).ok_or_else(missing)?;
            let layout = action.layout(site, &current.map.layout()).map_err(EngineError::Internal)?;
            let is_read = model.spec.as_ref().is_some_and(|spec| spec.is_read(site));
            let form = action.input(site, &layout, current.input.form(), is_read);
            let input = inputs::decode(form, &layout, &site.module, &checkpoint)?;
            Ok((*index, (encoding::decode(&layout, &site.module, &checkpoint, &Device::Cpu)?, input)))
        };
        sites.iter().map(map).collect::<Result<_>>().map(Some)
    }

    /// Takes the states up that go into block `next`. False where there are none: an attempt without rows keeps none.
    ///
    /// # Errors
    ///
    /// A file that is not what this stage would have left.
    pub(super) fn restore(&self, next: usize, stream: &mut Stream) -> Result<bool> {
        let Some(path) = self.file(&format!("states-{next}.safetensors")) else { return Ok(false) };
        let states = open(path)?;
        let batch = |info: &crate::engine::model::TensorInfo| {
            Ok(Tensor::from_vec(states.to_f32(&info.name)?, info.shape.as_slice(), &Device::Cpu)?)
        };
        // Their names are numbers of one length, so they are in order
        stream.restore(next, states.tensors().iter().map(batch).collect::<Result<_>>()?)?;
        Ok(true)
    }

    /// What was not done as asked before block `at`, or by the `end`; `None` where no attempt came there.
    ///
    /// # Errors
    ///
    /// A file that can't be read.
    pub(super) fn said(&self, at: &str) -> Result<Option<Vec<Fallback>>> {
        let Some(path) = self.file(&format!("said-{at}.json")) else { return Ok(None) };
        let text = std::fs::read(path).map_err(EngineError::io(path, "read"))?;
        let said = serde_json::from_slice(&text);
        said.map(Some).map_err(|error| EngineError::Internal(format!("the checkpoint: {error}")))
    }

    /// Keeps a finished part, a block or the `end`: the maps that were changed in it, the states behind a block where there
    /// are any, and what was said.
    /// A run goes on without where there are too many files already, or no room for these; that is noted.
    ///
    /// # Errors
    ///
    /// Maps or states that can't be written down.
    pub(super) fn keep(
        &self,
        part: (&str, usize),
        changed: (&Model, &[usize]),
        stream: Option<&Stream>,
        said: &[Fallback],
    ) -> Result<()> {
        if !self.ctx.kept.is_kept() {
            return Ok(());
        }
        if !self.ctx.kept.has_room(FILES_A_PART) {
            self.ctx.note(format!("'{}' is not kept for another attempt: there are too many files already", part.0));
            return Ok(());
        }
        match self.write(part, changed, stream, said) {
            Err(EngineError::Io { .. }) => {
                self.ctx.note(format!("'{}' is not kept for another attempt: its files can't be written", part.0));
                Ok(())
            }
            done => done,
        }
    }

    fn write(
        &self,
        (part, next): (&str, usize),
        (model, changed): (&Model, &[usize]),
        stream: Option<&Stream>,
        said: &[Fallback],
    ) -> Result<()> {
        let folder = self.ctx.checkpoint_folder()?;
        let mut tensors = Vec::new();
        for index in changed {
            if let Some((site, linear)) = model.sites.get(*index).zip(model.maps.get(*index)) {
                tensors.extend(encoding::encode(&linear.map, &site.module)?);
                tensors.extend(inputs::encode(linear, &site.module));
            }
        }
        let mut names = vec![self.name(&format!("{part}.safetensors"))];
        write(&folder.join(&names[0]), tensors)?;
        let is_end = part == END;
        let number = if is_end { END.to_owned() } else { next.to_string() };
        if let Some(stream) = stream.filter(|_| !is_end) {
            let name = self.name(&format!("states-{number}.safetensors"));
            write(&folder.join(&name), states(stream)?)?;
            names.push(name);
        }
        let name = self.name(&format!("said-{number}.json"));
        let text = serde_json::to_vec(said).map_err(|error| EngineError::Internal(error.to_string()))?;
        let path = folder.join(&name);
        std::fs::write(&path, text)
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(EngineError::io(&path, "written"))?;
        names.push(name);
        let paths: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
        let new: Vec<(&str, &Path)> =
            names.iter().map(String::as_str).zip(paths.iter().map(PathBuf::as_path)).collect();
        let before = if is_end { Some(next) } else { next.checked_sub(1) };
        let old = before.filter(|before| *before > 0).map(|before| {
            [self.name(&format!("states-{before}.safetensors")), self.name(&format!("said-{before}.json"))]
        });
        self.ctx.keep(&new, &old.iter().flatten().map(String::as_str).collect::<Vec<_>>())
    }
}

fn states(stream: &Stream) -> Result<Vec<(TensorSpec, Vec<u8>)>> {
    let batch = |(i, states): (usize, &Tensor)| {
        let values = states.flatten_all()?.to_vec1::<f32>()?;
        let spec =
            TensorSpec { name: format!("{i:08}"), dtype: Dtype::F32, shape: states.dims().to_vec(), category: None };
        Ok((spec, float_bytes(&values, Dtype::F32)))
    };
    stream.snapshot()?.iter().enumerate().map(batch).collect()
}

fn write(path: &Path, mut tensors: Vec<(TensorSpec, Vec<u8>)>) -> Result<()> {
    let failed = || EngineError::io(path, "written");
    let mut specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    safetensors::sort(&mut specs);
    let file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed())?);
    let mut writer = Writer::new(file, &specs).map_err(failed())?;
    for (spec, bytes) in tensors.drain(..) {
        writer.tensor(&spec.name, &bytes).map_err(failed())?;
    }
    let file = writer.finish().map_err(failed())?.into_inner().map_err(|e| failed()(e.into_error()))?;
    file.sync_all().map_err(failed())
}

fn open(path: &Path) -> Result<Checkpoint> {
    let size_bytes = std::fs::metadata(path).map_err(EngineError::io(path, "read"))?.len();
    let file = InputFile { path: "model.safetensors".to_owned(), location: path.to_owned(), size_bytes, sha256: None };
    Checkpoint::open(&[file])
}
