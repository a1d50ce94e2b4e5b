//! What rows are to be answered with.

use super::*;

fn jsonl(lines: &[&str]) -> Result<Dataset> {
    read(&[("x.jsonl", lines.join("\n").as_bytes())])
}

fn refused(lines: &[&str]) -> (Code, String) {
    let problems = jsonl(lines).unwrap_err().problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    (problems[0].code, problems[0].detail.clone())
}

fn tagged(words: &[(&str, &str)]) -> Row {
    let word = |(text, tag): &(&str, &str)| Word { text: (*text).to_owned(), tag: (*tag).to_owned() };
    Row::tagged(words.iter().map(word).collect())
}

#[test]
fn numbers_with_a_fraction_are_predicted_and_whole_ones_are_classes() {
    for (labels, target, numbers) in [
        (["1", "0"], Target::Class, Some(vec![1.0, 0.0])),
        (["1.0", "0"], Target::Regression, Some(vec![1.0, 0.0])),
        (["-2.5e-3", "7"], Target::Regression, Some(vec![-0.0025, 7.0])),
        (["1e2", "0.5"], Target::Regression, Some(vec![100.0, 0.5])),
        (["\"1.5\"", "\"2.5\""], Target::Class, Some(vec![1.5, 2.5])),
        (["\"a\"", "3"], Target::Class, None),
        (["null", "null"], Target::None, None),
    ] {
        let lines = labels.map(|label| format!("{{\"text\":\"a\",\"label\":{label}}}"));
        let dataset = jsonl(&lines.each_ref().map(String::as_str)).unwrap();
        assert_eq!((dataset.target, dataset.numbers()), (target, numbers), "{labels:?}");
    }
    let (code, detail) = refused(&[r#"{"text":"a","label":"x"}"#, r#"{"text":"b","label":1.5}"#]);
    assert_eq!(code, Code::DatasetInvalid);
    assert!(detail.contains("\"x.jsonl\" line 2 has a number") && detail.contains("line 1 has a name"), "{detail}");
    assert!(refused(&[r#"{"text":"a","label":1e999}"#]).1.contains("not a row"), "no such number");
}

#[test]
fn csv_has_texts_alone_so_one_name_makes_names_of_all() {
    for (labels, target) in [
        ("1,2", Target::Class),
        ("1, 2.5", Target::Regression),
        ("-1.5e3,+2", Target::Regression),
        (".5,1.", Target::Regression),
        ("1.5,beta", Target::Class),
        ("1.5,inf", Target::Class),
        ("1.5,NaN", Target::Class),
        ("1.5,1e999", Target::Class),
        ("1.5,0x1p3", Target::Class),
        ("1.5,1-2", Target::Class),
        ("1.5,.", Target::Class),
    ] {
        let rows: String = labels.split(',').map(|label| format!("a,\"{label}\"\n")).collect();
        let dataset = read(&[("x.csv", format!("text,label\n{rows}").as_bytes())]).unwrap();
        assert_eq!(dataset.target, target, "{labels}");
    }
    let found = problems(&[("x.csv", b"tokens,ner_tags\na b,O O\n")]);
    assert!(found[0].detail.contains("write them as JSON lines"), "{}", found[0]);
}

#[test]
fn words_with_tags_are_read() {
    let lines = [
        r#"{"tokens":["EU","rejects","calls"],"tags":["B-ORG","O","O"],"id":7}"#,
        r#"{"words":["a",""],"ner_tags":[0,"O"]}"#,
    ];
    let dataset = jsonl(&lines).unwrap();
    let rows = [tagged(&[("EU", "B-ORG"), ("rejects", "O"), ("calls", "O")]), tagged(&[("a", "0"), ("", "O")])];
    assert_eq!((dataset.target, dataset.rows.as_slice()), (Target::Tags, rows.as_slice()));
    assert_eq!((dataset.rows[0].text.as_str(), dataset.has_labels()), ("EU rejects calls", false));
    // The same words as a text are the same row
    assert_eq!(row_hash(&dataset.rows[0]), row_hash(&row("EU rejects calls", None, None)));
    // Beside a text, one of the two lists means something else
    let beside = jsonl(&[r#"{"text":"a b","tags":["x"],"label":"y"}"#, r#"{"sentence":"a","tokens":3,"label":"z"}"#]);
    assert_eq!(beside.unwrap().rows, [row("a b", None, Some("y")), row("a", None, Some("z"))]);
}

#[test]
fn bad_words_and_tags_are_told() {
    let names = "x".repeat(513);
    for (line, wanted) in [
        (r#"{"tokens":["a","b"],"tags":["O"]}"#, "has 2 tokens and 1 tags"),
        (r#"{"tokens":["a"]}"#, "has \"tokens\" and no \"tags\""),
        (r#"{"tags":["a"]}"#, "has no \"text\"; found \"tags\""),
        (r#"{"tokens":"a b","tags":["O"]}"#, "\"tokens\" must be a list; a string was given"),
        (r#"{"tokens":["a"],"tags":"O"}"#, "\"tags\" must be a list; a string was given"),
        (r#"{"tokens":[1],"tags":["O"]}"#, "a list of strings; a number was given"),
        (r#"{"tokens":["a"],"tags":[1.5]}"#, "strings or whole numbers; a number was given"),
        (r#"{"tokens":["a"],"tags":[null]}"#, "strings or whole numbers; null was given"),
        (r#"{"tokens":["a"],"tags":[" "]}"#, "the tag is empty"),
        (r#"{"tokens":["a"],"tags":["b\u0007"]}"#, "the tag \"b\\u{7}\" has control characters"),
        (&format!("{{\"tokens\":[\"a\"],\"tags\":[\"{names}\"]}}"), "the tag has 513 bytes"),
        (r#"{"tokens":[],"tags":[]}"#, "the text is empty"),
        (r#"{"tokens":[" "],"tags":["O"]}"#, "the text is empty"),
        (r#"{"text":"a","tokens":["a"],"tags":["O"]}"#, "has both a text and \"tokens\""),
        (r#"{"tokens":["a"],"tags":["O"],"label":"x"}"#, "has both a label and tags"),
        (r#"{"tokens":["a"],"words":["a"],"tags":["O"]}"#, "has both \"tokens\" and \"words\""),
    ] {
        let (code, detail) = refused(&[line]);
        assert!(code == Code::DatasetRowInvalid && detail.contains(wanted), "{line}: {detail}");
    }
}

#[test]
fn rows_are_of_one_kind() {
    let (plain, labelled) = (r#"{"text":"a"}"#, r#"{"text":"b","label":"x"}"#);
    let tagged = r#"{"tokens":["c"],"tags":["O"]}"#;
    for (lines, wanted) in [
        ([plain, labelled], "line 2 has a label and \"x.jsonl\" line 1 has none"),
        ([plain, tagged], "line 2 has tags and \"x.jsonl\" line 1 has none"),
        ([labelled, tagged], "line 1 has a label and \"x.jsonl\" line 2 has tags"),
    ] {
        let (code, detail) = refused(&lines);
        assert!(code == Code::DatasetInvalid && detail.contains(wanted), "{detail}");
    }
}

#[test]
fn pairs_of_sentences_have_the_hubs_names_too() {
    let rows = jsonl(&[r#"{"sentence1":"a","sentence2":"b","label":2.5,"idx":0}"#]).unwrap().rows;
    assert_eq!(rows, [row("a", Some("b"), Some("2.5"))]);
    let (_, detail) = refused(&[r#"{"sentence1":"a","sentence2":"b","text_pair":"c"}"#]);
    assert!(detail.contains("has both \"sentence2\" and \"text_pair\""), "{detail}");
}

#[test]
fn the_summary_knows_the_target() {
    let numbers = [r#"{"text":"a","label":4}"#, r#"{"text":"b","label":0.5}"#, r#"{"text":"c","label":1}"#];
    let summary = jsonl(&numbers).unwrap().summary();
    assert_eq!(summary.target(), Target::Regression);
    assert!(summary.labels.is_empty() && summary.tags.is_empty() && summary.has_numbers());
    let values = summary.values.unwrap();
    assert_eq!((values.low, values.high), (0.5, 4.0));
    assert!((values.mean - 5.5 / 3.0).abs() < 1e-15);
    // Numbers whose sum would be none
    let large = jsonl(&[r#"{"text":"a","label":1.7e308}"#, r#"{"text":"b","label":1.7e308}"#]).unwrap();
    assert_eq!(large.summary().values.unwrap().mean, 1.7e308);

    let summary = jsonl(&[r#"{"tokens":["a","b","c"],"tags":["O","B-X","O"]}"#]).unwrap().summary();
    let tags: Vec<_> = summary.tags.iter().map(|count| (count.tag.as_str(), count.words)).collect();
    assert_eq!((summary.target(), tags, summary.words), (Target::Tags, vec![("O", 2), ("B-X", 1)], 3));
    assert!(!summary.has_numbers() && summary.labels.is_empty());

    let classes = |labels: [&str; 2]| {
        let lines = labels.map(|label| format!("{{\"text\":\"a\",\"label\":{label}}}"));
        jsonl(&lines.each_ref().map(String::as_str)).unwrap().summary()
    };
    assert!(classes(["1", "2"]).has_numbers() && !classes(["1", "\"x\""]).has_numbers());
    let plain = jsonl(&[r#"{"text":"a"}"#]).unwrap().summary();
    assert_eq!((plain.target(), plain.has_numbers()), (Target::None, false));
}

#[test]
fn a_stored_summary_is_read_back_and_an_older_one_too() {
    let lines = [r#"{"text":"a","label":0.1}"#, "", r#"{"text":"b","label":1e-7}"#, r#"{"text":"a","label":3}"#];
    let summary = jsonl(&lines).unwrap().summary();
    let text = serde_json::to_string(&summary).unwrap();
    assert_eq!(serde_json::from_str::<DatasetSummary>(&text).unwrap(), summary);
    let older = r#"{"format":"jsonl","rows":2,"labels":[{"label":"x","rows":2}],"words":3,"duplicates":0,"row_hashes":["00","01"]}"#;
    let older: DatasetSummary = serde_json::from_str(older).unwrap();
    assert_eq!((older.target(), older.places.place(0)), (Target::Class, None));
}

#[test]
fn the_first_row_of_every_label_and_tag_is_told() {
    let found =
        jsonl(&[r#"{"text":"a","label":"x"}"#, "", r#"{"text":"b","label":"y"}"#, r#"{"text":"c","label":"x"}"#]);
    let labels = found.unwrap().summary().labels;
    let first = |line| Some(Place { file: "x.jsonl".to_owned(), line });
    let told: Vec<_> = labels.into_iter().map(|count| (count.label, count.rows, count.first)).collect();
    assert_eq!(told, [("x".to_owned(), 2, first(1)), ("y".to_owned(), 1, first(3))]);
    let tags = jsonl(&[r#"{"tokens":["a","b"],"tags":["O","O"]}"#, r#"{"tokens":["c"],"tags":["B-X"]}"#]);
    let tags = tags.unwrap().summary().tags;
    assert_eq!(tags.iter().map(|count| count.first.clone()).collect::<Vec<_>>(), [first(1), first(2)]);
    // With very many of them the places would be as long as the data
    let many: Vec<String> = (0..1001).map(|i| format!("{{\"text\":\"a\",\"label\":{i}}}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(jsonl(&many).unwrap().summary().labels.iter().all(|count| count.first.is_none()));
}
