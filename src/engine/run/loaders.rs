//! Which runtimes load a weight file: what was found by loading such files, `results/interop.md`.

use crate::engine::model::build::Model;
use crate::engine::model::inspect::Inspected;
use crate::engine::model::spec::SiteRole;
use crate::engine::model::{Layout, ModelHeader};
use crate::engine::plan::{self, Plan};

/// Runtimes that load the weights of a model, with their versions.
pub(super) fn of(inspected: &Inspected, model: &Model) -> Vec<String> {
    let sites: Vec<(SiteRole, Layout)> =
        model.sites.iter().zip(&model.maps).map(|(site, linear)| (site.role, linear.map.layout())).collect();
    of_layouts(&sites, inspected.header.spec.is_some())
}

/// Runtimes that will load what a plan leaves behind.
pub(crate) fn predicted(plan: &Plan, header: &ModelHeader) -> Vec<String> {
    let Some(layouts) = plan::layouts(plan, header) else { return Vec::new() };
    let roles = header.sites.iter().map(|site| site.spec.role);
    of_layouts(&roles.zip(layouts).collect::<Vec<_>>(), header.spec.is_some())
}

fn of_layouts(sites: &[(SiteRole, Layout)], is_known: bool) -> Vec<String> {
    let mut loaders = vec!["pare".to_owned()];
    let any = |test: fn(&(SiteRole, Layout)) -> bool| sites.iter().any(test);
    // No stock class has factors; a module of two linears loads their documented names
    let stock = !any(|(_, layout)| matches!(layout, Layout::Product { .. })) && !any(is_short);
    if !stock || !is_known {
        return loaders;
    }
    if !any(|(_, layout)| matches!(layout, Layout::Grouped { .. })) {
        loaders.extend(["transformers".to_owned(), "candle-transformers".to_owned()]);
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
fn is_short((_, layout): &(SiteRole, Layout)) -> bool {
    matches!(layout, Layout::Grouped { r#in, group_size: Some(size), .. } if r#in % size != 0)
}

fn is_packed_table((role, layout): &(SiteRole, Layout)) -> bool {
    let packed = matches!(layout, Layout::Grouped { bits, group_size, symmetric, .. }
        if *bits != 8 || group_size.is_some() || !symmetric);
    *role == SiteRole::Embedding && packed
}

fn has_zeros((_, layout): &(SiteRole, Layout)) -> bool {
    matches!(layout, Layout::Grouped { symmetric: false, .. })
}
