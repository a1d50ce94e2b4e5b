//! Writing models, and reading back what was written. One file a format; encodings live here, methods never see them.

pub mod bits;
pub mod codebook;
pub mod coded;
mod codes;
pub mod compressed_tensors;
mod contexts;
pub mod encoding;
pub mod hf;
pub mod inputs;
pub mod loaders;
pub mod pack;
pub mod packed;
pub mod rans;
pub mod safetensors;
pub mod verify;

pub use encoding::TensorSpec;
