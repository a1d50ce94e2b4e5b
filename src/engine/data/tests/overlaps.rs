//! Rows in two datasets, rows twice in one, and where they stand.

use super::*;

fn shared(one: &Dataset, other: &Dataset) -> Option<Overlap> {
    let found = overlap(&Hashes::of(one).prints(), &Hashes::of(other).prints());
    // What is stored says the same
    assert_eq!(found, overlap(&one.summary().prints(), &other.summary().prints()));
    found
}

fn place(file: &str, line: u64) -> Place {
    Place { file: file.to_owned(), line }
}

/// Forty lines of four words; no two of them are the same.
fn passage(what: &str) -> String {
    (0..40).map(|line| format!("the {what} line {line}\n")).collect()
}

#[test]
fn shared_rows_are_counted_and_the_first_are_shown() {
    let lines =
        "{\"text\":\"a\",\"label\":\"x\"}\n\n{\"text\":\"b\",\"label\":\"x\"}\n{\"text\":\"c\",\"label\":\"x\"}";
    let one = read(&[("one.jsonl", lines.as_bytes())]).unwrap();
    let other = read(&[("z.csv", b"label,text\ny,\"q\nr\"\ny,c\ny,b\ny,c\n")]).unwrap();
    let found = shared(&one, &other).unwrap();
    let examples = [(("one.jsonl", 3), ("z.csv", 5)), (("one.jsonl", 4), ("z.csv", 4))];
    let examples = examples
        .map(|(here, there)| Example { here: Some(place(here.0, here.1)), there: Some(place(there.0, there.1)) });
    assert_eq!((found.rows, found.are_passages, found.examples.as_slice()), (2, false, examples.as_slice()));
    assert_eq!(
        found.detail("the evaluation data", "the calibration data"),
        "2 rows of the evaluation data stand in the calibration data too: \"one.jsonl\" line 3 is \"z.csv\" line 5, \
         \"one.jsonl\" line 4 is \"z.csv\" line 4. What is measured on rows that were used before flatters the result: \
         take them out of one of the two"
    );
    assert_eq!(shared(&other, &one).unwrap().rows, 3, "the other's own rows are counted");
    let few = shared(&one, &one).unwrap().detail("a", "b");
    assert!(few.starts_with("3 rows of a stand in b too: ") && !few.contains('…'), "{few}");
    let rows: String = (0..9).map(|row| format!("{{\"text\":\"row {row}\"}}\n")).collect();
    let many = read(&[("many.jsonl", rows.as_bytes())]).unwrap();
    let detail = shared(&many, &many).unwrap().detail("a", "b");
    assert!(detail.contains("\"many.jsonl\" line 3 is \"many.jsonl\" line 3, …. What"), "{detail}");
    assert_eq!(shared(&many, &one), None);
}

#[test]
fn places_survive_files_blank_lines_and_selection() {
    let files: [(&str, &[u8]); 2] = [("a.txt", b"one\ntwo\n\n\nthree"), ("b.txt", b"\n\nfour\nfive\n")];
    let dataset = read(&files).unwrap();
    let expected = [place("a.txt", 1), place("a.txt", 2), place("a.txt", 5), place("b.txt", 3), place("b.txt", 4)];
    let places = |dataset: &Dataset| -> Vec<Place> { (0..9).filter_map(|row| dataset.places.place(row)).collect() };
    assert_eq!(places(&dataset), expected);
    let chosen = dataset.select(&[4, 0, 1, 9]);
    assert_eq!(places(&chosen), [place("b.txt", 4), place("a.txt", 1), place("a.txt", 2)]);
    assert_eq!(chosen.rows.len(), 3);
    let text = serde_json::to_string(&dataset.places).unwrap();
    assert_eq!(text, r#"[{"file":"a.txt","runs":[[1,2],[5,1]]},{"file":"b.txt","runs":[[3,2]]}]"#);
    assert_eq!(serde_json::from_str::<Places>(&text).unwrap(), dataset.places);
    // Numbers that nobody wrote are no reason to stop
    let strange: Places =
        serde_json::from_str(r#"[{"file":"a","runs":[[18446744073709551615,18446744073709551615]]}]"#).unwrap();
    assert_eq!(strange.place(5), Some(place("a", u64::MAX)));
}

#[test]
fn duplicates_are_shown_with_the_first_that_is_the_same() {
    let rows: String = (0..20).map(|row| format!("{{\"text\":\"row {}\"}}\n", row % 8)).collect();
    let summary = read(&[("x.jsonl", rows.as_bytes())]).unwrap().summary();
    assert_eq!((summary.duplicates, summary.first_duplicates.len()), (12, 5));
    let lines: Vec<(u64, u64)> = summary.first_duplicates.iter().map(|one| (one.row.line, one.same_as.line)).collect();
    assert_eq!(lines, [(9, 1), (10, 2), (11, 3), (12, 4), (13, 5)]);
}

#[test]
fn plain_texts_share_passages_not_lines() {
    let text = |path: &str, bytes: &str| read(&[(path, bytes.as_bytes())]).unwrap();
    let heading = "SYNOPSIS\nOPTIONS\n";
    let one = text("one.txt", &format!("{heading}{}{heading}", passage("first")));
    let other = text("other.txt", &format!("{}{heading}{}", passage("second"), passage("third")));
    assert_eq!(shared(&one, &other), None, "headings recur in any text");

    // The same twenty lines in another place are eighty words: the first five begin a passage that both have
    let twenty: String = passage("first").lines().take(20).map(|line| format!("{line}\n")).collect();
    let copied = text("copy.txt", &format!("{heading}\nnew words here\n\n{twenty}{}", passage("fourth")));
    let found = shared(&copied, &one).unwrap();
    assert_eq!((found.rows, found.are_passages), (5, true));
    let example = Example { here: Some(place("copy.txt", 6)), there: Some(place("one.txt", 3)) };
    assert_eq!(found.examples, [example], "a piece is shown once");
    let detail = found.detail("the evaluation data", "the calibration data");
    assert!(
        detail.starts_with("5 lines that begin a passage of 64 words of the evaluation data stand in "),
        "{detail}"
    );

    // A file that is too short for one is a passage as a whole
    let (short, same) = (text("a.txt", "a few\nwords\n"), text("b.txt", "a few\n\nwords"));
    assert_eq!(shared(&short, &same).unwrap().rows, 2);
    assert_eq!(shared(&short, &text("c.txt", "a few\nothers\nwords\n")), None);
    // A passage does not go on in the next file
    let both = read(&[("a.txt", b"a few\n".as_slice()), ("b.txt", b"words\n")]).unwrap();
    assert_eq!(shared(&short, &both), None);
}

#[test]
fn plain_text_and_rows_are_compared_by_rows() {
    let text = read(&[("a.txt", b"a few\nwords\n")]).unwrap();
    let rows = read(&[("b.jsonl", b"{\"text\":\"words\",\"label\":\"x\"}")]).unwrap();
    let found = shared(&rows, &text).unwrap();
    assert_eq!((found.rows, found.examples[0].there.clone()), (1, Some(place("a.txt", 2))));
}

#[test]
fn the_fixtures_texts_are_apart() {
    let Some(folder) = fixture("data/docs-text") else { return };
    let read = |name: &str| Dataset::read(&[input(name, &folder.join(name))]).unwrap();
    let (train, valid, test) = (read("train.txt"), read("valid.txt"), read("test.txt"));
    assert_eq!(shared(&train, &test), None);
    assert_eq!(shared(&valid, &test), None);
    let lines = |dataset: &Dataset| dataset.hashes().into_iter().collect::<std::collections::HashSet<_>>();
    assert!(lines(&train).intersection(&lines(&test)).count() > 100, "though lines recur");
    assert_eq!(shared(&test, &test).unwrap().rows, test.rows.len());
}
