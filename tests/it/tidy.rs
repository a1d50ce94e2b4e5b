//! Holds the directions and the purity that ARCHITECTURE.md promises, by reading the tree.

use std::fs;
use std::path::{Path, PathBuf};

/// Files longer than this have two ideas in them.
const MOST_LINES: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} holds no Rust file: was it moved?");
    found
}

fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Lines of code that contain one of the words, without comments.
fn lines_with(sources: &[(String, String)], words: &[&str]) -> Vec<String> {
    let mut hits = Vec::new();
    for (name, text) in sources {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                hits.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    hits
}

fn refuse(folder: &str, words: &[&str], why: &str) {
    let hits = lines_with(&sources(folder), words);
    assert!(hits.is_empty(), "{why}:\n{}", hits.join("\n"));
}

#[test]
fn the_engine_is_pure() {
    let outside = [
        "tokio",
        "axum",
        "sqlx",
        "object_store",
        "reqwest",
        "tracing::",
        "std::env",
        "Instant::now",
        "SystemTime",
        "chrono::",
        "std::net",
        "std::process",
        "crate::db",
        "crate::http",
        "crate::store",
        "crate::worker",
        "crate::cli",
        "crate::config",
        "crate::system",
        "crate::postgres",
    ];
    refuse("src/engine", &outside, "the engine knows no HTTP, SQL, async, environment, network or clock");
}

#[test]
fn http_and_worker_meet_in_rows_and_blobs_alone() {
    refuse("src/http", &["crate::worker", "crate::cli"], "http never imports the worker or the command line");
    refuse("src/worker", &["crate::http", "crate::cli"], "the worker never imports http or the command line");
    let above = ["crate::http", "crate::worker", "crate::cli"];
    refuse("src/db", &above, "the database layer knows nobody above it");
    refuse("src/store", &above, "the store knows nobody above it");
    refuse("src/store", &["crate::db"], "the store knows no rows");
    refuse("src/postgres", &above, "the private cluster knows nobody above it");
}

#[test]
fn sql_is_written_in_db_alone() {
    let sources: Vec<_> = sources("src")
        .into_iter()
        .filter(|(name, _)| !name.starts_with("src/db/") && !name.starts_with("src/postgres/") && name != "src/id.rs")
        .collect();
    let hits = lines_with(&sources, &["sqlx::query", "query!", "query_as!", "query_scalar!"]);
    assert!(hits.is_empty(), "SQL outside db:\n{}", hits.join("\n"));
}

#[test]
fn the_matrix_crates_are_named_in_their_rooms_alone() {
    let rooms = [("src/engine/linalg/", ["faer::", "use faer"]), ("src/engine/kernels/", ["gemm::", "pulp::"])];
    for (room, words) in rooms {
        let sources: Vec<_> = sources("src").into_iter().filter(|(name, _)| !name.starts_with(room)).collect();
        let hits = lines_with(&sources, &words);
        assert!(hits.is_empty(), "outside {room}:\n{}", hits.join("\n"));
    }
}

#[test]
fn unsafe_code_is_where_it_may_be_and_says_why() {
    let may = |name: &str| name.starts_with("src/engine/kernels/") || name == "src/engine/model/checkpoint/map.rs";
    for (name, text) in sources("src") {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !code.contains("unsafe {") && !code.contains("unsafe fn") && !code.contains("unsafe impl") {
                continue;
            }
            assert!(may(&name), "{name}:{}: unsafe code", number + 1);
            let said = lines.iter().take(number).rev().take(6).any(|l| l.contains("SAFETY:"));
            assert!(said, "{name}:{}: unsafe without SAFETY:", number + 1);
        }
    }
}

#[test]
fn files_have_one_idea() {
    let long: Vec<_> = sources("src")
        .into_iter()
        .chain(sources("tests"))
        .filter(|(_, text)| text.lines().count() > MOST_LINES)
        .map(|(name, text)| format!("{name}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn every_method_names_its_source() {
    for method in pare::engine::method::METHODS {
        let spec = method.spec();
        assert!(
            !spec.source.is_empty() && spec.summary.ends_with('.'),
            "{} does not say where it comes from",
            spec.name
        );
        let file = format!("src/engine/method/{}.rs", spec.name);
        assert!(root().join(&file).exists(), "the method '{}' is not in {file}", spec.name);
    }
}

#[test]
fn the_readme_shows_the_methods_that_there_are() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let table = pare::cli::methods::markdown();
    assert!(readme.contains(table.trim()), "README.md's table is not `pare methods --markdown`:\n{table}");
}
