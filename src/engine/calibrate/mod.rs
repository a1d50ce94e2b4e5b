//! One calibration engine for all methods that look at data.
//!
//! A model's rows go through it block by block, the original and the compressed model side by side: what a site is fed in both
//! is summed up while it passes ([`moments`]), and then the site is changed. So of all activations only those between two
//! blocks are held ([`stream`]). Rows are packed without padding, so no sum holds any.
//!
//! With `X [tokens, in]` what the original's site is fed and `X̂` what the compressed model's is, a method that minimizes
//! `‖X Wᵀ - X̂ Ŵᵀ‖²` minimizes `‖X̂ (W* - Ŵ)ᵀ‖²` ([`anchored`]).
//!
//! What comes back from the loss of labels that the model draws itself is summed up in the same way, block by block from the last to
//! the first ([`backward`], [`gradients`]).

pub mod anchored;
pub mod backward;
pub mod gradients;
mod held;
mod labels;
pub mod moments;
pub mod rows;
pub mod statistics;
pub mod stream;

pub use backward::Backward;
pub use gradients::{GradientSites, Gradients, Squares, WantedGradients};
pub(in crate::engine) use held::Held;
pub use moments::{Cross, Moments, TokenWeights, Wanted};
pub use statistics::Statistics;
pub use stream::{Sites, Stream};
