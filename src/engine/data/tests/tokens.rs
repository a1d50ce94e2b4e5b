use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::*;

fn tokenizer(model: &str) -> Option<Tokenizer> {
    let bytes = std::fs::read(fixture(model)?.join("tokenizer.json")).unwrap();
    Some(Tokenizer::from_file(&bytes).unwrap())
}

/// Ids that the reference implementation gave, by row, without padding.
fn golden(model: &str, tensor: &str) -> Vec<Vec<u32>> {
    let bytes = std::fs::read(fixture(model).unwrap().join("expected_logits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: &str| -> Vec<u32> {
        let view = file.tensor(name).unwrap();
        let width = view.dtype().bitsize() / 8;
        view.data().chunks(width).map(|bytes| u32::from_le_bytes(*bytes.first_chunk().unwrap())).collect()
    };
    let tokens = file.tensor("attention_mask").unwrap().shape()[1];
    let mask = numbers("attention_mask");
    let kept = |(ids, mask): (&[u32], &[u32])| ids[..mask.iter().sum::<u32>() as usize].to_vec();
    numbers(tensor).chunks(tokens).zip(mask.chunks(tokens)).map(kept).collect()
}

fn check_golden(model: &str, data: &str, rows: usize, max_seq_length: usize) {
    let (Some(tokenizer), Some(test)) = (tokenizer(model), fixture(data)) else { return };
    let dataset = Dataset::read(&[input("test.jsonl", &test)]).unwrap();
    let encoded = tokenizer.encode(&dataset.rows[..rows], max_seq_length, 2).unwrap();
    assert_eq!(encoded.ids, golden(model, "input_ids"));
    assert_eq!(encoded.type_ids, golden(model, "token_type_ids"));
    assert_eq!(encoded, tokenizer.encode(&dataset.rows[..rows], max_seq_length, 1).unwrap());
    assert!(encoded.max_id() <= tokenizer.max_id());
}

#[test]
fn sections_encode_as_the_reference_does() {
    check_golden("minilm-sections", "data/sections/test.jsonl", 512, 96);
}

#[test]
fn recall_encodes_as_the_reference_does() {
    check_golden("bert-recall", "data/recall/test.jsonl", 64, 256);
}

/// A small `WordPiece` tokenizer, with what a test changes in it.
fn small(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut file = json!({
        "version": "1.0",
        "truncation": { "direction": "Left", "max_length": 3, "strategy": "OnlyFirst", "stride": 1 },
        "padding": {
            "strategy": { "Fixed": 50 }, "direction": "Left", "pad_to_multiple_of": 64,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"
        },
        "added_tokens": [{
            "id": 0, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }],
        "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)],
            "pair": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0), sequence("B", 1), special("[SEP]", 1)],
            "special_tokens": {
                "[CLS]": { "id": "[CLS]", "ids": [2], "tokens": ["[CLS]"] },
                "[SEP]": { "id": "[SEP]", "ids": [3], "tokens": ["[SEP]"] }
            }
        },
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": { "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5, "c": 6, "[unused0]": 7, "##b": 8 }
        }
    });
    change(&mut file);
    serde_json::to_vec(&file).unwrap()
}

fn special(id: &str, type_id: u32) -> Value {
    json!({ "SpecialToken": { "id": id, "type_id": type_id } })
}

fn sequence(id: &str, type_id: u32) -> Value {
    json!({ "Sequence": { "id": id, "type_id": type_id } })
}

#[test]
fn our_own_truncation_and_no_padding() {
    let tokenizer = Tokenizer::from_file(&small(|_| ())).unwrap();
    let encode = |row: Row, max| {
        let encoded = tokenizer.encode(&[row], max, 1).unwrap();
        (encoded.ids[0].clone(), encoded.type_ids[0].clone())
    };
    assert_eq!(encode(row("a b c ab", None, None), 10), (vec![2, 4, 5, 6, 4, 8, 3], vec![0; 7]));
    assert_eq!(encode(row("a b c", None, None), 4), (vec![2, 4, 5, 3], vec![0; 4]));
    assert_eq!(encode(row("a", Some("b x"), None), 10), (vec![2, 4, 3, 5, 1, 3], vec![0, 0, 0, 1, 1, 1]));
    // The longer of a pair is cut first.
    assert_eq!(encode(row("a", Some("b b b b"), None), 6).0, [2, 4, 3, 5, 5, 3]);
    assert_eq!(encode(row("c c c c", Some("b"), None), 6).0, [2, 6, 6, 3, 5, 3]);
    assert_eq!((tokenizer.max_id(), tokenizer.vocabulary(100).ordinary.len()), (Some(8), 7));
}

#[test]
fn no_room_for_text_is_told() {
    let tokenizer = Tokenizer::from_file(&small(|_| ())).unwrap();
    for (pair, max) in [(None, 2), (None, 0), (Some("b"), 3)] {
        let problem = tokenizer.encode(&[row("a", pair, None)], max, 1).unwrap_err().problems().remove(0);
        assert_eq!(problem.code, Code::OutOfRange);
    }
    assert_eq!(tokenizer.encode(&[row("a", None, None)], 3, 1).unwrap().ids, [[2, 4, 3]]);
    assert!(tokenizer.encode(&[], 3, 1).unwrap().ids.is_empty());
}

#[test]
fn the_vocabulary_knows_what_is_ordinary() {
    let Some(tokenizer) = tokenizer("minilm-sections") else { return };
    let vocabulary = tokenizer.vocabulary(30_522);
    assert_eq!((vocabulary.prefix.as_slice(), vocabulary.suffix.as_slice()), ([101].as_slice(), [102].as_slice()));
    // 30,522 entries, of which 5 are special and 994 are reserved.
    assert_eq!(vocabulary.ordinary.len(), 30_522 - 5 - 994);
    assert!(tokenizer.vocabulary(1000).ordinary.iter().all(|id| *id < 1000));
}

#[test]
fn hostile_files_are_refused_without_a_panic() {
    let template = "/post_processor/special_tokens";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("not JSON", b"{".to_vec()),
        ("empty", Vec::new()),
        ("an array", b"[]".to_vec()),
        ("deep", "[".repeat(100_000).into_bytes()),
        ("no model", small(|file| file["model"] = Value::Null)),
        ("no vocab", small(|file| drop(file["model"].as_object_mut().unwrap().remove("vocab")))),
        ("unknown model", small(|file| file["model"]["type"] = json!("Magic"))),
        (
            "a token that is not defined",
            small(|file| {
                file.pointer_mut(template).unwrap().as_object_mut().unwrap().remove("[SEP]");
            }),
        ),
        ("no text", small(|file| file["post_processor"]["single"] = json!([special("[CLS]", 0)]))),
        ("a text that is not there", small(|file| file["post_processor"]["single"] = json!([sequence("B", 0)]))),
        (
            "the text twice",
            small(|file| file["post_processor"]["single"] = json!([sequence("A", 0), sequence("A", 0)])),
        ),
        (
            "too many tokens",
            small(|file| {
                file["post_processor"]["single"] = json!(vec![special("[CLS]", 0); 100]);
            }),
        ),
        (
            "within a sequence",
            small(|file| {
                let mut inner = file["post_processor"].clone();
                inner["single"] = json!([sequence("B", 0)]);
                file["post_processor"] = json!({ "type": "Sequence", "processors": [inner] });
            }),
        ),
        ("ids without tokens", small(|file| file["post_processor"]["special_tokens"]["[CLS]"]["tokens"] = json!([]))),
        ("words without end", small(|file| file["model"]["max_input_chars_per_word"] = json!(1_000_000_000))),
        (
            "a pattern that is none",
            small(|file| {
                file["normalizer"] = json!({ "type": "Replace", "pattern": { "Regex": "(" }, "content": "" });
            }),
        ),
        (
            "a character map that is none",
            small(|file| {
                file["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": "/////w==" });
            }),
        ),
    ];
    for (name, file) in cases {
        let Err(EngineError::Invalid(problems)) = Tokenizer::from_file(&file) else { panic!("{name} was read") };
        assert_eq!(problems[0].code, Code::TokenizerInvalid, "{name}");
        assert_eq!(problems[0].pointer, "/files/tokenizer.json", "{name}");
    }
}

#[test]
fn what_fails_on_a_row_is_told() {
    // A word that is not in the vocabulary, and no token for such words.
    let file = small(|file| drop(file["model"]["vocab"].as_object_mut().unwrap().remove("[UNK]")));
    let tokenizer = Tokenizer::from_file(&file).unwrap();
    let rows = [row("a", None, None), row("zebra", None, None)];
    let problem = tokenizer.encode(&rows, 10, 1).unwrap_err().problems().remove(0);
    assert_eq!(problem.code, Code::TokenizerInvalid);
    assert!(problem.detail.contains("on row 2"), "{problem}");
    // A text that leaves no token at all.
    let file = small(|file| file["post_processor"] = Value::Null);
    let tokenizer = Tokenizer::from_file(&file).unwrap();
    assert!(tokenizer.encode(&[row("\u{200b} a", None, None)], 10, 1).is_ok());
    let file = small(|file| {
        file["post_processor"] = Value::Null;
        file["normalizer"] = json!({ "type": "Replace", "pattern": { "Regex": "." }, "content": "" });
    });
    let problem = Tokenizer::from_file(&file).unwrap().encode(&rows, 10, 1).unwrap_err().problems().remove(0);
    assert!(problem.detail.contains("0 tokens of row 1"), "{problem}");
}

/// Byte-pair dropout draws by chance; a measurement must not.
#[test]
fn dropout_is_left_out() {
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {
            "type": "BPE", "dropout": 0.9, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": { "a": 0, "b": 1, "ab": 2 }, "merges": [["a", "b"]]
        }
    });
    let tokenizer = Tokenizer::from_file(&serde_json::to_vec(&file).unwrap()).unwrap();
    let encoded = tokenizer.encode(&vec![row("abab", None, None); 50], 10, 1).unwrap();
    assert!(encoded.ids.iter().all(|ids| ids == &[2, 2]));
}
