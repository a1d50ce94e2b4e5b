//! What two plain texts must have in common to be told that they overlap.
//!
//! In text that was not cut into rows by anyone, lines recur by themselves: headings, options of programs, licences. The
//! English technical texts that this was tried on share a tenth of their lines though no document stands in both; the
//! longest piece that they share has 35 words. So plain texts are compared by passages of 64 words.

use sha2::{Digest, Sha256};

use super::dataset::{Dataset, Format, RowHash, first_half};

/// Words of a passage, at least.
pub const PASSAGE_WORDS: usize = 64;

impl Dataset {
    /// One hash a row: of the passage that begins with it, which is the lines from it on until they have
    /// [`PASSAGE_WORDS`] words, within its file. Near the end of a file it is the last whole passage, and the whole file
    /// where that has fewer words. Empty where rows are not lines of plain text.
    ///
    /// Cost: each line is hashed once for every passage that it stands in, at most 64 times.
    pub fn passages(&self) -> Vec<RowHash> {
        if self.format != Format::Text {
            return Vec::new();
        }
        let lines: Vec<(&str, usize)> =
            self.rows.iter().map(|row| (row.text.as_str(), row.text.split_whitespace().count())).collect();
        let mut hashes = Vec::with_capacity(lines.len());
        let mut rest = lines.as_slice();
        for rows in self.places.rows_by_file() {
            let (file, others) = rest.split_at(rows.min(rest.len()));
            of_file(file, &mut hashes);
            rest = others;
        }
        of_file(rest, &mut hashes); // rows without a place: made by hand
        hashes
    }
}

fn of_file(lines: &[(&str, usize)], hashes: &mut Vec<RowHash>) {
    let mut last = None;
    for first in 0..lines.len() {
        let whole = passage(lines.get(first..).unwrap_or_default());
        if whole.is_some() {
            last = whole;
        }
        hashes.push(last.get_or_insert_with(|| hash(lines)).to_owned());
    }
}

/// The passage at the beginning of some lines, if they have enough words.
fn passage(lines: &[(&str, usize)]) -> Option<RowHash> {
    let mut words = 0;
    let end = lines.iter().position(|(_, count)| {
        words += count;
        words >= PASSAGE_WORDS
    })?;
    lines.get(..=end).map(hash)
}

fn hash(lines: &[(&str, usize)]) -> RowHash {
    let mut hasher = Sha256::new();
    for (line, _) in lines {
        hasher.update(line.trim().as_bytes());
        hasher.update(b"\n");
    }
    first_half(hasher)
}
