//! Rows on their way in: what every format must keep to, and where each row came from.

use super::dataset::{Dataset, Format, Target};
use super::number::Written;
use super::places::Places;
use crate::engine::error::Result;
use crate::engine::findings::{Findings, file_pointer, shown};
use crate::engine::problem::Code;

/// Longest row, in bytes of its file.
pub(super) const ROW_BYTES: usize = 1 << 20;
/// Most rows of a dataset.
pub(super) const ROWS: usize = 5_000_000;
/// Longest label or tag.
const LABEL_BYTES: usize = 512;
/// Problems shown of one dataset.
const SHOWN: usize = 20;

/// One example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The text; never blank. Of a row of words, the words with a space between.
    pub text: String,
    /// The second text, for models of pairs.
    pub text_pair: Option<String>,
    /// The label as it is written: a name, or a number. All rows of a dataset have one, or none has.
    pub label: Option<String>,
    /// The words with their tags; none where the row is a text. All rows of a dataset have them, or none has.
    pub words: Vec<Word>,
}

/// A word of a row for token classification, as whoever tagged it split it off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word; may be blank.
    pub text: String,
    /// The tag's name: `B-PER`, `O`.
    pub tag: String,
}

impl Row {
    /// A row of tagged words.
    pub fn tagged(words: Vec<Word>) -> Self {
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        Self { text: texts.join(" "), words, ..Self::default() }
    }
}

/// Rows read so far, and all that was wrong with others.
pub(super) struct Rows {
    read: Vec<Row>,
    places: Places,
    findings: Findings,
    firsts: Firsts,
    most: usize,
}

/// Where the first row of each kind stands.
#[derive(Default)]
struct Firsts {
    labelled: Option<String>,
    tagged: Option<String>,
    bare: Option<String>,
    /// With a label that is a name.
    named: Option<String>,
    /// With a label that is a number with a fraction.
    fraction: Option<String>,
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
        let findings = Findings::up_to(SHOWN);
        Self { read: Vec::new(), places: Places::default(), findings, firsts: Firsts::default(), most }
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

    /// Takes a row, if it is one; `label` says how its label is written, if it has any.
    pub(super) fn push(&mut self, at: At<'_>, row: Row, label: Option<Written>) {
        if let Some(detail) = fault(&row) {
            self.refuse(at, detail);
            return;
        }
        let firsts = &mut self.firsts;
        let note = |first: &mut Option<String>| {
            first.get_or_insert_with(|| format!("{} line {}", shown(at.path), at.line));
        };
        note(match (&row.label, row.words.as_slice()) {
            (Some(_), _) => &mut firsts.labelled,
            (None, [_, ..]) => &mut firsts.tagged,
            (None, []) => &mut firsts.bare,
        });
        match label {
            Some(Written::Name) => note(&mut firsts.named),
            Some(Written::Fraction) => note(&mut firsts.fraction),
            Some(Written::Whole) | None => {}
        }
        self.places.push(at.path, at.line);
        self.read.push(row);
    }

    /// All rows, or all problems.
    pub(super) fn finish(mut self, format: Format) -> Result<Dataset> {
        if let Some(detail) = self.firsts.discord(format) {
            self.findings.add("/files", Code::DatasetInvalid, detail);
        }
        if self.read.is_empty() && self.findings.is_empty() {
            self.findings.add("/files", Code::DatasetInvalid, "the dataset has no rows");
        }
        self.findings.into_result()?;
        Ok(Dataset { format, target: self.firsts.target(), rows: self.read, places: self.places })
    }
}

impl Firsts {
    /// What the rows are to be answered with.
    fn target(&self) -> Target {
        match (&self.tagged, &self.labelled, &self.fraction, &self.named) {
            (Some(_), ..) => Target::Tags,
            (None, Some(_), Some(_), None) => Target::Regression,
            (None, Some(_), ..) => Target::Class,
            (None, None, ..) => Target::None,
        }
    }

    /// Rows that are not of one kind.
    fn discord(&self, format: Format) -> Option<String> {
        let Self { labelled, tagged, bare, named, fraction } = self;
        match (labelled, tagged, bare) {
            (Some(with), _, Some(without)) => {
                return Some(format!("{with} has a label and {without} has none: give every row a label, or none"));
            }
            (_, Some(with), Some(without)) => {
                return Some(format!("{with} has tags and {without} has none: give every row tags, or none"));
            }
            (Some(label), Some(tags), None) => {
                return Some(format!("{label} has a label and {tags} has tags: one dataset has one of the two"));
            }
            _ => {}
        }
        // In CSV everything is a text: there `1.0` beside `beta` is a name.
        match (named, fraction) {
            (Some(name), Some(number)) if format == Format::Jsonl => Some(format!(
                "{number} has a number with a fraction as its label and {name} has a name: give every row a number, \
                 or write labels that are names as strings"
            )),
            _ => None,
        }
    }
}

/// What is wrong with a row, whatever its format.
fn fault(row: &Row) -> Option<String> {
    if row.text.trim().is_empty() {
        return Some("the text is empty".to_owned());
    }
    let label = row.label.as_deref().map(|label| ("label", label));
    label.into_iter().chain(row.words.iter().map(|word| ("tag", word.tag.as_str()))).find_map(|(what, name)| {
        if name.trim().is_empty() {
            Some(format!("the {what} is empty"))
        } else if name.len() > LABEL_BYTES {
            Some(format!("the {what} has {} bytes; at most {LABEL_BYTES} are allowed", name.len()))
        } else if name.chars().any(char::is_control) {
            Some(format!("the {what} {} has control characters", shown(name)))
        } else {
            None
        }
    })
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
