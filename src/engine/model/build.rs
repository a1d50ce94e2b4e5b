//! From a checkpoint to a model in memory, one tensor at a time.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::arch::{NormSpec, Wiring};
use super::checkpoint::Checkpoint;
use super::inspect::Inspected;
use super::linear::{Input, Linear};
use super::spec::{ModelSpec, SiteSpec};
use crate::engine::context::RunContext;
use crate::engine::error::Result;
use crate::engine::export::encoding;

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
    /// Reads every site and norm of an inspected checkpoint. Costs four bytes a parameter.
    pub fn load(inspected: &Inspected, checkpoint: &Checkpoint, ctx: &RunContext<'_>) -> Result<Self> {
        let header = &inspected.header;
        let total = header.sites.len();
        let mut maps = Vec::with_capacity(total);
        for (i, site) in header.sites.iter().enumerate() {
            let module = &site.spec.module;
            let map = encoding::decode(&site.layout, module, checkpoint, &ctx.device)?;
            let bias =
                if site.spec.bias { Some(vector(checkpoint, &format!("{module}.bias"), &ctx.device)?) } else { None };
            let bias_dtype = checkpoint.get(&format!("{module}.bias")).map_or(header.dtype, |t| t.dtype);
            maps.push(Arc::new(Linear { map, bias, bias_dtype, input: Input::None }));
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

    /// The same model with every map decoded, for many forward passes.
    pub fn realized(&self) -> Result<Self> {
        let maps = self.maps.iter().map(|map| Ok(Arc::new(map.realized()?))).collect::<Result<_>>()?;
        Ok(Self { maps, ..self.clone() })
    }
}

fn vector(checkpoint: &Checkpoint, name: &str, device: &Device) -> Result<Tensor> {
    let values = checkpoint.to_f32(name)?;
    let length = values.len();
    Ok(Tensor::from_vec(values, length, device)?)
}
