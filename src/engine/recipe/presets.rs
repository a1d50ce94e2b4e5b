//! Recipes that have a name.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Evaluate, Recipe, Stage, default_export};

/// A recipe with a name.
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it does, what it needs, and who loads its result.
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

/// What a sensitivity job tries on every site where no recipe says it: `int4`'s rounding, without its exceptions.
pub fn for_sensitivity() -> &'static Recipe {
    &FOR_SENSITIVITY
}

static FOR_SENSITIVITY: LazyLock<Recipe> = LazyLock::new(|| Recipe {
    version: 1,
    seed: 0,
    calibration: None,
    stages: vec![Stage {
        method: "quantize".to_owned(),
        targets: None,
        ignore: Vec::new(),
        if_present: false,
        params: [
            ("bits", json!(4)),
            ("group_size", json!(64)),
            ("symmetric", json!(false)),
            ("observer", json!("mse")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect(),
    }],
    constraints: None,
    evaluate: Evaluate::default(),
    sensitivity: None,
    export: default_export(),
});

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let preset = |(name, summary, recipe): (&'static str, &'static str, Value)| {
        Some(Preset { name, summary, recipe: Recipe::parse(&recipe).ok()? })
    };
    written().into_iter().filter_map(preset).collect()
});

/// What is small and dear at 4 bits: rows of two tables are added to every token (positions at 8 bits take a third of the KL of
/// int4-gptq away for 91 kB), and a classifier gives the answers themselves. So does a head over a vocabulary: by GPTQ at 4 bits
/// it costs a decoder seven times what 4 bits cost the table of its tokens, which has as many weights.
const DEAR: [&str; 4] = ["embedding.token_type", "embedding.position", "classifier", "lm_head"];
/// The same where a budget is shared out: what a head over a vocabulary needs is measured with the rest.
const SMALL: [&str; 3] = ["embedding.token_type", "embedding.position", "classifier"];

/// Name, summary, recipe.
type Written = (&'static str, &'static str, Value);

fn written() -> Vec<Written> {
    without_data().into_iter().chain(with_text()).chain([plain_svd()]).collect()
}

fn without_data() -> [Written; 4] {
    // In int8 the two rows of token types alone would be a seventh of its KL, to save 770 bytes: they stay as they are
    let rounded =
        |params: &Value| json!([{ "method": "quantize", "ignore": ["embedding.token_type"], "params": params }]);
    let w8a8 = json!({ "bits": 8, "group_size": -1, "symmetric": true, "observer": "mse", "activations": "dynamic" });
    [
        (
            "int8",
            "Weights to 8 bits, one scale a row. Needs no data; answers hardly change. transformers loads it.",
            stages(&rounded(&int8())),
        ),
        (
            "int8-packed",
            "The same, entropy-coded: every answer as with int8, about a tenth smaller. Needs no data. Only pare loads it.",
            json!({ "version": 1, "stages": rounded(&int8()), "export": ["packed"] }),
        ),
        (
            "w8a8",
            "As int8, and inputs of linear maps to 8 bits, a scale for every token: products of whole numbers. Needs no data.",
            stages(&rounded(&w8a8)),
        ),
        (
            "int4",
            "Weights to 4 bits in groups of 64, small tables and a head to 8. Needs no data.",
            stages(&json!([to_8_bits(&DEAR), { "method": "quantize", "ignore": DEAR, "params": int4() }])),
        ),
    ]
}

fn with_text() -> [Written; 4] {
    let (heads, untied) = (["embedding.**", "classifier", "lm_head"], "embedding.untied");
    let by_gptq = |at_8: &[&str]| json!([to_8_bits(at_8), { "method": "gptq", "targets": ["**"], "ignore": at_8, "params": int4() }]);
    let shared = json!({ "centroids": 16, "group_size": 1536, "objective": "outputs" });
    [
        (
            "int4-gptq",
            "Linear maps to 4 bits by GPTQ in groups of 64, tables and a head to 8, a table beside an lm_head to 4. Needs calibration text.",
            stages(&json!([
                { "method": "quantize", "targets": heads, "ignore": [untied], "if_present": true, "params": int8() },
                { "method": "quantize", "targets": [untied], "if_present": true, "params": int4() },
                { "method": "gptq", "targets": ["**"], "ignore": heads, "params": int4() },
            ])),
        ),
        (
            "int4-all",
            "Weights to 4 bits in groups of 64, linear maps by GPTQ, small tables and a head to 8. Needs calibration text.",
            stages(&by_gptq(&DEAR)),
        ),
        (
            "mixed-4bit",
            "4.38 bits a weight, as 4 or 8 bits in groups of 32 to 128 where answers need them, by GPTQ. Needs calibration text.",
            json!({ "version": 1, "stages": by_gptq(&SMALL), "constraints": { "effective_bits": 4.38 } }),
        ),
        (
            "share-4bit",
            "16 values for every 1,536 weights, small tables and a head at 8 bits. Needs calibration text. Only pare loads it.",
            stages(&json!([to_8_bits(&DEAR), { "method": "share", "ignore": DEAR, "params": shared }])),
        ),
    ]
}

fn plain_svd() -> Written {
    (
        "svd-50",
        "The baseline: half of the blocks' parameters by plain SVD. Needs no data and loses a lot.",
        stages(&json!([{ "method": "factorize", "params": { "objective": "plain", "rank_ratio": 0.5 } }])),
    )
}

fn stages(stages: &Value) -> Value {
    json!({ "version": 1, "stages": stages })
}

fn int8() -> Value {
    json!({ "bits": 8, "group_size": -1, "symmetric": true, "observer": "mse" })
}

fn int4() -> Value {
    json!({ "bits": 4, "group_size": 64, "symmetric": false })
}

fn to_8_bits(targets: &[&str]) -> Value {
    json!({ "method": "quantize", "targets": targets, "if_present": true, "params": int8() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_recipe() {
        let names: Vec<_> = presets().iter().map(|p| p.name).collect();
        assert_eq!(names, written().iter().map(|(name, ..)| *name).collect::<Vec<_>>());
        assert!(names.len() >= 7);
    }
}
