//! Where the bytes of the weight files are: per site and per category, to the byte.

use std::collections::BTreeMap;

use super::result::Bytes;
use crate::engine::model::{Category, ModelHeader, TensorInfo};

/// Every category, in the order of the table.
pub const CATEGORIES: [Category; 7] = [
    Category::Embedding,
    Category::Attention,
    Category::Mlp,
    Category::Norms,
    Category::Head,
    Category::ScalesAndZeros,
    Category::Metadata,
];

/// Where the bytes of a model's weight files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounting {
    /// Sums to the weight files; all seven categories are there.
    pub by_category: BTreeMap<Category, u64>,
    /// All tensors of a site together: codes, scales, zeros, bias.
    pub by_site: BTreeMap<String, u64>,
}

/// Accounts for each byte of the weight files that `header` describes. What no tensor holds (file headers, padding) is
/// `metadata`. Shared storage lies in the file once and is counted once.
pub fn account(header: &ModelHeader) -> Accounting {
    let categories: BTreeMap<&str, Category> =
        header.sites.iter().map(|site| (site.spec.site.as_str(), site.spec.category)).collect();
    let mut by_category = BTreeMap::from(CATEGORIES.map(|category| (category, 0)));
    let mut by_site: BTreeMap<String, u64> = header.sites.iter().map(|site| (site.spec.site.clone(), 0)).collect();
    let mut held = 0_u64;
    for tensor in &header.tensors {
        held = held.saturating_add(tensor.bytes);
        let category = category_of(tensor, &categories);
        *by_category.entry(category).or_default() += tensor.bytes;
        if let Some(bytes) = tensor.site.as_ref().and_then(|site| by_site.get_mut(site)) {
            *bytes += tensor.bytes;
        }
    }
    *by_category.entry(Category::Metadata).or_default() += header.size_bytes.saturating_sub(held);
    Accounting { by_category, by_site }
}

/// `result.bytes_by_category` from both sides.
pub fn compare(before: Option<&Accounting>, after: &Accounting) -> BTreeMap<Category, Bytes> {
    let of = |side: &Accounting, category| side.by_category.get(&category).copied().unwrap_or(0);
    BTreeMap::from(CATEGORIES.map(|category| {
        (category, Bytes { before: before.map(|before| of(before, category)), after: of(after, category) })
    }))
}

fn category_of(tensor: &TensorInfo, sites: &BTreeMap<&str, Category>) -> Category {
    let (module, last) = tensor.name.rsplit_once('.').unwrap_or(("", &tensor.name));
    if last.contains("scale") || last.contains("zero_point") {
        return Category::ScalesAndZeros;
    }
    if last.ends_with("_shape") || last.ends_with("_idx") {
        return Category::Metadata;
    }
    if let Some(category) = tensor.site.as_deref().and_then(|site| sites.get(site)) {
        return *category;
    }
    let module = module.rsplit('.').next().unwrap_or(module).to_ascii_lowercase();
    if module.contains("norm") || module.starts_with("ln_") { Category::Norms } else { Category::Metadata }
}
