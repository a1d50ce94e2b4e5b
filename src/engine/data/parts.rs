//! Texts as tokens, whole or in the two parts that are kept apart: what is fitted to, and what choices and measurements are
//! made on. Whoever asks for one part with the same seed is given the same texts, however they are cut afterwards.

use super::{Dataset, Encoded, Tokenizer, documents, split, windows};
use crate::engine::error::Result;
use crate::engine::job::InputFile;

/// Share of the texts that nothing is fitted to.
pub const HELD_OUT: f64 = 0.1;

/// Which of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    All,
    /// What is fitted to.
    Kept,
    /// What is not.
    HeldOut,
}

/// How texts become rows of tokens.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The model's own.
    pub tokenizer: &'a Tokenizer,
    /// Documents in windows behind these tokens, as a decoder reads them; `None`: rows between the special tokens.
    pub windows: Option<&'a [u32]>,
    /// Tokens that a row or window is cut to.
    pub max_seq_length: usize,
    /// Threads that tokenize.
    pub threads: usize,
}

impl Reader<'_> {
    /// The rows of tokens of a part of some files' texts; none where nothing can be held out.
    ///
    /// Rows and documents are kept apart whole, equal ones on one side ([`Dataset::split_held_out`]); of a single document
    /// the last tenth of its tokens is held out.
    ///
    /// # Errors
    ///
    /// As [`Dataset::read`], [`documents`](fn@documents) and [`Tokenizer::encode`].
    pub fn read(&self, files: &[InputFile], part: Part, seed: u64) -> Result<Encoded> {
        let Some(prefix) = self.windows else {
            let dataset = Dataset::read(files)?;
            let parts = dataset.split_held_out(seed, HELD_OUT);
            let rows = match part {
                Part::All => dataset,
                Part::Kept => dataset.select(&parts.kept),
                Part::HeldOut => dataset.select(&parts.held_out),
            };
            return self.tokenizer.encode(&rows.rows, self.max_seq_length, self.threads);
        };
        let texts = documents(files)?;
        let ids = texts.iter().map(|text| self.tokenizer.encode_document(text)).collect::<Result<Vec<_>>>()?;
        Ok(windows(&of_documents(&texts, ids, part, seed), prefix, self.max_seq_length))
    }
}

fn of_documents(texts: &[String], ids: Vec<Vec<u32>>, part: Part, seed: u64) -> Vec<Vec<u32>> {
    match (part, ids.as_slice()) {
        (Part::All, _) => ids,
        (_, [one]) => {
            let (kept, held_out) = one.split_at(one.len() - (one.len() as f64 * HELD_OUT) as usize);
            vec![if part == Part::Kept { kept } else { held_out }.to_vec()]
        }
        _ => {
            let parts = split(texts, seed, HELD_OUT);
            let chosen = if part == Part::Kept { parts.kept } else { parts.held_out };
            chosen.iter().filter_map(|at| ids.get(*at).cloned()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(texts: &[&str], ids: &[Vec<u32>], seed: u64) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        let of = |part| of_documents(&texts, ids.to_vec(), part, seed);
        assert_eq!(of(Part::All), ids);
        (of(Part::Kept), of(Part::HeldOut))
    }

    #[test]
    fn of_one_document_the_last_tenth_is_held_out() {
        let (kept, held_out) = parts(&["one"], &[(0..25).collect()], 3);
        assert_eq!((kept, held_out), (vec![(0..23).collect()], vec![vec![23, 24]]));
        assert_eq!(parts(&["short"], &[vec![1, 2]], 3), (vec![vec![1, 2]], vec![vec![]]));
    }

    #[test]
    fn documents_are_kept_apart_whole_and_equal_ones_together() {
        let texts: Vec<String> = (0..40).map(|i| format!("text {}", i / 2)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let ids: Vec<Vec<u32>> = (0..40).map(|i| vec![i / 2]).collect();
        for seed in 0..5 {
            let (kept, held_out) = parts(&texts, &ids, seed);
            assert_eq!((kept.len(), held_out.len()), (36, 4));
            assert!(held_out.iter().all(|one| !kept.contains(one)));
        }
    }
}
