//! From a checkpoint to a model in memory, one tensor at a time.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::ModelHeader;
use super::arch::{NormSpec, Wiring};
use super::checkpoint::Checkpoint;
use super::forward::Part;
use super::inspect::Inspected;
use super::linear::{Linear, LinearMap};
use super::spec::{ModelSpec, SiteSpec};
use super::stored::Stored;
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::export::{encoding, inputs};

/// A model in memory. Cloning shares the numbers, so that the model after every stage can be kept.
#[derive(Debug, Clone)]
pub struct Model {
    /// Dimensions and switches; `None` for a family that we can't run.
    pub spec: Option<ModelSpec>,
    /// Sites in the order of computation.
    pub sites: Vec<SiteSpec>,
    /// Their maps, in the same order.
    pub maps: Vec<Arc<Linear>>,
    /// Normalizations in the order of computation.
    pub norms: Vec<Norm>,
    /// Who feeds whom; `None` for a family that we can't run.
    pub wiring: Option<Wiring>,
    /// Added to a tied head's outputs, `[vocab]`.
    pub head_bias: Option<Tensor>,
}

/// A normalization's vectors, f32.
#[derive(Debug, Clone)]
pub struct Norm {
    /// Their names in the checkpoint.
    pub spec: NormSpec,
    /// `[width]`.
    pub gamma: Tensor,
    /// `[width]`; rms norms have none.
    pub beta: Option<Tensor>,
}

impl Model {
    /// Reads every site and norm of an inspected checkpoint. Costs four bytes a parameter; of a model with more than
    /// [`RunContext::resident_bytes`] the maps stay in their files.
    pub fn load(inspected: &Inspected, checkpoint: &Arc<Checkpoint>, ctx: &RunContext<'_>) -> Result<Self> {
        let header = &inspected.header;
        let total = header.sites.len();
        let is_resident = resident_bytes(header) <= ctx.resident_bytes;
        let mut maps = Vec::with_capacity(total);
        for (i, site) in header.sites.iter().enumerate() {
            let module = &site.spec.module;
            let map = if is_resident {
                encoding::decode(&site.layout, module, checkpoint, &ctx.device)?
            } else {
                LinearMap::Stored(Stored::new(site.layout.clone(), module.clone(), Arc::clone(checkpoint)))
            };
            let bias =
                if site.spec.bias { Some(vector(checkpoint, &format!("{module}.bias"), &ctx.device)?) } else { None };
            let bias_dtype = checkpoint.get(&format!("{module}.bias")).map_or(header.dtype, |t| t.dtype);
            let input = inputs::decode(site.input, &site.layout, module, checkpoint)?;
            maps.push(Arc::new(Linear { map, bias, bias_dtype, input }));
            ctx.progress(i + 1, total, "sites")?;
        }
        let norm = |spec: &NormSpec| -> Result<Norm> {
            Ok(Norm {
                gamma: vector(checkpoint, &spec.weight, &ctx.device)?,
                beta: spec.bias.as_ref().map(|bias| vector(checkpoint, bias, &ctx.device)).transpose()?,
                spec: spec.clone(),
            })
        };
        let head_bias = inspected.wiring.as_ref().and_then(|wiring| wiring.head_bias.as_ref());
        Ok(Self {
            head_bias: head_bias.map(|name| vector(checkpoint, name, &ctx.device)).transpose()?,
            spec: header.spec.clone(),
            sites: header.sites.iter().map(|s| s.spec.clone()).collect(),
            maps,
            norms: inspected.norms.iter().map(norm).collect::<Result<_>>()?,
            wiring: inspected.wiring.clone(),
        })
    }

    /// The index of a site.
    pub fn site(&self, name: &str) -> Option<usize> {
        self.sites.iter().position(|s| s.site == name)
    }

    /// The same model in which a token attends to those alone that stand fewer than `window` tokens away from it. What it
    /// answers otherwise is what attention further away gives it.
    #[must_use]
    pub fn within(&self, window: usize) -> Self {
        let mut model = self.clone();
        for block in model.wiring.iter_mut().flat_map(|wiring| &mut wiring.blocks) {
            let known = block.attention.window.unwrap_or(usize::MAX);
            block.attention.window = Some(known.min(window.max(1)));
        }
        model
    }

    /// Whether maps are still in their files, so that forward passes are best done block by block.
    pub fn is_stored(&self) -> bool {
        self.maps.iter().any(|map| matches!(map.map, LinearMap::Stored(_)))
    }

    /// The same model with every map decoded, for many forward passes; what is in its file stays there.
    pub fn realized(&self) -> Result<Self> {
        let realized = |map: &Arc<Linear>| match map.map {
            LinearMap::Stored(_) => Ok(Arc::clone(map)),
            _ => map.realized().map(Arc::new),
        };
        Ok(Self { maps: self.maps.iter().map(realized).collect::<Result<_>>()?, ..self.clone() })
    }

    /// The same model with the tables that tokens are looked up in decoded. Plain rows in a file are read one by one, where they are
    /// not entropy-coded.
    ///
    /// # Errors
    ///
    /// A family that we can't run.
    pub fn at_tables(&self) -> Result<Self> {
        let wiring = self.wired()?;
        let tables = [Some(wiring.token), wiring.position, wiring.token_type].into_iter().flatten();
        let is_read_by_rows = |site: &usize| {
            let map = self.maps.get(*site).map(|map| &map.map);
            matches!(map, Some(LinearMap::Stored(stored)) if stored.is_read_by_rows())
        };
        self.with(tables.filter(|site| !is_read_by_rows(site)))
    }

    /// The same model with the maps of one block in memory, decoded.
    ///
    /// # Errors
    ///
    /// As [`Model::at_tables`]; a block that is not there.
    pub fn at_block(&self, index: usize) -> Result<Self> {
        let missing = || EngineError::Internal(format!("there is no block {index}"));
        self.with(self.wired()?.blocks.get(index).ok_or_else(missing)?.sites())
    }

    /// The same model with the sites of one part of a block in memory, decoded.
    ///
    /// # Errors
    ///
    /// As [`Model::at_tables`].
    pub fn at_part(&self, index: usize, part: Part) -> Result<Self> {
        let missing = || EngineError::Internal(format!("there is no block {index}"));
        let groups = self.wired()?.blocks.get(index).ok_or_else(missing)?.groups();
        self.with(groups.into_iter().nth(part as usize).unwrap_or_default())
    }

    /// The same model with what stands behind the last block in memory, decoded.
    ///
    /// # Errors
    ///
    /// As [`Model::at_tables`].
    pub fn at_end(&self) -> Result<Self> {
        let wiring = self.wired()?;
        self.with(wiring.transform.as_ref().map(|transform| transform.site).into_iter().chain(wiring.head))
    }

    fn wired(&self) -> Result<&Wiring> {
        self.wiring.as_ref().ok_or_else(|| EngineError::Internal("this family of models can't be run".into()))
    }

    fn with(&self, sites: impl IntoIterator<Item = usize>) -> Result<Self> {
        let mut model = self.clone();
        for site in sites {
            let missing = || EngineError::Internal(format!("there is no site {site}"));
            let map = model.maps.get_mut(site).ok_or_else(missing)?;
            *map = Arc::new(map.realized()?);
        }
        Ok(model)
    }
}

/// What a model's weights take as f32.
pub fn resident_bytes(header: &ModelHeader) -> u64 {
    header.parameters.saturating_mul(4)
}

fn vector(checkpoint: &Checkpoint, name: &str, device: &Device) -> Result<Tensor> {
    let values = checkpoint.to_f32(name)?;
    let length = values.len();
    Ok(Tensor::from_vec(values, length, device)?)
}
