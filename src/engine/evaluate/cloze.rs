//! What a language model is asked: which tokens, from which places.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::engine::data::Encoded;

/// Share of the tokens that are hidden from a masked language model (Devlin et al. 2018, section 3.1).
const HIDDEN: f64 = 0.15;

/// Rows of tokens, and which tokens are to be foretold from which places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cloze {
    /// What the model is given.
    pub rows: Encoded,
    /// For each row: the place whose answer is looked at, and the token that is right there. Places ascend.
    pub asked: Vec<Vec<(u32, u32)>>,
}

impl Cloze {
    /// Every token but a row's first, each from those before it.
    pub fn next(rows: Encoded) -> Self {
        let asked = rows.ids.iter().map(|ids| (0..).zip(ids.iter().skip(1).copied()).collect()).collect();
        Self { rows, asked }
    }

    /// About 15% of the tokens, drawn by `seed` (`ChaCha8`), each hidden behind `mask`; at least one of a row that has one.
    /// `kept` are never hidden: special tokens.
    pub fn hidden(mut rows: Encoded, mask: u32, kept: &[u32], seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut asked = Vec::with_capacity(rows.ids.len());
        for ids in &mut rows.ids {
            let mut drawn: Vec<(u64, usize)> = Vec::new();
            for (at, id) in ids.iter().enumerate() {
                let draw = rng.next_u64(); // of every token, so that a row's draws depend on its length alone
                if !kept.contains(id) {
                    drawn.push((draw, at));
                }
            }
            drawn.sort_unstable();
            drawn.truncate(((drawn.len() as f64 * HIDDEN).round() as usize).max(1));
            let mut places: Vec<usize> = drawn.into_iter().map(|(_, at)| at).collect();
            places.sort_unstable();
            let hide = |at: usize| Some((at as u32, std::mem::replace(ids.get_mut(at)?, mask)));
            asked.push(places.into_iter().filter_map(hide).collect());
        }
        Self { rows, asked }
    }

    /// Tokens that are asked for.
    pub fn len(&self) -> usize {
        self.asked.iter().map(Vec::len).sum()
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where each row's tokens begin among all that are asked for; one entry more than there are rows.
    pub fn offsets(&self) -> Vec<usize> {
        let ends = self.asked.iter().scan(0, |end, asked| {
            *end += asked.len();
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// The rows at these places, in this order. Places beyond the end are left out.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let asked = places.iter().filter_map(|at| self.asked.get(*at).cloned()).collect();
        Self { rows: self.rows.select(places), asked }
    }

    /// The first `rows` rows.
    #[must_use]
    pub fn first(&self, rows: usize) -> Self {
        let head = |all: &[Vec<u32>]| all.iter().take(rows).cloned().collect();
        let encoded = Encoded { ids: head(&self.rows.ids), type_ids: head(&self.rows.type_ids) };
        Self { rows: encoded, asked: self.asked.iter().take(rows).cloned().collect() }
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
    fn every_token_but_the_first_is_asked_from_the_one_before() {
        let cloze = Cloze::next(rows(vec![vec![7, 8, 9], vec![4], vec![5, 6]]));
        assert_eq!(cloze.asked, [vec![(0, 8), (1, 9)], vec![], vec![(0, 6)]]);
        assert_eq!((cloze.len(), cloze.offsets()), (3, vec![0, 2, 2, 3]));
        assert_eq!(cloze.first(1).asked, [vec![(0, 8), (1, 9)]]);
    }

    #[test]
    fn hidden_tokens_are_what_was_there_and_special_ones_stay() {
        let given =
            rows((0..50).map(|row| std::iter::once(1).chain((0..row).map(|i| 10 + i)).chain([2]).collect()).collect());
        let cloze = Cloze::hidden(given.clone(), 3, &[1, 2], 7);
        for ((before, after), asked) in given.ids.iter().zip(&cloze.rows.ids).zip(&cloze.asked) {
            let ordinary = before.len() - 2;
            assert_eq!(asked.len(), ((ordinary as f64 * 0.15).round() as usize).max(usize::from(ordinary > 0)));
            for (at, (b, a)) in before.iter().zip(after).enumerate() {
                let right = asked.iter().find(|(place, _)| *place as usize == at).map(|(_, token)| *token);
                assert_eq!((*a, right.unwrap_or(*b)), (if right.is_some() { 3 } else { *b }, *b));
            }
        }
        assert_eq!(cloze, Cloze::hidden(given, 3, &[1, 2], 7));
    }
}
