//! Rows on their way in: what every format must keep to, and where each row came from.

use crate::engine::error::Result;
use crate::engine::findings::{Findings, file_pointer, shown};
use crate::engine::problem::Code;

/// Longest row, in bytes of its file.
pub(super) const ROW_BYTES: usize = 1 << 20;
/// Most rows of a dataset.
pub(super) const ROWS: usize = 5_000_000;
/// Longest label.
const LABEL_BYTES: usize = 512;
/// Problems shown of one dataset.
const SHOWN: usize = 20;

/// One example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The text; never blank.
    pub text: String,
    /// The second text, for models of pairs.
    pub text_pair: Option<String>,
    /// The label's name. All rows of a dataset have one, or none has.
    pub label: Option<String>,
}

/// Rows read so far, and all that was wrong with others.
pub(super) struct Rows {
    read: Vec<Row>,
    findings: Findings,
    /// The first row with a label and the first without.
    labelled: Option<String>,
    unlabelled: Option<String>,
    most: usize,
}

/// Where in a file reading is.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) path: &'a str,
    /// From 1.
    pub(super) line: u64,
}

impl At<'_> {
    fn pointer(self) -> String {
        format!("{}/lines/{}", file_pointer(self.path), self.line)
    }
}

impl Rows {
    /// At most `most` rows.
    pub(super) fn new(most: usize) -> Self {
        Self { read: Vec::new(), findings: Findings::up_to(SHOWN), labelled: None, unlabelled: None, most }
    }

    /// Whether there is room for another row. Where there is none, that is a problem.
    pub(super) fn has_room(&mut self, path: &str) -> bool {
        if self.read.len() < self.most {
            return true;
        }
        let detail = format!("the dataset has more than {} rows, the most that are read: make it smaller", self.most);
        self.findings.add(file_pointer(path), Code::DatasetInvalid, detail);
        false
    }

    /// Takes note of what is wrong with a row.
    pub(super) fn refuse(&mut self, at: At<'_>, detail: impl Into<String>) {
        self.findings.add(at.pointer(), Code::DatasetRowInvalid, detail);
    }

    /// Takes note of what is wrong with a file.
    pub(super) fn refuse_file(&mut self, path: &str, code: Code, detail: impl AsRef<str>) {
        self.findings.add(file_pointer(path), code, format!("{}: {}", shown(path), detail.as_ref()));
    }

    /// Takes a row, if it is one.
    pub(super) fn push(&mut self, at: At<'_>, row: Row) {
        if let Some(detail) = fault(&row) {
            self.refuse(at, detail);
            return;
        }
        let first = if row.label.is_some() { &mut self.labelled } else { &mut self.unlabelled };
        first.get_or_insert_with(|| format!("{} line {}", shown(at.path), at.line));
        self.read.push(row);
    }

    /// All rows, or all problems.
    pub(super) fn finish(mut self) -> Result<Vec<Row>> {
        if let (Some(with), Some(without)) = (&self.labelled, &self.unlabelled) {
            let detail = format!("{with} has a label and {without} has none: give every row a label, or none");
            self.findings.add("/files", Code::DatasetInvalid, detail);
        }
        if self.read.is_empty() && self.findings.is_empty() {
            self.findings.add("/files", Code::DatasetInvalid, "the dataset has no rows");
        }
        self.findings.into_result()?;
        Ok(self.read)
    }
}

/// What is wrong with a row, whatever its format.
fn fault(row: &Row) -> Option<String> {
    if row.text.trim().is_empty() {
        return Some("the text is empty".to_owned());
    }
    let label = row.label.as_deref()?;
    if label.trim().is_empty() {
        Some("the label is empty".to_owned())
    } else if label.len() > LABEL_BYTES {
        Some(format!("the label has {} bytes; at most {LABEL_BYTES} are allowed", label.len()))
    } else if label.chars().any(char::is_control) {
        Some(format!("the label {} has control characters", shown(label)))
    } else {
        None
    }
}

/// Which of a row's columns are read, found by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Columns<T> {
    pub(super) text: T,
    pub(super) text_pair: Option<T>,
    pub(super) label: Option<T>,
}

impl<T> Columns<T> {
    /// Sorts named columns. `sentence` stands for `text` where there is no `text`; other names are left out, but for
    /// those that look like a slip of a name that is missing.
    ///
    /// # Errors
    ///
    /// One sentence, with the names that were found.
    pub(super) fn of(columns: impl IntoIterator<Item = (String, T)>) -> Result<Self, String> {
        let (mut text, mut sentence, mut text_pair, mut label) = (None, None, None, None);
        let mut names = Vec::new();
        for (name, value) in columns {
            let slot = match name.as_str() {
                "text" => Some(&mut text),
                "sentence" => Some(&mut sentence),
                "text_pair" => Some(&mut text_pair),
                "label" => Some(&mut label),
                _ => None,
            };
            if slot.is_some_and(|slot| slot.replace(value).is_some()) {
                return Err(format!("{} stands twice", shown(&name)));
            }
            names.push(name);
        }
        for (known, absent) in [("text_pair", text_pair.is_none()), ("label", label.is_none())] {
            if let Some(slip) = names.iter().find(|name| absent && is_slip(name, known)) {
                return Err(format!("{} is not known; is {known:?} meant?", shown(slip)));
            }
        }
        match (text, sentence) {
            (Some(text), None) | (None, Some(text)) => Ok(Self { text, text_pair, label }),
            (Some(_), Some(_)) => Err("has both \"text\" and \"sentence\": leave out one".to_owned()),
            (None, None) => {
                let found: Vec<String> = names.iter().take(10).map(|name| shown(name)).collect();
                Err(format!(
                    "has no \"text\"; found {}",
                    if found.is_empty() { "nothing".into() } else { found.join(", ") }
                ))
            }
        }
    }
}

/// Whether `name` is `known` but for case, separators and a plural.
fn is_slip(name: &str, known: &str) -> bool {
    let plain = |name: &str| -> String {
        name.trim().chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let (name, known) = (plain(name), plain(known));
    name == known || name.strip_suffix('s') == Some(&known)
}

/// The file's lines with their numbers, without the byte order mark, line ends and blank lines. Too long ones, and ones
/// that are not UTF-8, are problems.
pub(super) fn for_each_line(path: &str, bytes: &[u8], rows: &mut Rows, mut each: impl FnMut(At<'_>, &str, &mut Rows)) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let at = At { path, line: number };
        if line.len() > ROW_BYTES {
            rows.refuse(at, format!("the line has {} bytes; at most {ROW_BYTES} are allowed", line.len()));
            continue;
        }
        match std::str::from_utf8(line) {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                if !rows.has_room(path) {
                    return;
                }
                each(at, line.strip_suffix('\r').unwrap_or(line), rows);
            }
            Err(error) => rows.refuse(at, format!("not UTF-8 from byte {} of the line on", error.valid_up_to())),
        }
    }
}
