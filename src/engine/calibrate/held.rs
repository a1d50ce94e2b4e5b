//! What a batch has come to, between two blocks or inside one, in memory or in a scratch file.

use std::fs;
use std::path::PathBuf;

use candle_core::{Device, Tensor};

use crate::engine::error::{EngineError, Result};
use crate::engine::kernels::look;

/// The states of one batch, `[tokens, hidden]`, or what its next sites are fed, `[tokens, in]`.
pub(in crate::engine) enum Held {
    Memory(Tensor),
    File(PathBuf, (usize, usize)),
}

impl Held {
    /// Writes states down.
    ///
    /// # Errors
    ///
    /// A file that can't be written.
    pub(in crate::engine) fn write(path: PathBuf, states: &Tensor) -> Result<Self> {
        let shape = states.dims2()?;
        let bytes: Vec<u8> = look(states, |x| x.iter().flat_map(|x| x.to_le_bytes()).collect())?;
        fs::write(&path, bytes).map_err(EngineError::io(&path, "written"))?;
        Ok(Self::File(path, shape))
    }

    /// The states.
    ///
    /// # Errors
    ///
    /// A file that can't be read.
    pub(in crate::engine) fn read(&self) -> Result<Tensor> {
        match self {
            Self::Memory(states) => Ok(states.clone()),
            Self::File(path, shape) => {
                let bytes = fs::read(path).map_err(EngineError::io(path, "read"))?;
                let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                Ok(Tensor::from_vec(values, *shape, &Device::Cpu)?)
            }
        }
    }
}
