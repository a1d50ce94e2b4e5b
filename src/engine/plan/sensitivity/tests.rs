use std::path::Path;

use super::*;
use crate::engine::export::verify::input;
use crate::engine::model::inspect::inspect;

fn header() -> ModelHeader {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tickets");
    let files = ["config.json", "model.safetensors", "tokenizer.json"].map(|name| input(&folder, name).unwrap());
    inspect(&files).unwrap().0.header
}

fn planned(stages: &Value, sensitivity: &Value) -> Result<Plan, Vec<Problem>> {
    let recipe = Recipe::parse(&json!({ "version": 1, "stages": stages, "sensitivity": sensitivity })).unwrap();
    plan(&recipe, &header(), &Available { calibration_rows: Some(300), ..Available::default() })
}

fn problems(stages: &Value, sensitivity: &Value) -> Vec<(String, Code)> {
    planned(stages, sensitivity).unwrap_err().into_iter().map(|problem| (problem.pointer, problem.code)).collect()
}

#[test]
fn defaults_are_what_the_methods_have_and_fidelity_alone_is_measured() {
    let plan = planned(&json!([{ "method": "quantize", "targets": ["**.mlp.*"] }]), &json!({})).unwrap();
    let asked = plan.sensitivity.unwrap();
    let usual: Vec<u32> = LEVELS.into_iter().filter(|bits| has(&plan.stages[0], *bits) == Some(true)).collect();
    assert!(usual.contains(&2) && usual.contains(&8) && asked.bits == usual);
    assert_eq!((asked.num_samples, asked.max_tokens), (128, 8192));
    assert_eq!(asked.cells, 8 * usual.len() as u64, "up and down of four layers");
    assert_eq!(plan.evaluate.metrics, ["fidelity"]);
    assert!(plan.predicted.files.is_empty() && plan.predicted.size_bytes == header().size_bytes);
    assert!(plan.notes.iter().any(|note| note.contains("no weight file is written")));
}

#[test]
fn a_site_is_changed_by_all_stages_that_name_it_and_bits_go_where_they_belong() {
    let stages = json!([
        { "method": "factorize", "targets": ["**.mlp.*"], "params": { "rank_ratio": 0.5 } },
        { "method": "quantize", "targets": ["**.mlp.up", "head"], "params": { "bits": 4, "group_size": 32 } },
    ]);
    let plan = planned(&stages, &json!({ "bits": [8, 2, 8], "num_samples": 10 })).unwrap();
    let targets = menu(&plan.stages, &plan.sensitivity.as_ref().unwrap().bits, &header()).unwrap();
    let header = header();
    for target in &targets {
        let name = header.sites[target.site].spec.site.as_str();
        let tried: Vec<(u32, usize)> =
            target.choices.iter().map(|choice| (choice.bits, choice.actions.len())).collect();
        let want: &[(u32, usize)] = match name.rsplit('.').next().unwrap() {
            "up" => &[(2, 2), (8, 2)],
            "down" => &[(16, 1)], // as the recipe has it: factors of 16 bits
            _ => &[(2, 1), (8, 1)],
        };
        assert_eq!(tried, want, "{name}");
        assert!(target.choices.iter().all(|choice| choice.layout.bits() == choice.bits), "{name}");
    }
    assert_eq!(targets.len(), 9);
}

#[test]
fn what_can_not_be_tried_is_told_with_its_place() {
    let quantize = json!([{ "method": "quantize" }]);
    assert_eq!(
        problems(&quantize, &json!({ "bits": [8, 13] })),
        [("/sensitivity/bits/1".to_owned(), Code::OutOfRange)]
    );
    assert_eq!(problems(&json!([]), &json!({})), [("/stages".to_owned(), Code::MissingField)]);
    let fold = json!([{ "method": "fold" }]);
    let found = problems(&fold, &json!({}));
    assert!(found.contains(&("/stages/0/method".to_owned(), Code::UnsupportedForm)), "{found:?}");
    let recipe = |sensitivity: Value| Recipe::parse(&json!({ "version": 1, "stages": [], "sensitivity": sensitivity }));
    for (wrong, pointer) in [
        (json!({ "bits": [] }), "/sensitivity/bits"),
        (json!({ "bits": [4.5] }), "/sensitivity/bits"),
        (json!({ "num_samples": 0 }), "/sensitivity/num_samples"),
        (json!({ "bit": 4 }), "/sensitivity/bit"),
    ] {
        assert_eq!(recipe(wrong).unwrap_err()[0].pointer, pointer);
    }
}

#[test]
fn a_compression_says_that_it_does_not_read_it() {
    let written = json!({ "version": 1, "stages": [{ "method": "quantize" }], "sensitivity": { "bits": [4] } });
    let plan = resolve(&Recipe::parse(&written).unwrap(), &header(), &Available::default()).unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("'sensitivity' alone")) && plan.sensitivity.is_none());
}
