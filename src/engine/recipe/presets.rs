//! Recipes that have a name.

use std::sync::LazyLock;

use serde_json::json;

use super::Recipe;

/// A recipe with a name.
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// One sentence: what it does and what it needs.
    pub summary: &'static str,
    /// The recipe.
    pub recipe: Recipe,
}

/// Every preset.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// The preset with that name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    // What is small and dear: two rows that are added to every token, and what gives the classes
    let dear = ["embedding.token_type", "classifier"];
    let int8 = json!({ "bits": 8, "group_size": -1, "symmetric": true, "observer": "mse" });
    let int4 = json!({ "bits": 4, "group_size": 64, "symmetric": false });
    let keep_dear = json!({ "method": "quantize", "targets": dear, "if_present": true, "params": int8 });
    [
        (
            "int8",
            "Weights to 8 bits, one scale a row. Needs no data; answers hardly change.",
            // Two rows of one table are added to every token: their rounding alone is a seventh of the whole KL, to
            // save 770 bytes
            json!([{ "method": "quantize", "ignore": ["embedding.token_type"], "params": int8 }]),
        ),
        (
            "int4",
            "Every weight to 4 bits in groups of 64, the classifier to 8. Needs no data.",
            json!([keep_dear, { "method": "quantize", "ignore": dear, "params": int4 }]),
        ),
        (
            "int4-gptq",
            "Linear maps to 4 bits by GPTQ in groups of 64, the token table and the classifier to 8. Needs calibration text.",
            json!([
                { "method": "quantize", "targets": ["embedding.token", "embedding.token_type", "classifier"], "if_present": true, "params": int8 },
                { "method": "quantize", "targets": ["embedding.position"], "if_present": true, "params": int4 },
                { "method": "gptq", "targets": ["**"], "ignore": ["embedding.**", "classifier"], "params": int4 },
            ]),
        ),
        (
            "int4-all",
            "Every weight to 4 bits in groups of 64, linear maps by GPTQ, the classifier to 8. Needs calibration text.",
            json!([keep_dear, { "method": "gptq", "targets": ["**"], "ignore": dear, "params": int4 }]),
        ),
        (
            "svd-50",
            "The baseline: half of the blocks' parameters by plain SVD. Needs no data and loses a lot.",
            json!([{ "method": "factorize", "params": { "objective": "plain", "rank_ratio": 0.5 } }]),
        ),
    ]
    .into_iter()
    .filter_map(|(name, summary, stages)| {
        let recipe = Recipe::parse(&json!({ "version": 1, "stages": stages })).ok()?;
        Some(Preset { name, summary, recipe })
    })
    .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_recipe() {
        let names: Vec<_> = presets().iter().map(|p| p.name).collect();
        assert_eq!(names, ["int8", "int4", "int4-gptq", "int4-all", "svd-50"]);
    }
}
