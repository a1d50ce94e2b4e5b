//! Which token carries which word's tag: against `run_ner` of transformers, `scripts/goldens/words.py`.

use serde_json::Value;

use super::*;

fn tickets() -> Tokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tickets/tokenizer.json");
    Tokenizer::from_file(&std::fs::read(path).unwrap()).unwrap()
}

fn words(texts: &[String]) -> Row {
    Row::tagged(texts.iter().map(|text| Word { text: text.clone(), tag: "O".to_owned() }).collect())
}

#[test]
fn words_are_aligned_as_transformers_does() {
    let golden: Value = serde_json::from_str(include_str!("../../../../tests/goldens/words.json")).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    let list = |row: &Value, name: &str| -> Vec<Option<u32>> { serde_json::from_value(row[name].clone()).unwrap() };
    let texts: Vec<Vec<String>> =
        rows.iter().map(|row| serde_json::from_value(row["words"].clone()).unwrap()).collect();
    let given: Vec<Row> = texts.iter().map(|texts| words(texts)).collect();
    let length = golden["max_seq_length"].as_u64().unwrap() as usize;
    let found = tickets().encode_words(&given, length, 2).unwrap();
    assert_eq!(found, tickets().encode_words(&given, length, 1).unwrap());
    for (at, row) in rows.iter().enumerate() {
        let ids: Vec<Option<u32>> = found.encoded.ids[at].iter().map(|id| Some(*id)).collect();
        assert_eq!((&ids, &found.words[at]), (&list(row, "ids"), &list(row, "word_ids")), "{row}");
        let tags: Vec<u32> = (0..texts[at].len() as u32).collect();
        assert_eq!(aligned(&found.words[at], &tags), list(row, "aligned"), "{row}");
    }
    assert_eq!(found.encoded.type_ids.iter().map(Vec::len).collect::<Vec<_>>(), found.encoded.lengths());
}

#[test]
fn a_word_counts_once() {
    let words = [None, Some(0), Some(0), Some(2), Some(3), Some(3), None, Some(3), Some(9), None];
    let tags = ["a", "b", "c", "d"];
    let expected = [None, Some("a"), None, Some("c"), Some("d"), None, None, Some("d"), None, None];
    assert_eq!(aligned(&words, &tags), expected, "a word after a special token begins again, as there");
    assert_eq!(aligned::<u8>(&[], &[]), []);
}

#[test]
fn no_room_for_words_is_told() {
    let row = words(&["a".to_owned()]);
    let problem = tickets().encode_words(&[row], 2, 1).unwrap_err().problems().remove(0);
    assert_eq!(problem.code, Code::OutOfRange);
}
