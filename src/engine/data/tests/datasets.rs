use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[test]
fn json_lines_are_read() {
    let lines = "\u{feff}{\"text\":\"a\\nb\",\"label\":\"x\"}\r\n\n  \t\n{\"id\":7,\"label\":-3,\"text\":\" c \",\"text_pair\":\"d\"}\n\
                 {\"text\":\"e\",\"label\":18446744073709551615,\"text_pair\":null}";
    let dataset = read(&[("x.jsonl", lines.as_bytes())]).unwrap();
    assert_eq!(dataset.format, Format::Jsonl);
    assert_eq!(
        dataset.rows,
        [row("a\nb", None, Some("x")), row(" c ", Some("d"), Some("-3")), row("e", None, Some("18446744073709551615"))]
    );
    assert!(dataset.has_labels());
    let dataset = read(&[("x.ndjson", br#"{"sentence":"a","label":null}"#)]).unwrap();
    assert_eq!(dataset.rows, [row("a", None, None)]);
    assert!(!dataset.has_labels());
}

#[test]
fn csv_is_read() {
    let text = "\u{feff}label, text ,n,text_pair\r\nx,\"a, \"\"b\"\"\nc\",1,\r\n\r\n7,d,,e\r\n";
    let dataset = read(&[("x.CSV", text.as_bytes())]).unwrap();
    assert_eq!(dataset.format, Format::Csv);
    assert_eq!(dataset.rows, [row("a, \"b\"\nc", None, Some("x")), row("d", Some("e"), Some("7"))]);
    assert_eq!(read(&[("x.csv", b"sentence\na\n")]).unwrap().rows, [row("a", None, None)]);
}

#[test]
fn text_is_a_row_a_line() {
    let dataset = read(&[("b.txt", b"one \r\n\n  \ntwo".as_slice()), ("a.txt", b"three")]).unwrap();
    assert_eq!(dataset.rows, [row("one ", None, None), row("two", None, None), row("three", None, None)]);
}

#[test]
fn each_bad_row_is_told_with_its_line() {
    let lines = [
        (r#"{"text":"good"}"#, ""),
        (r#"["text"]"#, "an object with"),
        (r#"{"text":"a""#, "EOF"),
        (r#"{"text":"a"} {"text":"b"}"#, "trailing"),
        (r#"{"text":5}"#, "\"text\" must be a string; a number was given"),
        (r#"{"text":null}"#, "null was given"),
        (r#"{"text":"  "}"#, "the text is empty"),
        (r#"{"body":"a","title":"b"}"#, "found \"body\", \"title\""),
        ("{}", "found nothing"),
        (r#"{"text":"a","sentence":"b"}"#, "both"),
        (r#"{"text":"a","text":"b"}"#, "\"text\" stands twice"),
        (r#"{"text":"a","Labels":"b"}"#, "is \"label\" meant?"),
        (r#"{"text":"a","text-pair":"b"}"#, "is \"text_pair\" meant?"),
        (r#"{"text":"a","text_pair":["b"]}"#, "an array was given"),
        (r#"{"text":"a","label":[1.5]}"#, "a string or a number; an array was given"),
        (r#"{"text":"a","label":true}"#, "true or false was given"),
        (r#"{"text":"a","label":""}"#, "the label is empty"),
        (r#"{"text":"a","label":"b\u0000"}"#, "control characters"),
        (r#"{"text":"a\ud800"}"#, "not a row"),
    ];
    let file: Vec<&str> = lines.iter().map(|(line, _)| *line).collect();
    let problems = problems(&[("a/x.jsonl", file.join("\n").as_bytes())]);
    assert_eq!(problems.len(), lines.len() - 1);
    for ((problem, (line, wanted)), number) in problems.iter().zip(&lines[1..]).zip(2..) {
        assert_eq!(problem.pointer, format!("/files/a~1x.jsonl/lines/{number}"));
        assert_eq!(problem.code, Code::DatasetRowInvalid);
        assert!(problem.detail.contains(wanted), "{line}: {problem}");
    }
}

#[test]
fn twenty_problems_are_shown_and_the_rest_counted() {
    let problems = problems(&[("x.jsonl", "{}\n".repeat(500).as_bytes())]);
    assert_eq!(problems.len(), 21);
    assert!(problems[20].detail.starts_with("480 more"), "{}", problems[20]);
}

#[test]
fn rows_are_bounded_and_utf8() {
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat((1 << 20) - 11));
    assert_eq!(long.len(), 1 << 20);
    assert_eq!(read(&[("x.jsonl", long.as_bytes())]).unwrap().rows.len(), 1);
    let longer = format!("a\n{}", "x".repeat((1 << 20) + 1));
    let found = problems(&[("x.txt", longer.as_bytes())]);
    assert_eq!((found.len(), found[0].pointer.as_str()), (1, "/files/x.txt/lines/2"));
    let found = problems(&[("x.txt", b"good\nb\xffd")]);
    assert!(found[0].detail.contains("not UTF-8 from byte 1"), "{}", found[0]);
    let found = problems(&[("x.csv", b"text\ngood\nb\xffd")]);
    assert!(found[0].detail.contains("not UTF-8 from its byte 1"), "{}", found[0]);
    assert_eq!(found[0].pointer, "/files/x.csv/lines/3");
}

#[test]
fn a_dataset_has_at_most_so_many_rows() {
    let mut rows = super::super::rows::Rows::new(2);
    super::super::text::read("x.txt", b"a\nb\n\n", &mut rows);
    assert_eq!(rows.finish(Format::Text).unwrap().rows.len(), 2);
    for (path, bytes) in [("x.txt", b"a\nb\nc\nd".as_slice()), ("x.csv", b"text\na\nb\nc\nd\n")] {
        let mut rows = super::super::rows::Rows::new(2);
        match path {
            "x.txt" => super::super::text::read(path, bytes, &mut rows),
            _ => super::super::csv::read(path, bytes, &mut rows),
        }
        let found = rows.finish(Format::Text).unwrap_err().problems();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].code, Code::DatasetInvalid);
    }
}

#[test]
fn bad_csv_is_told() {
    for (file, pointer, wanted) in [
        ("text,label\na,x\nb\n", "/files/x.csv/lines/3", "1 columns where the header row has 2"),
        ("body\na\n", "/files/x.csv", "the header row has no \"text\"; found \"body\""),
        ("text,text\na,b\n", "/files/x.csv", "stands twice"),
        ("text,Label\na,b\n", "/files/x.csv", "is \"label\" meant?"),
        ("text,label\n,b\n", "/files/x.csv/lines/2", "the text is empty"),
    ] {
        let found = problems(&[("x.csv", file.as_bytes())]);
        assert_eq!((found.len(), found[0].pointer.as_str()), (1, pointer), "{found:?}");
        assert!(found[0].detail.contains(wanted), "{}", found[0]);
    }
    // A quote that is never closed must not take the rest of the file into memory.
    let open = format!("text\ngood\n\"{}", "x\n".repeat(3 << 20));
    let found = problems(&[("x.csv", open.as_bytes())]);
    assert!(found[0].detail.contains("is a quote not closed?"), "{}", found[0]);
}

#[test]
fn what_is_wrong_with_the_whole() {
    for (files, code) in [
        (vec![], Code::DatasetInvalid),
        (vec![("x.jsonl", "")], Code::DatasetInvalid),
        (vec![("x.csv", "text,label\n")], Code::DatasetInvalid),
        (vec![("x.parquet", "PAR1")], Code::DatasetInvalid),
        (vec![("x.txt", "a"), ("x.jsonl", "{\"text\":\"a\"}")], Code::DatasetInvalid),
        (vec![("x.tar", "a")], Code::ArchiveRefused),
        (vec![("x.jsonl.gz", "a")], Code::ArchiveRefused),
        (vec![("x.pkl", "a")], Code::PickleRefused),
        (vec![("x.jsonl", "{\"text\":\"a\"}\n{\"text\":\"a\",\"label\":\"b\"}")], Code::DatasetInvalid),
        (vec![("x.csv", "text,label\na,b\nc,\n")], Code::DatasetInvalid),
    ] {
        let bytes: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
        let found = problems(&bytes);
        assert_eq!((found.len(), found[0].code), (1, code), "{files:?}: {found:?}");
    }
}

#[test]
fn the_summary_counts() {
    let lines = r#"{"text":"a  b","text_pair":"c","label":"x"}
        {"text":"d","label":"z"}
        {"text":"d","label":"y"}
        {"text":"e","label":"z"}"#;
    let summary = read(&[("x.jsonl", lines.as_bytes())]).unwrap().summary();
    assert_eq!((summary.format.as_str(), summary.rows, summary.words, summary.duplicates), ("jsonl", 4, 6, 1));
    let labels: Vec<(&str, u64)> = summary.labels.iter().map(|count| (count.label.as_str(), count.rows)).collect();
    assert_eq!(labels, [("z", 2), ("x", 1), ("y", 1)]);
    assert_eq!(summary.row_hashes[1], summary.row_hashes[2]);
    // printf 'd\037' | sha256sum
    assert_eq!(summary.row_hashes[1], "1c7296d91ba379eeb233b49bd69f5ed4");
}

#[test]
fn a_hash_is_of_both_texts_and_not_the_label() {
    let hash = |text: &str, pair: Option<&str>, label: Option<&str>| row_hash(&row(text, pair, label));
    assert_eq!(hash("a", Some("b"), None), hash("a", Some("b"), Some("x")));
    assert_ne!(hash("ab", None, None), hash("a", Some("b"), None));
    assert_ne!(hash("a", Some("b"), None), hash("b", Some("a"), None));
}

/// Its hashes, as of a dataset that is no plain text.
fn rows_of(dataset: &Dataset) -> Hashes<'_> {
    assert_eq!(dataset.format, Format::Jsonl);
    Hashes::of(dataset)
}

#[test]
fn a_tenth_is_held_out_the_same_each_time_and_equal_rows_stay_together() {
    let rows: Vec<Row> = (0..1000).map(|i| row(&format!("row {}", i % 700), None, None)).collect();
    let dataset = Dataset { format: Format::Jsonl, rows, ..Dataset::default() };
    let split = dataset.split_held_out(1, 0.1);
    assert_eq!(split, dataset.split_held_out(1, 0.1));
    assert_ne!(split, dataset.split_held_out(2, 0.1));
    // The last group may have two rows.
    assert!((100..=101).contains(&split.held_out.len()));
    let mut all = [split.kept.clone(), split.held_out.clone()].concat();
    assert!(split.kept.is_sorted() && split.held_out.is_sorted());
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
    let (kept, held_out) = (dataset.select(&split.kept), dataset.select(&split.held_out));
    assert_eq!(overlap(&rows_of(&kept).prints(), &rows_of(&held_out).prints()), None);
    // Drawn from everywhere, not from one end.
    let (low, high): (Vec<usize>, Vec<usize>) = split.held_out.iter().partition(|at| **at < 500);
    assert!(low.len() > 25 && high.len() > 25, "{} {}", low.len(), high.len());
}

#[test]
fn few_rows_split_too() {
    for (rows, held_out) in [(0, 0), (1, 0), (2, 1), (5, 1)] {
        let rows: Vec<Row> = (0..rows).map(|i| row(&i.to_string(), None, None)).collect();
        let split = Dataset { rows, ..Dataset::default() }.split_held_out(0, 0.1);
        assert_eq!(split.held_out.len(), held_out);
    }
    // With nothing to keep apart, there is still something to measure on
    for (rows, held_out) in [(1, vec![]), (2, vec![1]), (5, vec![4])] {
        let same = Dataset { rows: vec![row("a", None, None); rows], ..Dataset::default() };
        let split = same.split_held_out(0, 0.5);
        assert_eq!((split.kept.len(), split.held_out), (rows - held_out.len(), held_out));
    }
}

proptest! {
    #[test]
    fn two_rows_or_more_have_two_sides(texts in prop::collection::vec(0..4_u8, 2..12), seed: u64, fraction in -0.5..1.5) {
        let rows: Vec<Row> = texts.iter().map(|text| row(&text.to_string(), None, None)).collect();
        let dataset = Dataset { rows, ..Dataset::default() };
        let split = dataset.split_held_out(seed, fraction);
        prop_assert_eq!(&split, &dataset.split_held_out(seed, fraction));
        prop_assert!(!split.kept.is_empty() && !split.held_out.is_empty());
        let mut all = [split.kept.clone(), split.held_out.clone()].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..texts.len()).collect::<Vec<_>>());
        if texts.iter().any(|text| *text != texts[0]) {
            prop_assert!(split.held_out.iter().all(|out| split.kept.iter().all(|kept| texts[*kept] != texts[*out])));
        }
    }
}

#[test]
fn the_fixtures_are_read() {
    let Some(folder) = fixture("data/sections") else { return };
    let read = |name: &str| Dataset::read(&[input(name, &folder.join(name))]).unwrap();
    let (train, test) = (read("train.jsonl"), read("test.jsonl"));
    assert_eq!((train.rows.len(), test.rows.len()), (12_291, 2000));
    let summary = test.summary();
    assert_eq!(summary.labels.len(), 20);
    assert_eq!(summary.labels.iter().map(|count| count.rows).sum::<u64>(), 2000);
    assert_eq!(overlap(&rows_of(&train).prints(), &rows_of(&test).prints()), None);
    assert_eq!(overlap(&rows_of(&test).prints(), &rows_of(&test).prints()).unwrap().rows, 2000);
}

proptest! {
    /// Whatever the bytes are: rows or problems, never a panic.
    #[test]
    fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), name in "x\\.(jsonl|csv|txt)") {
        let _ = read(&[(&name, &bytes)]);
    }

    /// Near misses: pieces of the formats, shuffled.
    #[test]
    fn near_misses_are_read_or_refused(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["{", "}", "\"text\"", "\"label\"", "\"tokens\"", "\"tags\"", ":", ",", "\"", "\n", "\r", "text", "label", "1", "null", "é", "\\u", "[", "]"]),
            0..40,
        ),
        name in "x\\.(jsonl|csv|txt)",
    ) {
        let _ = read(&[(&name, pieces.concat().as_bytes())]);
    }

    /// Every row that CSV and JSON can say comes back as it was.
    #[test]
    fn rows_come_back(texts in prop::collection::vec(("[^\\s\0]\\PC{0,20}", "\\PC{0,5}[a-z]"), 1..10)) {
        let json: Vec<String> = texts
            .iter()
            .map(|(text, label)| serde_json::json!({ "text": text, "label": label }).to_string())
            .collect();
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(["text", "label"]).unwrap();
        for (text, label) in &texts {
            writer.write_record([text, label]).unwrap();
        }
        let wanted: Vec<Row> = texts.iter().map(|(text, label)| row(text, None, Some(label))).collect();
        prop_assert_eq!(&read(&[("x.jsonl", json.join("\n").as_bytes())]).unwrap().rows, &wanted);
        prop_assert_eq!(&read(&[("x.csv", &writer.into_inner().unwrap())]).unwrap().rows, &wanted);
        let distinct: HashSet<RowHash> = wanted.iter().map(row_hash).collect();
        prop_assert_eq!(distinct.len(), texts.iter().map(|(text, _)| text).collect::<HashSet<_>>().len());
    }
}
