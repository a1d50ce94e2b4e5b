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

/// The rooms of the crate, each with the rooms that it may name.
const ROOMS: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("id", &[]),
    ("telemetry", &[]),
    ("key", &["id"]),
    ("store", &["telemetry"]),
    ("config", &["store"]),
    ("db", &["engine", "id", "telemetry"]),
    ("postgres", &["db"]),
    ("backup", &["db", "postgres", "store"]),
    ("worker", &["config", "db", "engine", "id", "store", "telemetry"]),
    ("http", &["db", "engine", "id", "key", "store", "telemetry"]),
    ("cli", &["backup", "config", "db", "engine", "http", "id", "key", "postgres", "store", "telemetry", "worker"]),
];

/// The room that a file lies in: its folder below `src`, or itself.
fn room(name: &str) -> &str {
    let inside = name.strip_prefix("src/").unwrap_or(name);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

fn first_name(path: &str) -> &str {
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    &path[..end]
}

/// The rooms that code names: `crate::db::find`, `crate::{db, store::Store}`.
fn named(code: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for after in code.split("crate::").skip(1) {
        let Some(group) = after.strip_prefix('{') else {
            rooms.push(first_name(after));
            continue;
        };
        let mut depth = 1;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || depth == 1 && c == ',' {
                rooms.push(first_name(group[start..at].trim()));
                start = at + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    rooms.into_iter().filter(|room| !room.is_empty()).collect()
}

#[test]
fn the_words_of_a_path_are_understood() {
    assert_eq!(named("use crate::db::jobs; use crate::http;"), ["db", "http"]);
    assert_eq!(named("use crate::{db, store::{self, Store}, worker};"), ["db", "store", "worker"]);
    assert_eq!(named("fn plain() {}"), [""; 0]);
    assert_eq!((room("src/http/mod.rs"), room("src/id.rs")), ("http", "id"));
}

#[test]
fn rooms_name_those_below_them_alone() {
    let mut wrong = Vec::new();
    for (name, text) in sources("src") {
        let room = room(&name);
        if ["lib", "main"].contains(&room) {
            continue;
        }
        let Some((_, may)) = ROOMS.iter().find(|(known, _)| *known == room) else {
            wrong.push(format!("{name}: which rooms may '{room}' name? say so in ROOMS"));
            continue;
        };
        // as one text, since a group's names stand on lines of their own
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        let code = code.join("\n");
        let strange = named(&code)
            .into_iter()
            .filter(|other| *other != room && !may.contains(other) && ROOMS.iter().any(|(known, _)| known == other));
        wrong.extend(strange.map(|other| format!("{name}: names {other}")));
    }
    assert!(wrong.is_empty(), "against the directions:\n{}", wrong.join("\n"));
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
    ];
    refuse("src/engine", &outside, "the engine knows no HTTP, SQL, async, environment, network or clock");
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
    let may = |name: &str| name.starts_with("src/engine/kernels/") || name == "src/engine/map.rs";
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
