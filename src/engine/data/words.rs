//! Tokens of words that were split before, and which of them carry the words' tags.

use super::Row;
use super::tokenize::{Encoded, Tokenizer, checked, guarded};
use crate::engine::error::Result;

/// Token ids of rows of words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedWords {
    /// The tokens.
    pub encoded: Encoded,
    /// Of each row, the word that each token is a part of, from 0; `None` for special tokens.
    pub words: Vec<Vec<Option<u32>>>,
}

impl Tokenizer {
    /// The ids of rows of tagged words, each cut to `max_seq_length` tokens, with the word of every token. Words are
    /// tokenized one by one, as `is_split_into_words` has it; a byte-level tokenizer must put a space before each by
    /// itself (`add_prefix_space`), or it does not see where they begin.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`]. Words that give no token at all, and ones beyond the cut, have none.
    pub fn encode_words(&self, rows: &[Row], max_seq_length: usize, threads: usize) -> Result<EncodedWords> {
        let row = |tokenizer: &tokenizers::Tokenizer, row: &Row, at: usize, max_seq_length: usize| {
            let words: Vec<&str> = row.words.iter().map(|word| word.text.as_str()).collect();
            // Not the fast way, which leaves the words out
            let encoding = checked(guarded(|| tokenizer.encode(words, true)), at, max_seq_length)?;
            Ok((encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec(), encoding.get_word_ids().to_vec()))
        };
        let mut all = EncodedWords::default();
        for (ids, type_ids, words) in self.each(rows, max_seq_length, threads, row)? {
            all.encoded.ids.push(ids);
            all.encoded.type_ids.push(type_ids);
            all.words.push(words);
        }
        Ok(all)
    }
}

/// The tag of each token of a row, given the word of each token and the tag of each word: the first token of a word
/// carries its tag; its other tokens, and special ones, carry none. So a word counts once, however many tokens it has:
/// what transformers' `run_ner` trains and measures with.
pub fn aligned<T: Copy>(words: &[Option<u32>], tags: &[T]) -> Vec<Option<T>> {
    let mut previous = None;
    let tag = |word: &Option<u32>| {
        let begins = *word != previous;
        previous = *word;
        word.filter(|_| begins).and_then(|word| tags.get(word as usize).copied())
    };
    words.iter().map(tag).collect()
}
