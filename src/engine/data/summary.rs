//! What a dataset holds, in numbers, and what it is compared with others by.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, RowHash, Target};
use super::number::number;
use super::places::{Place, Places};
use super::rows::Row;

/// Duplicates that are shown.
const DUPLICATES: usize = 5;
/// Names whose first place is told: with more of them, a summary would be as long as the dataset.
const PLACED: usize = 1000;

/// What is in a dataset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// `jsonl`, `csv` or `text`.
    pub format: String,
    /// Rows.
    pub rows: u64,
    /// What the rows are to be answered with; absent in summaries from before there was anything but classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Labels with their counts, most frequent first, ties by name; empty where labels do not name classes.
    pub labels: Vec<LabelCount>,
    /// The numbers to be predicted; `None` where labels are no numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
    /// Tags with their counts, most frequent first, ties by name; empty where words have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagCount>,
    /// Words between white space: a dataset knows no model, so it knows no tokens.
    pub words: u64,
    /// Rows that stand there before, word for word.
    pub duplicates: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_duplicates: Vec<Duplicate>,
    /// One hash a row: the first 16 bytes of SHA-256 over its text, in hex, in the order of the rows.
    pub row_hashes: Vec<String>,
    /// One hash a line of plain text: of the passage that begins with it, as [`Dataset::passages`] has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passage_hashes: Vec<String>,
    /// Where each row stands.
    #[serde(default)]
    pub places: Places,
}

/// A label and how many rows have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCount {
    /// The label.
    pub label: String,
    /// Its rows.
    pub rows: u64,
    /// The first of them; absent where there are very many labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Place>,
}

/// A tag and how many words have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagCount {
    /// The tag.
    pub tag: String,
    /// Its words.
    pub words: u64,
    /// The row of the first of them; absent where there are very many tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Place>,
}

/// Numbers to be predicted. All are finite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// The smallest.
    pub low: f64,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub high: f64,
}

/// A row that stands there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The row.
    pub row: Place,
    /// The first that is the same.
    pub same_as: Place,
}

impl DatasetSummary {
    /// What the rows are to be answered with.
    pub fn target(&self) -> Target {
        self.target.unwrap_or(if self.labels.is_empty() { Target::None } else { Target::Class })
    }

    /// Whether every label is a number, whole ones included: what a model that answers with a number can be held to.
    pub fn has_numbers(&self) -> bool {
        self.values.is_some()
            || (!self.labels.is_empty() && self.labels.iter().all(|count| number(&count.label).is_some()))
    }
}

impl Dataset {
    /// What is in it. Cost: a hash a row, of plain text as [`Dataset::passages`].
    pub fn summary(&self) -> DatasetSummary {
        let hashes = self.hashes();
        let (duplicates, first_duplicates) = self.duplicates(&hashes);
        let labels = if self.target == Target::Regression { Vec::new() } else { self.counted(|row| row.label.iter()) };
        let tags = self.counted(|row| row.words.iter().map(|word| &word.tag));
        let words = |text: &str| text.split_whitespace().count() as u64;
        DatasetSummary {
            format: self.format.as_str().to_owned(),
            rows: self.rows.len() as u64,
            target: Some(self.target),
            labels: labels.into_iter().map(|(label, rows, first)| LabelCount { label, rows, first }).collect(),
            values: if self.target == Target::Regression { self.values() } else { None },
            tags: tags.into_iter().map(|(tag, words, first)| TagCount { tag, words, first }).collect(),
            words: self.rows.iter().map(|row| words(&row.text) + row.text_pair.as_deref().map_or(0, words)).sum(),
            duplicates,
            first_duplicates,
            row_hashes: hashes.iter().map(hex).collect(),
            passage_hashes: self.passages().iter().map(hex).collect(),
            places: self.places.clone(),
        }
    }

    /// The names that rows have, with their counts and the first row of each; most frequent first, ties by name.
    fn counted<'a, I: Iterator<Item = &'a String>>(
        &'a self,
        names: impl Fn(&'a Row) -> I,
    ) -> Vec<(String, u64, Option<Place>)> {
        let mut counts: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
        for (at, row) in self.rows.iter().enumerate() {
            for name in names(row) {
                counts.entry(name).or_insert((0, at)).0 += 1;
            }
        }
        let mut firsts: HashMap<usize, Place> = HashMap::new();
        if counts.len() <= PLACED {
            firsts = counts.values().map(|(_, at)| (*at, Place::default())).collect();
            for (at, (file, line)) in self.places.iter().enumerate() {
                if let Some(place) = firsts.get_mut(&at) {
                    *place = Place { file: file.to_owned(), line };
                }
            }
            firsts.retain(|_, place| place.line > 0);
        }
        let count = |(name, (count, at)): (&str, (u64, usize))| (name.to_owned(), count, firsts.get(&at).cloned());
        let mut counted: Vec<_> = counts.into_iter().map(count).collect();
        counted.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count)); // stable: ties stay by name
        counted
    }

    fn values(&self) -> Option<Values> {
        let numbers = self.numbers()?;
        let low = numbers.iter().copied().reduce(f64::min)?;
        let high = numbers.iter().copied().reduce(f64::max)?;
        // Divided before they are added: a sum of large numbers would overflow
        let count = numbers.len() as f64;
        let mean = numbers.iter().map(|number| number / count).sum::<f64>().clamp(low, high);
        Some(Values { low, mean, high })
    }

    fn duplicates(&self, hashes: &[RowHash]) -> (u64, Vec<Duplicate>) {
        let mut known: HashMap<&RowHash, usize> = HashMap::with_capacity(hashes.len());
        let (mut count, mut shown) = (0, Vec::new());
        for (row, hash) in hashes.iter().enumerate() {
            let first = *known.entry(hash).or_insert(row);
            if first == row {
                continue;
            }
            count += 1;
            if let (true, Some(row), Some(same_as)) =
                (shown.len() < DUPLICATES, self.places.place(row), self.places.place(first))
            {
                shown.push(Duplicate { row, same_as });
            }
        }
        (count, shown)
    }
}

fn hex(hash: &RowHash) -> String {
    hash.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes all that is written
        text
    })
}
