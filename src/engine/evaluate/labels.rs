//! What rows should be answered with: classes, numbers or tags, as a model's head wants them.

use std::collections::HashMap;

use super::Scores;
use super::quality::{self, OF_CLASSES, OF_NUMBERS, OF_TAGS, Quality, QualityChange, Tagged};
use crate::engine::data::{Dataset, EncodedWords, Target, aligned};
use crate::engine::error::{EngineError, Result};
use crate::engine::model::spec::Head;

mod foreign;

pub use foreign::problems;

/// What is right, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// The index of every row's class.
    Classes(Vec<usize>),
    /// Every row's number.
    Numbers(Vec<f64>),
    /// The tags of every row's words.
    Tags(Tags),
}

/// Tags of words, by their index among the model's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// The rows' words one after another.
    tags: Vec<usize>,
    /// How many each row has.
    words: Vec<usize>,
    /// Words that have no token, most of them beyond the cut: no answer is there to be right.
    left_out: usize,
}

impl Labels {
    /// The labels of rows that get one answer each; `None` where they have none, or the head answers otherwise. The data
    /// is one that [`check`] took.
    pub fn of_rows(dataset: &Dataset, head: &Head) -> Option<Self> {
        match head {
            _ if dataset.target == Target::None => None,
            Head::Classification { labels } => {
                let index = indices(labels);
                let classes = dataset.rows.iter().map(|row| index.get(row.label.as_deref()?).copied());
                classes.collect::<Option<Vec<usize>>>().map(Self::Classes)
            }
            Head::Regression => dataset.numbers().map(Self::Numbers),
            _ => None,
        }
    }

    /// The tags of the words that have a token; `None` where words have none.
    pub fn of_words(dataset: &Dataset, names: &[String], found: &EncodedWords) -> Option<Self> {
        if dataset.target != Target::Tags {
            return None;
        }
        let index = indices(names);
        let mut tags = Tags::default();
        for (row, words) in dataset.rows.iter().zip(&found.words) {
            let all = row.words.iter().map(|word| index.get(word.tag.as_str()).copied());
            let all = all.collect::<Option<Vec<usize>>>()?;
            let before = tags.tags.len();
            tags.tags.extend(aligned(words, &all).into_iter().flatten());
            let kept = tags.tags.len() - before;
            tags.words.push(kept);
            tags.left_out += all.len().saturating_sub(kept);
        }
        Some(Self::Tags(tags))
    }

    /// Every row's class, where that is what rows are answered with.
    pub fn classes(&self) -> Option<&[usize]> {
        match self {
            Self::Classes(classes) => Some(classes),
            Self::Numbers(_) | Self::Tags(_) => None,
        }
    }

    /// The metrics of task quality that such labels have.
    pub const fn metrics(&self) -> &'static [&'static str] {
        match self {
            Self::Classes(_) => OF_CLASSES,
            Self::Numbers(_) => OF_NUMBERS,
            Self::Tags(_) => OF_TAGS,
        }
    }

    /// Task quality of a model's answers; `names` are the model's own of its classes or tags.
    ///
    /// # Errors
    ///
    /// Answers that do not fit the rows, or are not finite.
    pub fn quality(&self, scores: &Scores, names: &[String]) -> Result<Quality> {
        match self {
            Self::Classes(labels) => quality::classification(scores, labels, names.len()),
            Self::Numbers(numbers) => quality::regression(scores, numbers),
            Self::Tags(tags) => quality::tags(scores, tags.tagged(names)),
        }
    }

    /// Its paired change between two models.
    ///
    /// # Errors
    ///
    /// As [`Labels::quality`].
    pub fn change(&self, before: &Scores, after: &Scores, names: &[String]) -> Result<QualityChange> {
        match self {
            Self::Classes(labels) => quality::change(before, after, labels, names.len()),
            Self::Numbers(numbers) => quality::regression_change(before, after, numbers),
            Self::Tags(tags) => quality::tags_change(before, after, tags.tagged(names)),
        }
    }

    /// What counts as an answer and as right, in a sentence.
    pub fn protocol(&self) -> String {
        match self {
            Self::Classes(_) => CLASSES.to_owned(),
            Self::Numbers(_) => NUMBERS.to_owned(),
            Self::Tags(Tags { left_out: 0, .. }) => TAGS.to_owned(),
            Self::Tags(Tags { left_out, tags, .. }) => {
                format!("{TAGS}; {left_out} of {} words have no token there and are left out", left_out + tags.len())
            }
        }
    }

    /// Row by row, as numbers that tell labels apart.
    pub(super) fn prints(&self) -> Vec<Vec<u64>> {
        match self {
            Self::Classes(labels) => labels.iter().map(|label| vec![*label as u64]).collect(),
            Self::Numbers(numbers) => numbers.iter().map(|number| vec![number.to_bits()]).collect(),
            Self::Tags(Tags { tags, words, .. }) => {
                let mut tags = tags.iter().map(|tag| *tag as u64);
                words.iter().map(|count| tags.by_ref().take(*count).collect()).collect()
            }
        }
    }
}

impl Tags {
    fn tagged<'a>(&'a self, names: &'a [String]) -> Tagged<'a> {
        Tagged { tags: &self.tags, words: &self.words, names }
    }
}

/// Where each name stands; of equal names the first.
fn indices(names: &[String]) -> HashMap<&str, usize> {
    names.iter().enumerate().rev().map(|(index, name)| (name.as_str(), index)).collect()
}

/// Refuses rows that a model can't be held against.
///
/// # Errors
///
/// As [`problems`]. Cost: one pass; where something is wrong, as [`Dataset::summary`].
pub fn check(head: &Head, dataset: &Dataset, pointer: &str) -> Result<()> {
    let known = |labels: &[String], target| -> bool {
        let index = indices(labels);
        let has = |label: &str| index.contains_key(label);
        dataset.target == target
            && dataset
                .rows
                .iter()
                .all(|row| row.label.as_deref().is_none_or(has) && row.words.iter().all(|word| has(word.tag.as_str())))
    };
    let fits = match head {
        _ if dataset.target == Target::None => true,
        Head::Classification { labels } => known(labels, Target::Class),
        Head::TokenClassification { labels } => known(labels, Target::Tags),
        Head::Regression => dataset.numbers().is_some(),
        Head::MaskedLanguage | Head::CausalLanguage | Head::Embedding { .. } => true,
    };
    if fits { Ok(()) } else { Err(EngineError::Invalid(problems(head, &dataset.summary(), pointer))) }
}

/// What counts as a class.
const CLASSES: &str = "the label with the largest logit, of every row of the evaluation set, cut to max_seq_length \
    tokens with the special ones";

/// What counts as a number.
const NUMBERS: &str = "the number that the model answers with, as it is, without an activation behind it, beside the number of the row, of \
    every row of the evaluation set, cut to max_seq_length tokens with the special ones";

/// What counts as a tag.
const TAGS: &str = "the tag with the largest logit at the first token of each word of the evaluation set, each row cut to \
    max_seq_length tokens with the special ones; token-F1 over words with a tag other than O, entity-F1 over whole entities as \
    seqeval and conlleval read them";

#[cfg(test)]
mod tests;
