//! Original and result, side by side, as every kind of report shows them.

use super::measure::Bench;
use crate::engine::error::Result;
use crate::engine::evaluate::Answers;
use crate::engine::model::spec::{Category, Head};
use crate::engine::model::{ModelHeader, SiteHeader};
use crate::engine::report::{After, Before, ModelSummary, SiteReport};

/// The model that was worked on.
pub(super) fn summary(name: &str, header: &ModelHeader) -> ModelSummary {
    let task = header.spec.as_ref().map(|spec| match spec.head {
        Head::Classification { .. } => "classification",
        Head::Regression => "regression",
        Head::TokenClassification { .. } => "token_classification",
        Head::MaskedLanguage => "masked_language",
        Head::CausalLanguage => "causal_language",
        Head::Embedding { .. } => "embedding",
    });
    let task = task.map(ToOwned::to_owned);
    ModelSummary {
        name: name.to_owned(),
        family: header.family.clone(),
        architecture: header.architecture.clone(),
        support: header.support,
        task,
        dtype: header.dtype,
        parameters: header.parameters,
        size_bytes: header.size_bytes,
    }
}

/// The original, with its quality where answers were wanted.
pub(super) fn before(header: &ModelHeader, scoring: Option<&Bench<'_>>) -> Result<Before> {
    Ok(Before {
        size_bytes: header.size_bytes,
        total_bytes: header.total_bytes(),
        parameters: header.parameters,
        quality: scoring.map_or(Ok(None), Bench::original_quality)?,
    })
}

/// The result, as its files say, with what its answers show where there are any.
pub(super) fn after(
    before: Option<&Before>,
    header: &ModelHeader,
    answers: Option<(&Bench<'_>, &Answers)>,
) -> Result<After> {
    let mut after = After::new(before, header.size_bytes, header.total_bytes(), header.parameters);
    if let Some((bench, scores)) = answers {
        after.quality = bench.quality(scores)?;
        after.quality_change = bench.change(scores)?;
        after.fidelity = bench.fidelity(scores)?;
    }
    Ok(after)
}

/// A site in the form that it has now; no error of its weights yet.
pub(super) fn site(
    SiteHeader { spec: site, layout, input }: &SiteHeader,
    heads: Option<usize>,
    (before_bytes, after_bytes): (Option<u64>, u64),
) -> SiteReport {
    SiteReport {
        site: site.site.clone(),
        category: site.category,
        before_bytes,
        after_bytes,
        form: layout.form().to_owned(),
        bits: layout.bits(),
        rank: layout.rank(),
        density: 1.0,
        heads: heads.filter(|_| site.category == Category::Attention),
        relative_error: None,
        sqnr_db: None,
        cosine: None,
        output_error: None,
        activations: input.activations().map(ToOwned::to_owned),
        activation_bits: input.activations().map(|_| 8),
    }
}
