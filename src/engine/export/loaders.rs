//! Which runtimes load a weight file: what was found by loading such files, `results/interop.md` and
//! `results/interop-families.md`. What was not tried is not named.

use crate::engine::export::bits;
use crate::engine::model::spec::{Category, Head, SiteRole};
use crate::engine::model::{Forms, InputForm, Layout, ModelHeader, ModelSpec, SiteSpec};

/// Families whose plain weights candle-transformers was seen to load, and whose codes of every form were tried with two
/// versions of transformers.
const SEEN: &[&str] = &["bert"];
/// Families whose symmetric codes transformers 5 was seen to load.
const SYMMETRIC_SEEN: &[&str] = &["distilbert", "roberta", "llama", "mistral", "qwen2", "qwen3"];

/// This program, which loads all that it writes.
pub const OURS: &str = "pare";

/// A site, the form that it is stored in, and what happens to its input.
type Stored<'a> = (&'a SiteSpec, Layout, InputForm);

/// Runtimes that load the weights of a model, with their versions.
pub fn of(header: &ModelHeader) -> Vec<String> {
    if header.is_packed() { vec![OURS.to_owned()] } else { of_forms(&[Forms::of(header)], header) }
}

/// Runtimes that load the model whichever of these forms each of its sites has.
pub fn of_forms(forms: &[Forms], header: &ModelHeader) -> Vec<String> {
    let sites = forms.iter().flat_map(|forms| header.sites.iter().zip(forms.iter()));
    let stored = sites.map(|(site, (layout, input))| (&site.spec, layout.clone(), input));
    of_stored(&stored.collect::<Vec<_>>(), header.spec.as_ref())
}

fn of_stored(sites: &[Stored<'_>], spec: Option<&ModelSpec>) -> Vec<String> {
    let mut loaders = vec![OURS.to_owned()];
    let any = |test: fn(&Stored<'_>) -> bool| sites.iter().any(test);
    // No stock class has factors; a module of two linears loads their documented names
    let is_factored = any(|(_, layout, _)| matches!(layout, Layout::Product { .. }));
    let stock = !is_factored && !any(is_short) && !any(is_turned) && !any(is_ours);
    // Inputs of 8 bits are documented as stock ones are, and were not tried
    let stock = stock && !any(|(_, _, input)| !input.is_none());
    let Some(spec) = spec.filter(|_| stock) else { return loaders };
    if !any(|(_, layout, _)| matches!(layout, Layout::Grouped { .. })) {
        loaders.push("transformers".to_owned());
        if SEEN.contains(&spec.family.as_str()) {
            loaders.push("candle-transformers".to_owned());
        }
        return loaders;
    }
    if is_tied(sites, spec) && any(is_coded_table) {
        return loaders;
    }
    if SYMMETRIC_SEEN.contains(&spec.family.as_str()) && !any(has_zeros) && !any(is_packed_table) {
        loaders.push("transformers>=5 with compressed-tensors>=0.20".to_owned());
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
fn is_short((_, layout, _): &Stored<'_>) -> bool {
    matches!(layout, Layout::Grouped { r#in, group_size: Some(size), .. } if r#in % size != 0)
}

/// Codes of a width that is packed in our own way, tables of centroids, and one scale for a whole matrix, which was not tried.
fn is_ours((_, layout, _): &Stored<'_>) -> bool {
    match layout {
        Layout::Grouped { bits, per_tensor, .. } => bits::WIDTHS.contains(bits) || *per_tensor,
        Layout::Codebook { .. } => true,
        _ => false,
    }
}

/// Codes of a map whose plain numbers lie as `[in, out]`: stock readers know codes of linears alone.
fn is_turned((site, layout, _): &Stored<'_>) -> bool {
    site.transposed && !matches!(layout, Layout::Dense { .. })
}

/// A head without a map of its own multiplies with the token table, which stock models then do with the codes themselves.
fn is_tied(sites: &[Stored<'_>], spec: &ModelSpec) -> bool {
    matches!(spec.head, Head::CausalLanguage | Head::MaskedLanguage)
        && !sites.iter().any(|(site, ..)| site.category == Category::Head && site.out == spec.vocab)
}

fn is_coded_table((site, layout, _): &Stored<'_>) -> bool {
    site.role == SiteRole::Embedding && matches!(layout, Layout::Grouped { .. })
}

fn is_packed_table((site, layout, _): &Stored<'_>) -> bool {
    let packed = matches!(layout, Layout::Grouped { bits, group_size, symmetric, .. }
        if *bits != 8 || group_size.is_some() || !symmetric);
    site.role == SiteRole::Embedding && packed
}

fn has_zeros((_, layout, _): &Stored<'_>) -> bool {
    matches!(layout, Layout::Grouped { symmetric: false, .. })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::engine::export::verify::input;
    use crate::engine::model::inspect::inspect;
    use crate::engine::plan::{Available, resolve};
    use crate::engine::recipe::Recipe;

    /// Who is foretold to load a golden model after its stages.
    fn foretold(model: &str, stages: &serde_json::Value) -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/models").join(model);
        let files = ["config.json", "model.safetensors"].map(|name| input(&folder, name).unwrap());
        let header = inspect(&files).unwrap().0.header;
        let recipe = serde_json::json!({ "version": 1, "stages": stages, "evaluate": { "metrics": [] } });
        let plan = resolve(&Recipe::parse(&recipe).unwrap(), &header, &Available::default()).unwrap();
        plan.predicted.files[0].loaders.clone()
    }

    #[test]
    fn loaders_are_those_that_were_seen() {
        let all = serde_json::json!([{ "method": "quantize", "params": {} }]);
        let linears = serde_json::json!([{ "method": "quantize", "ignore": ["embedding.*"], "params": {} }]);
        let skewed = serde_json::json!([{ "method": "quantize", "params": { "bits": 4, "symmetric": false } }]);
        let dense = serde_json::json!([{ "method": "quantize", "params": { "bits": 6 } }]);
        let tensor = serde_json::json!([{ "method": "quantize", "params": { "strategy": "tensor" } }]);
        let shared = serde_json::json!([{ "method": "share", "targets": ["block.**"], "params": {} }]);
        let stock = "transformers>=5 with compressed-tensors>=0.20";
        for (model, stages, expected) in [
            ("llama-gqa", &all, Some(stock)),
            ("llama-tied", &all, None), // the head would multiply with codes
            ("llama-tied", &linears, Some(stock)),
            ("roberta-tags", &all, Some(stock)),
            ("roberta-mlm", &all, None),
            ("qwen3", &skewed, None),    // zero points were not tried there
            ("gpt2-lm", &linears, None), // its maps lie the other way round
            ("bert-tags", &dense, None),
            ("bert-tags", &tensor, None),
            ("bert-tags", &all, Some("transformers>=4.57 with compressed-tensors>=0.15")),
            ("bert-tags", &shared, None),
        ] {
            let found = foretold(model, stages);
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            assert_eq!(found, ["pare"].into_iter().chain(expected).collect::<Vec<_>>(), "{model}");
        }
    }
}
