//! Labels that a model can't be held against: all of them at once, how many rows they stand on, and where the first is.

use crate::engine::data::{DatasetSummary, Place, Target, is_number};
use crate::engine::findings::{Findings, shown};
use crate::engine::model::spec::Head;
use crate::engine::problem::{Code, Problem, nearest};

/// Labels that are shown.
const SHOWN: usize = 20;

/// A label as it stands in the data.
struct Found<'a> {
    name: &'a str,
    count: u64,
    first: Option<&'a Place>,
}

impl Found<'_> {
    /// `3 rows have it, the first is "x.jsonl" line 7`.
    fn place(&self, noun: &str) -> String {
        let (verb, s) = if self.count == 1 { ("has", "") } else { ("have", "s") };
        let first = self.first.map(|first| format!(", the first at {first}")).unwrap_or_default();
        format!("{} {noun}{s} {verb} it{first}", self.count)
    }
}

/// All that keeps a model from being held against rows: labels that it does not know, names where it answers with
/// numbers, rows of another kind. Nothing of rows without labels, and of models whose answers no label speaks of.
pub fn problems(head: &Head, summary: &DatasetSummary, pointer: &str) -> Vec<Problem> {
    let target = summary.target();
    let labels = || {
        let found = summary.labels.iter();
        found.map(|one| Found { name: &one.label, count: one.rows, first: one.first.as_ref() })
    };
    let tags = || {
        let found = summary.tags.iter();
        found.map(|one| Found { name: &one.tag, count: one.words, first: one.first.as_ref() })
    };
    let mut findings = Findings::up_to(SHOWN);
    match (head, target) {
        (_, Target::None)
        | (Head::MaskedLanguage | Head::CausalLanguage | Head::Embedding { .. }, _)
        | (Head::Regression, Target::Regression) => {}
        (Head::Classification { labels: known }, Target::Class) => {
            unknown(labels(), ("label", "row"), known, pointer, &mut findings);
        }
        (Head::TokenClassification { labels: known }, Target::Tags) => {
            unknown(tags(), ("tag", "word"), known, pointer, &mut findings);
        }
        (Head::Regression, Target::Class) => names(labels(), pointer, &mut findings),
        (Head::Classification { .. } | Head::TokenClassification { .. } | Head::Regression, _) => {
            findings.add(pointer, Code::LabelUnknown, other_kind(head, summary));
        }
    }
    findings.into_problems()
}

/// Those that the model does not know, with the nearest that it does.
fn unknown<'a>(
    found: impl Iterator<Item = Found<'a>>,
    (what, noun): (&str, &str),
    known: &[String],
    pointer: &str,
    findings: &mut Findings,
) {
    let known_set: std::collections::HashSet<&str> = known.iter().map(String::as_str).collect();
    for label in found.filter(|label| !known_set.contains(label.name)) {
        // Numbers stand for names by an order that the data does not tell: none of the names is near
        let near = nearest(label.name, known.iter().map(String::as_str)).filter(|_| !is_number(label.name));
        let hint = match near {
            Some(name) => format!("did you mean '{name}'?"),
            None => format!("it knows {}", known.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        let detail = format!("the model has no {what} {}: {hint} ({})", shown(label.name), label.place(noun));
        findings.add(pointer, Code::LabelUnknown, detail);
    }
}

/// Those that are no numbers.
fn names<'a>(found: impl Iterator<Item = Found<'a>>, pointer: &str, findings: &mut Findings) {
    for label in found.filter(|label| !is_number(label.name)) {
        let detail = format!(
            "the label {} is no number, and the model answers with one: give every row the number that is right ({})",
            shown(label.name),
            label.place("row")
        );
        findings.add(pointer, Code::LabelUnknown, detail);
    }
}

/// Rows that are to be answered with something else than the model answers with.
fn other_kind(head: &Head, summary: &DatasetSummary) -> String {
    let what = match summary.target() {
        Target::Regression => "labels are numbers with a fraction",
        Target::Tags => "words have a tag each",
        Target::Class | Target::None => "labels are one name a row",
    };
    let wanted = match head {
        Head::TokenClassification { .. } => {
            "a tag for every token: give rows of \"tokens\" and \"tags\" that name its tags"
        }
        Head::Regression => "a number for every row: give rows whose labels are numbers",
        _ => "one of its classes: give rows whose labels name these",
    };
    format!("the {} rows' {what}, and the model answers with {wanted}", summary.rows)
}
