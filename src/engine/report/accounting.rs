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
    let last = tensor.name.rsplit('.').next().unwrap_or(&tensor.name);
    if last.contains("scale") || last.contains("zero_") || last == "weight_codebook" {
        return Category::ScalesAndZeros;
    }
    if last.ends_with("_shape") || last.ends_with("_idx") {
        return Category::Metadata;
    }
    match tensor.site.as_deref().and_then(|site| sites.get(site)) {
        Some(category) => *category,
        None if tensor.name.to_ascii_lowercase().contains("norm") => Category::Norms,
        None => Category::Metadata,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::{Dtype, InputForm, Layout, SiteHeader, SiteRole, SiteSpec, Support};

    fn tensor(name: &str, site: Option<&str>, bytes: u64) -> TensorInfo {
        let (dtype, shape) = (Dtype::U8, vec![bytes as usize]);
        TensorInfo {
            name: name.into(),
            dtype,
            shape,
            bytes,
            file: "model.safetensors".into(),
            site: site.map(Into::into),
        }
    }

    fn header() -> ModelHeader {
        let site = |name: &str, category| SiteHeader {
            spec: SiteSpec {
                site: name.into(),
                role: SiteRole::Linear,
                category,
                module: name.into(),
                out: 2,
                r#in: 2,
                bias: true,
                is_centered: false,
                transposed: false,
            },
            layout: Layout::dense((2, 2), Dtype::F16),
            input: InputForm::None,
        };
        ModelHeader {
            support: Support::Full,
            family: None,
            architecture: None,
            spec: None,
            tensors: vec![
                tensor("q.weight_packed", Some("q"), 100),
                tensor("q.weight_scale", Some("q"), 10),
                tensor("q.weight_zero_point", Some("q"), 5),
                tensor("q.weight_shape", Some("q"), 16),
                tensor("q.bias", Some("q"), 7),
                tensor("head.weight", Some("head"), 50),
                tensor("encoder.LayerNorm.weight", None, 3),
                tensor("embeddings.position_ids", None, 9),
            ],
            sites: vec![site("q", Category::Attention), site("head", Category::Head)],
            parameters: 0,
            dtype: Dtype::F16,
            size_bytes: 1_000,
            files: vec![],
            has_tokenizer: false,
        }
    }

    #[test]
    fn every_byte_is_somewhere_and_only_once() {
        let accounting = account(&header());
        let expected = BTreeMap::from([
            (Category::Embedding, 0),
            (Category::Attention, 107),
            (Category::Mlp, 0),
            (Category::Norms, 3),
            (Category::Head, 50),
            (Category::ScalesAndZeros, 15),
            (Category::Metadata, 16 + 9 + 800),
        ]);
        assert_eq!(accounting.by_category, expected);
        assert_eq!(accounting.by_category.values().sum::<u64>(), 1_000);
        assert_eq!(accounting.by_site, BTreeMap::from([("q".into(), 138), ("head".into(), 50)]));
    }

    #[test]
    fn both_sides_stand_beside_each_other() {
        let accounting = account(&header());
        let alone = compare(None, &accounting);
        assert_eq!(alone.len(), CATEGORIES.len());
        assert_eq!(alone[&Category::Head], Bytes { before: None, after: 50 });
        assert_eq!(compare(Some(&accounting), &accounting)[&Category::Head], Bytes { before: Some(50), after: 50 });
    }
}
