//! Writing models, and reading back what was written. One file a format; encodings live here, methods never see them.

pub mod bits;
mod codes;
pub mod compressed_tensors;
pub mod encoding;
pub mod hf;
pub mod pack;
pub mod safetensors;
pub mod verify;

pub use encoding::TensorSpec;
