//! A map that stays in its file until it is used.

use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::checkpoint::Checkpoint;
use super::layout::Layout;
use super::linear::LinearMap;
use crate::engine::error::Result;
use crate::engine::export::encoding;

/// A map by where its numbers lie: in a mapped file, which takes none of the process's own memory.
#[derive(Clone)]
pub struct Stored {
    layout: Layout,
    module: String,
    checkpoint: Arc<Checkpoint>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("module", &self.module).field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Stored {
    /// The map of a module, which lies in `checkpoint` as `layout` says.
    pub const fn new(layout: Layout, module: String, checkpoint: Arc<Checkpoint>) -> Self {
        Self { layout, module, checkpoint }
    }

    /// Its form and shape.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether some of its rows can be read without the others.
    pub fn is_read_by_rows(&self) -> bool {
        matches!(self.layout, Layout::Dense { transposed: false, .. })
            && self.checkpoint.bytes(&format!("{}.weight", self.module)).is_some()
    }

    /// The map in memory, in the form that it is stored in.
    ///
    /// # Errors
    ///
    /// Tensors that are not what the layout says.
    pub fn read(&self) -> Result<LinearMap> {
        encoding::decode(&self.layout, &self.module, &self.checkpoint, &Device::Cpu)
    }

    /// Some rows of it, `[ids, in]`: of plain numbers these rows alone are read, of other forms all.
    ///
    /// # Errors
    ///
    /// As [`Stored::read`]; an id beyond the rows.
    pub fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let Layout::Dense { r#in, transposed: false, .. } = self.layout else {
            return Ok(self.read()?.to_dense(&Device::Cpu)?.index_select(ids, 0)?);
        };
        let name = format!("{}.weight", self.module);
        let ids = ids.to_vec1::<u32>()?;
        let mut rows = Vec::with_capacity(ids.len() * r#in);
        for id in &ids {
            let id = *id as usize;
            rows.extend(self.checkpoint.rows_f32(&name, r#in, id..id + 1)?);
        }
        Ok(Tensor::from_vec(rows, (ids.len(), r#in), &Device::Cpu)?)
    }
}
