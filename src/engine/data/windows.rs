//! Long texts as tokens, cut into windows.

use super::tokenize::{Encoded, Tokenizer, guarded, invalid};
use crate::engine::error::Result;

impl Tokenizer {
    /// The ids of a text without special tokens, however long it is.
    ///
    /// # Errors
    ///
    /// `tokenizer_invalid` where the tokenizer fails on it.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.inner.encode_fast(text, false))
            .map_err(|detail| invalid(format!("the tokenizer failed on a text: {detail}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The id of the token that stands for a hidden one, if there is one: `[MASK]`, `<mask>`.
    pub fn mask_token(&self) -> Option<u32> {
        ["[MASK]", "<mask>"].iter().find_map(|token| self.inner.token_to_id(token))
    }
}

/// Documents, each after `prefix`, cut into windows of at most `length` tokens that do not overlap; the last one of a
/// document is as long as what is left. Token types are 0. Windows of one token foretell nothing and are left out.
pub fn windows(documents: &[Vec<u32>], prefix: &[u32], length: usize) -> Encoded {
    let mut ids = Vec::new();
    for document in documents {
        let whole: Vec<u32> = prefix.iter().chain(document).copied().collect();
        ids.extend(whole.chunks(length.max(2)).filter(|window| window.len() > 1).map(<[u32]>::to_vec));
    }
    let type_ids = ids.iter().map(|row: &Vec<u32>| vec![0; row.len()]).collect();
    Encoded { ids, type_ids }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_comes_once_and_the_last_window_is_what_is_left() {
        let cut = windows(&[(1..=8).collect(), vec![9]], &[0], 4);
        assert_eq!(cut.ids, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![0, 9]], "8 alone foretells nothing");
        assert_eq!(cut.type_ids, [vec![0; 4], vec![0; 4], vec![0; 2]]);
        assert!(windows(&[vec![5]], &[], 4).ids.is_empty());
    }
}
