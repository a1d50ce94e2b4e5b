//! Where rows stand in their files.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::findings::shown;

/// A line of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file's path.
    pub file: String,
    /// The line that the row begins on, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", shown(&self.file), self.line)
    }
}

/// The places of all rows of a dataset, in their order. Short where rows stand on one line after another, as they mostly
/// do: a file of 5 million rows is one pair of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places(Vec<Lines>);

/// The lines of one file that rows begin on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lines {
    file: String,
    /// First line and how many rows stand there, one on each line from it on.
    runs: Vec<(u64, u64)>,
}

impl Lines {
    fn rows(&self) -> u64 {
        self.runs.iter().map(|(_, rows)| *rows).fold(0, u64::saturating_add)
    }
}

impl Places {
    /// Adds the place of the next row.
    pub(super) fn push(&mut self, file: &str, line: u64) {
        if self.0.last().is_none_or(|last| last.file != file) {
            self.0.push(Lines { file: file.to_owned(), runs: Vec::new() });
        }
        let Some(Lines { runs, .. }) = self.0.last_mut() else { return };
        match runs.last_mut() {
            Some((first, rows)) if first.checked_add(*rows) == Some(line) => *rows += 1,
            _ => runs.push((line, 1)),
        }
    }

    /// Where a row stands; `None` beyond the end. Cost: a walk over the runs.
    pub fn place(&self, row: usize) -> Option<Place> {
        let mut before = row as u64;
        for lines in &self.0 {
            for (first, rows) in &lines.runs {
                if before < *rows {
                    return Some(Place { file: lines.file.clone(), line: first.saturating_add(before) });
                }
                before -= rows;
            }
        }
        None
    }

    /// The file and the line of every row, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let run = |file, (line, count): (u64, u64)| (0..count).map(move |at| (file, line.saturating_add(at)));
        self.0.iter().flat_map(move |Lines { file, runs }| runs.iter().flat_map(move |one| run(file.as_str(), *one)))
    }

    /// How many rows each file has, in the order of the rows.
    pub(super) fn rows_by_file(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|lines| lines.rows() as usize)
    }

    /// The places of these rows, in this order. Cost: as many steps as there are rows in all.
    pub(super) fn select(&self, rows: &[usize]) -> Self {
        let all: Vec<(&str, u64)> = self.iter().collect();
        let mut places = Self::default();
        for (file, line) in rows.iter().filter_map(|row| all.get(*row)) {
            places.push(file, *line);
        }
        places
    }
}
