//! Which metrics are measured: those that the model's answers and the data allow.

use super::Available;
use crate::engine::data::Target;
use crate::engine::evaluate::perplexity::PERPLEXITY;
use crate::engine::evaluate::quality::{ENTITY_F1, OF_CLASSES, OF_NUMBERS, OF_TAGS, spell};
use crate::engine::model::ModelHeader;
use crate::engine::model::spec::Head;
use crate::engine::problem::{Code, Problem};
use crate::engine::recipe::METRICS;

/// The metrics that were asked for, or all that apply.
///
/// # Errors
///
/// A problem for every metric that was asked for and does not apply; pointers into the recipe.
pub(super) fn chosen(
    asked: Option<&[String]>,
    header: &ModelHeader,
    available: &Available,
) -> Result<Vec<String>, Vec<Problem>> {
    let Some(asked) = asked else {
        let apply = METRICS.iter().filter(|metric| obstacle(metric, header, available).is_none());
        return Ok(apply.map(|metric| (*metric).to_owned()).collect());
    };
    let problem = |(i, metric): (usize, &String)| {
        let (code, detail) = obstacle(metric, header, available)?;
        Some(Problem::new(format!("/evaluate/metrics/{i}"), code, detail))
    };
    let problems: Vec<Problem> = asked.iter().enumerate().filter_map(problem).collect();
    if problems.is_empty() { Ok(asked.to_vec()) } else { Err(problems) }
}

/// The metrics of task quality that an answer of this kind has.
const fn of_head(head: &Head) -> &'static [&'static str] {
    match head {
        Head::Classification { .. } => OF_CLASSES,
        Head::Regression => OF_NUMBERS,
        Head::TokenClassification { .. } => OF_TAGS,
        Head::MaskedLanguage | Head::CausalLanguage => &[PERPLEXITY],
        Head::Embedding { .. } => &[],
    }
}

/// Why a metric can't be measured, and what to do.
fn obstacle(metric: &str, header: &ModelHeader, available: &Available) -> Option<(Code, String)> {
    let Some(spec) = &header.spec else {
        let family = header.family.as_deref().unwrap_or("unknown");
        let detail = format!(
            "'{metric}' runs the model, and the family '{family}' can't be run, only compressed: leave 'metrics' out, \
             or empty"
        );
        return Some((Code::UnsupportedModel, detail));
    };
    let (kind, given, wanted) = if OF_CLASSES.contains(&metric) {
        ("a class a row", available.evaluation_target == Target::Class, "labels")
    } else if OF_NUMBERS.contains(&metric) {
        ("a number a row", available.evaluation_has_numbers, "numbers as labels")
    } else if OF_TAGS.contains(&metric) {
        ("a tag a word", available.evaluation_target == Target::Tags, "tags")
    } else if metric == PERPLEXITY {
        // Without evaluation data it is measured on calibration text that is held out
        let is_there = available.evaluation_rows.is_some() || available.calibration_rows.is_some();
        ("tokens of a text", is_there, "text")
    } else {
        return None;
    };
    let own = of_head(&spec.head);
    if !own.contains(&metric) {
        let others: Vec<&str> = own.iter().copied().chain(["fidelity", "latency"]).collect();
        let detail = format!(
            "'{metric}' is of models that answer with {kind}, which this one does not: ask for {}",
            others.join(", ")
        );
        return Some((Code::OutOfRange, detail));
    }
    if let (ENTITY_F1, Head::TokenClassification { labels }) = (metric, &spec.head)
        && !spell(labels)
    {
        let detail = "'entity_f1' needs tags that are 'O' or begin with 'B-', 'I-', 'E-' or 'S-', which not all of this model's \
                      do: ask for token_f1";
        return Some((Code::OutOfRange, detail.to_owned()));
    }
    if given {
        return None;
    }
    let found = match (available.evaluation_rows, available.evaluation_target) {
        (None, _) => "no evaluation data was given",
        (Some(_), Target::None) => "the evaluation rows have none",
        (Some(_), Target::Class) => "the evaluation rows' labels are names",
        (Some(_), Target::Regression) => "the evaluation rows' labels are numbers with a fraction",
        (Some(_), Target::Tags) => "the evaluation rows have tags",
    };
    let detail = format!(
        "'{metric}' needs evaluation rows with {wanted}; {found}: name such a dataset, or leave '{metric}' out"
    );
    Some((Code::DataMissing, detail))
}

#[cfg(test)]
mod tests;
