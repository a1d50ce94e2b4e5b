//! What happens to a map's input first.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::layout::Dtype;

/// What happens to a map's input first.
#[derive(Debug, Clone)]
pub enum Input {
    /// Nothing.
    None,
    /// `x_j · s_j`: a scale per column that does not fold into what comes before (AWQ).
    Scale(Tensor),
    /// `s_t round(x_t / s_t)`: 8 bits, where every token's scale `s_t` is its largest distance from 0 over 127.
    DynamicInt8,
    /// The same with one scale for all tokens; what is beyond ±127 of it is cut off.
    StaticInt8 {
        /// The scale, already rounded to `dtype`.
        scale: f32,
        /// What it is stored as.
        dtype: Dtype,
    },
}

impl Input {
    /// The form, without the numbers.
    pub const fn form(&self) -> InputForm {
        match self {
            Self::None | Self::Scale(_) => InputForm::None,
            Self::DynamicInt8 => InputForm::DynamicInt8,
            Self::StaticInt8 { dtype, .. } => InputForm::StaticInt8 { scale_dtype: *dtype },
        }
    }

    /// The one scale of all tokens.
    pub const fn scale(&self) -> Option<f32> {
        match self {
            Self::StaticInt8 { scale, .. } => Some(*scale),
            _ => None,
        }
    }

    /// Whether products are those of whole numbers, where the map has such.
    pub const fn is_int8(&self) -> bool {
        matches!(self, Self::DynamicInt8 | Self::StaticInt8 { .. })
    }
}

/// What happens to a map's input first, without numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "activations", rename_all = "snake_case")]
pub enum InputForm {
    /// Nothing.
    #[default]
    None,
    /// 8 bits with a scale for every token, found as it comes.
    DynamicInt8,
    /// 8 bits with one scale for all.
    StaticInt8 {
        /// Element type of the scale on disk.
        scale_dtype: Dtype,
    },
}

impl InputForm {
    /// Whether nothing happens.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// How scales are found, in a word; `None` where there are none.
    pub const fn activations(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::DynamicInt8 => Some("dynamic"),
            Self::StaticInt8 { .. } => Some("static"),
        }
    }

    /// What happens between two factors where this happens to the first one's input: what passes there has a scale for every
    /// token, for nothing else is known of it.
    #[must_use]
    pub const fn between(self) -> Self {
        match self {
            Self::None => Self::None,
            _ => Self::DynamicInt8,
        }
    }
}
