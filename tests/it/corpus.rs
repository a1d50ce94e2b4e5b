//! The corpus that fuzzing left behind, through the same checks: what broke once does not break again.

use std::fs;
use std::path::Path;

#[allow(unreachable_pub)] // it is a crate of its own for the targets
#[path = "../../fuzz/src/lib.rs"]
mod properties;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{} holds {} files: was it moved?", folder.display(), files.len());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let done = std::panic::catch_unwind(|| check(&bytes));
        assert!(done.is_ok(), "{} breaks a promise", file.display());
    }
}

#[test]
fn headers_of_the_corpus() {
    replay("safetensors_header", properties::safetensors_header);
}

#[test]
fn recipes_of_the_corpus() {
    replay("recipe", properties::recipe);
}

#[test]
fn cursors_of_the_corpus() {
    replay("cursor", properties::cursor);
}

#[test]
fn ranges_of_the_corpus() {
    replay("range", properties::range);
}

#[test]
fn part_lists_of_the_corpus() {
    replay("part_list", properties::part_list);
}

#[test]
fn rows_of_bits_of_the_corpus() {
    replay("dense_packing", properties::dense_packing);
}

#[test]
fn codes_of_the_corpus() {
    replay("codes", properties::codes);
}

#[test]
fn coded_tensors_of_the_corpus() {
    replay("coded_tensor", properties::coded_tensor);
}

#[test]
fn tables_of_the_corpus() {
    replay("tables", properties::tables);
}

/// A target that is added is replayed here too.
#[test]
fn every_target_has_a_corpus_that_is_replayed() {
    let names = |folder: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let replayed = [
        "coded_tensor",
        "codes",
        "cursor",
        "dense_packing",
        "part_list",
        "range",
        "recipe",
        "safetensors_header",
        "tables",
    ];
    assert_eq!(names("fuzz_targets"), replayed);
    assert_eq!(names("corpus"), replayed);
}
