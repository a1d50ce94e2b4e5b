//! Rows of random tokens: what a model can be run on where there is no data at all.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::split::below;
use super::tokenize::{Encoded, Tokenizer, encode_text};

/// The ids that random rows are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// Ids that stand for text, ascending.
    pub ordinary: Vec<u32>,
    /// What a row begins with: `[CLS]`.
    pub prefix: Vec<u32>,
    /// What a row ends with: `[SEP]`.
    pub suffix: Vec<u32>,
}

impl Vocabulary {
    /// All ids below `size` but `except`: for a model without a tokenizer.
    pub fn plain(size: usize, except: &[u32]) -> Self {
        let ordinary = (0..size as u32).filter(|id| !except.contains(id)).collect();
        Self { ordinary, prefix: Vec::new(), suffix: Vec::new() }
    }
}

impl Tokenizer {
    /// What rows for a model of `size` tokens are made of: the tokenizer's ids below `size` that are not special, nor
    /// reserved (`[unused0]`), between the special tokens that it puts around a text.
    pub fn vocabulary(&self, size: usize) -> Vocabulary {
        let fits = |id: &u32| (*id as usize) < size;
        let added = self.inner.get_added_tokens_decoder();
        let special: HashSet<u32> = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let reserved = |token: &str| token.starts_with("[unused") || token.starts_with("<unused");
        let vocabulary = self.inner.get_vocab(true);
        let mut ordinary: Vec<u32> = vocabulary
            .into_iter()
            .filter(|(token, id)| fits(id) && !special.contains(id) && !reserved(token))
            .map(|(_, id)| id)
            .collect();
        ordinary.sort_unstable();
        ordinary.dedup();
        let (prefix, suffix) = self.frame();
        let within = |ids: Vec<u32>| ids.into_iter().filter(fits).collect();
        Vocabulary { ordinary, prefix: within(prefix), suffix: within(suffix) }
    }

    /// The ids of its special tokens.
    pub fn special_ids(&self) -> Vec<u32> {
        let added = self.inner.get_added_tokens_decoder();
        added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect()
    }

    /// What stands once before a long text: what the tokenizer itself puts there, else `bos`, the token that the model's
    /// config names.
    pub fn prefix(&self, bos: Option<u32>) -> Vec<u32> {
        let (prefix, _) = self.frame();
        if prefix.is_empty() { bos.into_iter().collect() } else { prefix }
    }

    /// The special tokens before and after a text. A tokenizer that fails on a word has none.
    fn frame(&self) -> (Vec<u32>, Vec<u32>) {
        let Ok(encoding) = encode_text(&self.inner, "a", None) else { return (Vec::new(), Vec::new()) };
        let (ids, mask) = (encoding.get_ids(), encoding.get_special_tokens_mask());
        let is_text = |mask: &u32| *mask == 0;
        let begin = mask.iter().position(is_text).unwrap_or(ids.len().div_ceil(2));
        let end = mask.iter().rposition(is_text).map_or(begin, |last| last + 1);
        (ids.get(..begin).unwrap_or_default().to_vec(), ids.get(end..).unwrap_or_default().to_vec())
    }
}

/// `rows` rows of `length` tokens: the vocabulary's prefix, ordinary ids drawn evenly by `seed` (`ChaCha8`), its suffix.
/// Token types are 0. For measuring how far two models agree, not how good they are: it is no text.
pub fn vocabulary_text(vocabulary: &Vocabulary, rows: usize, length: usize, seed: u64) -> Encoded {
    let Vocabulary { ordinary, prefix, suffix } = vocabulary;
    let inner = length.saturating_sub(prefix.len() + suffix.len());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut row = || {
        let mut ids = prefix.clone();
        let mut draw = || below(&mut rng, ordinary.len() as u64) as usize;
        ids.extend((0..inner).filter_map(|_| ordinary.get(draw()).copied()));
        ids.extend_from_slice(suffix);
        ids
    };
    let ids: Vec<Vec<u32>> = (0..rows).map(|_| row()).collect();
    let type_ids = ids.iter().map(|row| vec![0; row.len()]).collect();
    Encoded { ids, type_ids }
}
