//! Which runtimes load a weight file: what was found by loading such files, `results/interop.md`.

use crate::engine::model::spec::SiteRole;
use crate::engine::model::{Layout, ModelHeader, ModelSpec, SiteSpec};
use crate::engine::plan::{self, Plan};

/// Families whose plain weights candle-transformers, and whose codes transformers, were seen to load.
const SEEN: &[&str] = &["bert"];

/// A site and the form that it is stored in.
type Stored<'a> = (&'a SiteSpec, Layout);

/// Runtimes that load the weights of a model, with their versions.
pub(super) fn of(header: &ModelHeader) -> Vec<String> {
    let stored = header.sites.iter().map(|site| (&site.spec, site.layout.clone()));
    of_layouts(&stored.collect::<Vec<_>>(), header.spec.as_ref())
}

/// Runtimes that will load what a plan leaves behind.
pub(crate) fn predicted(plan: &Plan, header: &ModelHeader) -> Vec<String> {
    let Some(layouts) = plan::layouts(plan, header) else { return Vec::new() };
    let sites = header.sites.iter().map(|site| &site.spec);
    of_layouts(&sites.zip(layouts).collect::<Vec<_>>(), header.spec.as_ref())
}

fn of_layouts(sites: &[Stored<'_>], spec: Option<&ModelSpec>) -> Vec<String> {
    let mut loaders = vec!["pare".to_owned()];
    let any = |test: fn(&Stored<'_>) -> bool| sites.iter().any(test);
    // No stock class has factors; a module of two linears loads their documented names
    let stock = !any(|(_, layout)| matches!(layout, Layout::Product { .. })) && !any(is_short) && !any(is_turned);
    let Some(spec) = spec.filter(|_| stock) else { return loaders };
    if !any(|(_, layout)| matches!(layout, Layout::Grouped { .. })) {
        loaders.push("transformers".to_owned());
        if SEEN.contains(&spec.family.as_str()) {
            loaders.push("candle-transformers".to_owned());
        }
        return loaders;
    }
    if !SEEN.contains(&spec.family.as_str()) {
        return loaders;
    }
    // transformers 5 asks a packed embedding for a weight that it does not have
    let transformers = if any(is_packed_table) { "transformers>=4.57,<5" } else { "transformers>=4.57" };
    // From 0.18 on the library expects zero points of another shape than it writes
    let library = if any(has_zeros) { "compressed-tensors>=0.15,<0.18" } else { "compressed-tensors>=0.15" };
    loaders.push(format!("{transformers} with {library}"));
    loaders
}

/// A last group that is shorter than the others, which no stock reader expects.
fn is_short((_, layout): &Stored<'_>) -> bool {
    matches!(layout, Layout::Grouped { r#in, group_size: Some(size), .. } if r#in % size != 0)
}

/// Codes of a map whose plain numbers lie as `[in, out]`: stock readers know codes of linears alone.
fn is_turned((site, layout): &Stored<'_>) -> bool {
    site.transposed && !matches!(layout, Layout::Dense { .. })
}

fn is_packed_table((site, layout): &Stored<'_>) -> bool {
    let packed = matches!(layout, Layout::Grouped { bits, group_size, symmetric, .. }
        if *bits != 8 || group_size.is_some() || !symmetric);
    site.role == SiteRole::Embedding && packed
}

fn has_zeros((_, layout): &Stored<'_>) -> bool {
    matches!(layout, Layout::Grouped { symmetric: false, .. })
}
