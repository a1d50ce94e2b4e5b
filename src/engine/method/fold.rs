//! Exact savings: biases that attention does not need.
//!
//! Softmax does not see what is added to a whole line of scores, so the key's bias has no effect where positions do not
//! enter the product: `q·(k + b_K) = q·k + q·b_K`, the same for every key. And since a line of probabilities sums to 1,
//! the value's bias comes out of attention as it went in, and folds into the output's: `b_O ← b_O + W_O b_V`. Both are
//! then zero. Nothing changes but rounding.

use std::sync::Arc;

use candle_core::Tensor;
use serde_json::{Map, Value};

use super::{Action, Fallback, Method, MethodSpec, ModelAction, Needs};
use crate::engine::error::Result;
use crate::engine::model::arch::Projections;
use crate::engine::model::build::Model;
use crate::engine::model::{Layout, SiteSpec};
use crate::engine::problem::Problem;

/// The method.
pub struct Fold;

static SPEC: MethodSpec = MethodSpec {
    name: "fold",
    family: "exact",
    summary: "Zeroes the key's bias and folds the value's into the output's; the model's answers stay.",
    source: "no paper: softmax is shift-invariant and its lines sum to 1",
    needs: Needs::Nothing,
    params: &[],
    default_targets: &["block.*.self_attention.*"],
};

impl Method for Fold {
    fn spec(&self) -> &'static MethodSpec {
        &SPEC
    }

    fn bind(&self, _: &Map<String, Value>) -> std::result::Result<Action, Vec<Problem>> {
        Ok(Action::Model(Box::new(FoldBiases)))
    }
}

struct FoldBiases;

impl ModelAction for FoldBiases {
    fn layouts(&self, _: &[SiteSpec], current: &[Layout]) -> std::result::Result<Vec<Layout>, String> {
        Ok(current.to_vec())
    }

    fn apply(&self, model: &Model, targets: &[usize]) -> Result<(Model, Vec<Fallback>)> {
        let mut folded = model.clone();
        // What turns with the position, or is brought to one length, is no shift of a whole line any more
        let turned = model.spec.as_ref().is_none_or(|spec| spec.rope.is_some());
        for block in model.wiring.iter().flat_map(|w| &w.blocks) {
            let attention = &block.attention;
            let Projections::Split { query: _, key, value } = attention.projections else { continue };
            let output = attention.output;
            if targets.contains(&key)
                && !turned
                && attention.head_norms.is_none()
                && let Some(bias) = folded.maps.get_mut(key).map(Arc::make_mut).and_then(|key| key.bias.as_mut())
            {
                *bias = bias.zeros_like()?;
            }
            let shared = model.spec.as_ref().is_none_or(|spec| spec.kv_heads != spec.heads);
            if shared || !(targets.contains(&value) && targets.contains(&output)) {
                continue;
            }
            let (Some(values), Some(outputs)) = (model.maps.get(value), model.maps.get(output)) else { continue };
            let (Some(inner), Some(_)) = (&values.bias, &outputs.bias) else { continue };
            // W_O b_V + b_O is the output's own forward pass over b_V
            let mut moved = outputs.forward(&inner.unsqueeze(0)?)?.squeeze(0)?.to_vec1::<f32>()?;
            outputs.bias_dtype.round(&mut moved);
            let moved = Tensor::from_vec(moved, outputs.map.layout().shape().0, inner.device())?;
            let zero = inner.zeros_like()?;
            if let Some(outputs) = folded.maps.get_mut(output).map(Arc::make_mut) {
                outputs.bias = Some(moved);
            }
            if let Some(values) = folded.maps.get_mut(value).map(Arc::make_mut) {
                values.bias = Some(zero);
            }
        }
        Ok((folded, Vec::new()))
    }
}
