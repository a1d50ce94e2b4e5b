//! What Transformers need kept: attention over long distances, the order of words, heads that share the work.
//!
//! A model can keep its mean score and lose one of these. So each is measured by taking it away on purpose, from original and
//! result alike: what the answer loses then is what it was worth. A result that no longer has it has nothing to lose.

mod answers;
mod heads;
mod measure;
mod quartiles;
mod sample;
mod sums;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::finite;
use super::statistics::Interval;

pub use measure::{Answered, Given, measure};
pub use sums::Sides;

/// How near tokens must stand to attend to each other where attention is cut.
pub const WINDOW: usize = 16;

/// What Transformers need kept, of original and result on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// Rows that both models were run on again.
    pub sample: Sample,
    /// What `worth` is counted in.
    pub unit: Unit,
    /// Attention over long distances.
    pub long_range: LongRange,
    /// The order of words.
    pub positions: Positions,
    /// Heads that share the work.
    pub head_balance: HeadBalance,
}

/// Rows that both models were run on again, drawn from those that they are measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// How many.
    pub rows: u64,
    /// Of how many.
    pub of: u64,
    /// What drew them, and shuffles their tokens.
    pub seed: u64,
}

/// What is lost of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Probability of the class that the original answers to the whole row.
    Probability,
    /// Nats of the right token's likelihood; `exp` of it is a ratio of perplexities.
    Nats,
    /// 1 − cosine of the two vectors.
    CosineDistance,
    /// The difference of the two numbers, without its sign.
    Difference,
}

/// What attention over long distances is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongRange {
    /// Where attention is cut, a token sees those alone that stand fewer than so many tokens away.
    pub window: u64,
    /// `KL(whole row ‖ attention cut)` of a model's own answers, nats; `None` where answers are no distributions.
    pub change: Option<Sides>,
    /// What the answer loses when attention is cut.
    pub worth: Sides,
    /// What quartiles are of.
    pub quartiles_of: QuartilesOf,
    /// What quality is in quartiles; `None` where it was not measured.
    pub metric: Option<String>,
    /// From the shortest rows to the longest, or from the first places of a row to the last; of all rows that were measured on.
    pub quartiles: Vec<Quartile>,
}

/// What quartiles are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuartilesOf {
    /// Rows by their length in tokens. Rows of one length stand in one quartile.
    RowLength,
    /// Tokens by their place in the row, in four stretches of one width.
    PlaceInRow,
}

/// A quarter of rows or places.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quartile {
    /// The shortest length, or the first place.
    pub from: u64,
    /// The longest length, or the last place.
    pub to: u64,
    /// Rows, or tokens.
    pub n: u64,
    /// Mean `KL(p_original ‖ p_result)`, nats.
    pub kl: Option<Interval>,
    /// Quality of both.
    pub quality: Option<QuartileQuality>,
}

/// Quality in a quartile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuartileQuality {
    /// Of the original.
    pub original: Option<Interval>,
    /// Of the result.
    pub result: Interval,
}

/// What the order of words is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Positions {
    /// `‖P − P̂‖ / ‖P‖` of the position table.
    #[serde(serialize_with = "finite::optional")]
    pub table_relative_error: Option<f64>,
    /// `KL(row ‖ row shuffled)` of a model's own answers, nats; `None` where these can't be laid beside each other.
    pub change: Option<Sides>,
    /// What the answer loses when a row's tokens are shuffled; special tokens stay.
    pub worth: Sides,
}

/// How the heads of a layer share the work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadBalance {
    /// Effective heads of the layer that has fewest.
    pub fewest_effective: Sides,
    /// Every layer.
    pub layers: Vec<LayerHeads>,
}

/// The heads of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerHeads {
    /// Which, from 0.
    pub layer: u64,
    /// In the original.
    pub original: Option<Balance>,
    /// In the result.
    pub result: Balance,
    /// Rank of each attention map of the result: of its factors, else the smaller side of the matrix.
    pub ranks: BTreeMap<String, u64>,
}

/// How much each head adds to what a layer puts out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    /// Heads that add anything.
    pub kept: u64,
    /// `exp` of the entropy of the heads' shares: as many as there are where all add alike, 1 where one does all, 0 where none
    /// adds anything.
    #[serde(serialize_with = "finite::number")]
    pub effective: f64,
    /// Mean length of what each head adds, over all tokens.
    pub importances: Vec<f64>,
}

#[cfg(test)]
mod tests;
