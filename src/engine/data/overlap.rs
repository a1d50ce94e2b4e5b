//! Rows that stand in two datasets.

use std::collections::HashMap;
use std::hash::Hash;

use super::passages::PASSAGE_WORDS;
use super::places::{Place, Places};
use super::{Dataset, DatasetSummary, RowHash};

/// Shared rows that are shown.
const EXAMPLES: usize = 3;

/// What datasets are compared by: hashes of the rows, and of the passages that begin with them where they are lines of
/// plain text. Two plain texts overlap where they share a passage, other datasets where they share a row.
#[derive(Debug)]
pub struct Prints<'a, H> {
    rows: &'a [H],
    passages: &'a [H],
    places: &'a Places,
}

impl DatasetSummary {
    /// What it is compared by.
    pub fn prints(&self) -> Prints<'_, String> {
        Prints { rows: &self.row_hashes, passages: &self.passage_hashes, places: &self.places }
    }
}

/// The hashes of a dataset that was read.
#[derive(Debug)]
pub struct Hashes<'a> {
    rows: Vec<RowHash>,
    passages: Vec<RowHash>,
    places: &'a Places,
}

impl<'a> Hashes<'a> {
    /// Hashes every row.
    pub fn of(dataset: &'a Dataset) -> Self {
        Self { rows: dataset.hashes(), passages: dataset.passages(), places: &dataset.places }
    }

    /// What the dataset is compared by.
    pub fn prints(&self) -> Prints<'_, RowHash> {
        Prints { rows: &self.rows, passages: &self.passages, places: self.places }
    }
}

/// Rows of one dataset that stand in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// How many rows of the one, of plain texts the lines that a shared passage begins with.
    pub rows: usize,
    /// Whether passages were compared.
    pub are_passages: bool,
    /// The first of them, each with the first such row of the other; of a shared piece of plain text its first line.
    pub examples: Vec<Example>,
}

/// A row that stands in two datasets. `None` where a dataset does not know its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// In the one.
    pub here: Option<Place>,
    /// In the other.
    pub there: Option<Place>,
}

/// The rows of `one` that stand in `other`; `None` where there are none. Labels do not count. Linear in the rows.
pub fn overlap<H: Eq + Hash>(one: &Prints<'_, H>, other: &Prints<'_, H>) -> Option<Overlap> {
    let are_passages = !one.passages.is_empty() && !other.passages.is_empty();
    let (here, there) = if are_passages { (one.passages, other.passages) } else { (one.rows, other.rows) };
    let mut first: HashMap<&H, usize> = HashMap::with_capacity(there.len());
    for (row, hash) in there.iter().enumerate() {
        first.entry(hash).or_insert(row);
    }
    let mut found = Overlap { rows: 0, are_passages, examples: Vec::new() };
    let mut previous = None;
    for (row, hash) in here.iter().enumerate() {
        let Some(&twin) = first.get(hash) else { continue };
        found.rows += 1;
        let goes_on = are_passages && previous.is_some_and(|last: usize| last + 1 == row);
        previous = Some(row);
        if !goes_on && found.examples.len() < EXAMPLES {
            found.examples.push(Example { here: one.places.place(row), there: other.places.place(twin) });
        }
    }
    (found.rows > 0).then_some(found)
}

impl Overlap {
    /// A sentence or two for people. `one` and `other` name the datasets: `the evaluation data`.
    pub fn detail(&self, one: &str, other: &str) -> String {
        let what = match (self.are_passages, self.rows) {
            (false, 1) => "1 row".to_owned(),
            (false, rows) => format!("{rows} rows"),
            (true, 1) => format!("1 line that begins a passage of {PASSAGE_WORDS} words"),
            (true, rows) => format!("{rows} lines that begin a passage of {PASSAGE_WORDS} words"),
        };
        let stand = if self.rows == 1 { "stands" } else { "stand" };
        let examples: Vec<String> = self.examples.iter().filter_map(Example::shown).collect();
        let shown = if examples.is_empty() { String::new() } else { format!(": {}", examples.join(", ")) };
        let more = if examples.is_empty() || self.rows == examples.len() { "" } else { ", …" };
        format!(
            "{what} of {one} {stand} in {other} too{shown}{more}. What is measured on rows that were used before \
             flatters the result: take them out of one of the two"
        )
    }
}

impl Example {
    fn shown(&self) -> Option<String> {
        Some(format!("{} is {}", self.here.as_ref()?, self.there.as_ref()?))
    }
}
