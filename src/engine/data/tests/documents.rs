//! Text as it is, for language modelling.

use super::*;

fn documents_of(files: &[(&str, &[u8])]) -> Result<Vec<String>> {
    let folder = tempfile::TempDir::new().unwrap();
    let mut inputs = Vec::new();
    for (at, (path, bytes)) in files.iter().enumerate() {
        let location = folder.path().join(at.to_string());
        std::fs::write(&location, bytes).unwrap();
        inputs.push(input(path, &location));
    }
    documents(&inputs)
}

#[test]
fn a_text_file_is_one_string_with_its_line_ends() {
    let text = "\u{feff}  one \r\n\n\n\ttwo\rthree\n\n";
    assert_eq!(documents_of(&[("a.txt", text.as_bytes())]).unwrap(), ["  one \r\n\n\n\ttwo\rthree\n\n"]);
    let files: [(&str, &[u8]); 3] = [("a.txt", b"one\n"), ("b.text", b" \n"), ("c.TXT", b"two")];
    assert_eq!(documents_of(&files).unwrap(), ["one\n", "two"]);
}

#[test]
fn a_row_of_another_format_is_a_document() {
    let lines = b"{\"text\":\"a\\nb\",\"label\":\"x\"}\n{\"text\":\"c\",\"label\":\"y\"}";
    assert_eq!(documents_of(&[("a.jsonl", lines)]).unwrap(), ["a\nb", "c"]);
    assert_eq!(documents_of(&[("a.csv", b"text\n\"a\nb\"\n")]).unwrap(), ["a\nb"]);
}

#[test]
fn what_is_no_text_is_told() {
    for (files, wanted) in [
        (vec![], "no rows"),
        (vec![("a.txt", b" \n".as_slice())], "no text"),
        (vec![("a.txt", b"ab\xffc".as_slice())], "\"a.txt\": not UTF-8 from its byte 2 on"),
        (vec![("a.txt", b"a".as_slice()), ("b.jsonl", b"{\"text\":\"a\"}".as_slice())], "use one format"),
        (vec![("a.parquet", b"a".as_slice())], "rows are read from"),
    ] {
        let found = documents_of(&files).unwrap_err().problems().remove(0);
        assert!(found.detail.contains(wanted), "{files:?}: {found}");
    }
    let long = vec![b'x'; (64 << 20) + 1];
    let found = documents_of(&[("a.txt", &long)]).unwrap_err().problems().remove(0);
    assert!(found.code == Code::DatasetInvalid && found.detail.contains("at most 67108864"), "{found}");
}

#[test]
fn the_fixtures_text_is_read_whole() {
    let Some(path) = fixture("data/docs-text/test.txt") else { return };
    let texts = documents(&[input("test.txt", &path)]).unwrap();
    assert_eq!(texts, [std::fs::read_to_string(&path).unwrap()]);
}
