//! Rows of which only some tokens' answers count.

use super::Scores;
use super::score::score;
use crate::engine::context::RunContext;
use crate::engine::data::{Encoded, EncodedWords, aligned};
use crate::engine::error::{EngineError, Result};
use crate::engine::model::build::Model;

/// What a tagger is asked: rows of tokens, and which of their answers are looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marked {
    /// What the model is given.
    pub rows: Encoded,
    /// For each row: the tokens whose answers are looked at. Places ascend.
    pub asked: Vec<Vec<u32>>,
    /// Whether each of them stands for a word, as whoever tagged the rows split them.
    pub are_words: bool,
}

impl Marked {
    /// Rows of text: every token but `special` ones; all of a row that has no other.
    pub fn texts(rows: Encoded, special: &[u32]) -> Self {
        let asked = |ids: &Vec<u32>| -> Vec<u32> {
            let all = 0..ids.len() as u32;
            let ordinary: Vec<u32> =
                all.clone().zip(ids).filter(|(_, id)| !special.contains(id)).map(|(at, _)| at).collect();
            if ordinary.is_empty() { all.collect() } else { ordinary }
        };
        let asked = rows.ids.iter().map(asked).collect();
        Self { rows, asked, are_words: false }
    }

    /// Rows of words: the first token of each word, as [`aligned`] has it.
    pub fn words(found: EncodedWords) -> Self {
        let asked = |words: &Vec<Option<u32>>| -> Vec<u32> {
            let numbers: Vec<()> = vec![(); words.iter().flatten().max().map_or(0, |most| *most as usize + 1)];
            (0..).zip(aligned(words, &numbers)).filter_map(|(at, word)| word.map(|()| at)).collect()
        };
        let asked = found.words.iter().map(asked).collect();
        Self { rows: found.encoded, asked, are_words: true }
    }

    /// Answers that are looked at.
    pub fn len(&self) -> usize {
        self.asked.iter().map(Vec::len).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of these places.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let asked = places.iter().filter_map(|place| self.asked.get(*place)).cloned().collect();
        Self { rows: self.rows.select(places), asked, are_words: self.are_words }
    }

    /// The first `rows` rows.
    #[must_use]
    pub fn first(&self, rows: usize) -> Self {
        let few: Vec<usize> = (0..self.rows.ids.len().min(rows)).collect();
        let asked = self.asked.iter().take(rows).cloned().collect();
        Self { rows: self.rows.select(&few), asked, are_words: self.are_words }
    }

    /// A model's answers that are looked at, one line each, row after row.
    ///
    /// # Cost
    ///
    /// One forward pass over all tokens; memory for all their answers.
    pub fn score(&self, model: &Model, ctx: &RunContext<'_>) -> Result<Scores> {
        self.of(&score(model, &self.rows, ctx)?)
    }

    /// The lines that are looked at, of a model's answers to all tokens.
    ///
    /// # Errors
    ///
    /// Answers to other tokens.
    pub fn of(&self, all: &Scores) -> Result<Scores> {
        let tokens: usize = self.rows.ids.iter().map(Vec::len).sum();
        if all.rows() != tokens {
            let detail = format!("a model gave {} answers to {tokens} tokens", all.rows());
            return Err(EngineError::Internal(detail));
        }
        let mut values = Vec::with_capacity(self.len() * all.width);
        let mut start = 0;
        for (ids, asked) in self.rows.ids.iter().zip(&self.asked) {
            for at in asked {
                let line = (start + *at as usize) * all.width;
                values.extend(all.values.get(line..line + all.width).into_iter().flatten());
            }
            start += ids.len();
        }
        Ok(Scores { width: all.width, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: Vec<Vec<u32>>) -> Encoded {
        let type_ids = ids.iter().map(|row| vec![0; row.len()]).collect();
        Encoded { ids, type_ids }
    }

    #[test]
    fn of_a_text_all_but_special_tokens_count() {
        let marked = Marked::texts(rows(vec![vec![2, 7, 8, 3], vec![2, 3], vec![9]]), &[2, 3]);
        assert_eq!(marked.asked, [vec![1, 2], vec![0, 1], vec![0]], "a row of special ones alone keeps them");
        assert_eq!((marked.len(), marked.first(1).len(), marked.are_words), (5, 2, false));
        assert!(Marked::default().is_empty());
    }

    #[test]
    fn of_a_word_the_first_token_counts() {
        let words = vec![vec![None, Some(0), Some(0), Some(2), None], vec![None, None]];
        let marked = Marked::words(EncodedWords { encoded: rows(vec![vec![2, 7, 8, 9, 3], vec![2, 3]]), words });
        assert_eq!((marked.asked.as_slice(), marked.are_words), ([vec![1, 3], vec![]].as_slice(), true));
    }
}
