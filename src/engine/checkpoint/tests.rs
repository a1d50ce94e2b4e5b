use std::sync::Mutex;

use super::*;
use crate::engine::job::InputFile;

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn on(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

fn given(folder: &Path, key: &str) -> Given {
    let location = folder.join("0");
    fs::write(&location, "block one").unwrap();
    let file = KeptFile { name: "block-1".into(), size_bytes: 9, sha256: sha256(b"block one") };
    Given { step: 3, key: key.into(), files: vec![GivenFile { file, location }] }
}

#[test]
fn a_name_is_short_and_no_path() {
    for name in ["a", "block-1.safetensors", "0_x", &"a".repeat(NAME_BYTES)] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", ".", "..", ".hidden", "a/b", "../a", "A", "ä", "a b", "a\0", &"a".repeat(NAME_BYTES + 1)] {
        assert!(!is_name(name), "{name:?}");
    }
}

#[test]
fn what_fits_is_gone_on_from_and_told_again_with_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let heard = Heard::default();
    let kept = Checkpoint::open(Some(&given(folder.path(), "k")), "k", &heard);
    assert_eq!(*heard.0.lock().unwrap(), [Event::Resumed { step: 3 }]);
    assert_eq!((kept.step(), kept.files().count()), (3, 1));
    assert_eq!(fs::read(kept.file("block-1").unwrap()).unwrap(), b"block one");
    let path = folder.path().join("block-2");
    fs::write(&path, "block two").unwrap();
    let told = kept.next(folder.path(), &[("block-2", &path)], &[]).unwrap().unwrap();
    let Event::Checkpoint { step, key, files } = &told else { panic!("{told:?}") };
    let names: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.size_bytes)).collect();
    assert_eq!((*step, key.as_str(), &names[..]), (4, "k", &[("block-1", 9), ("block-2", 9)][..]));
    assert_eq!(files[1].sha256, sha256(b"block two"));
    let told = kept.next(folder.path(), &[], &["block-1"]).unwrap();
    assert!(matches!(told, Some(Event::Checkpoint { step: 5, files, .. }) if files.len() == 1));
}

#[test]
fn what_does_not_fit_is_left_out_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let good = given(folder.path(), "k");
    let change = |change: &dyn Fn(&mut Given)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad
    };
    for (bad, why) in [
        (change(&|bad| bad.key = "other".into()), "made from something else"),
        (change(&|bad| bad.files[0].file.size_bytes = 8), "'block-1' is damaged"),
        (change(&|bad| bad.files[0].file.sha256 = sha256(b"block two")), "'block-1' is damaged"),
        (change(&|bad| bad.files[0].location = folder.path().join("none")), "'block-1' is damaged"),
        (change(&|bad| bad.files[0].file.name = "../x".into()), "not the name"),
    ] {
        let heard = Heard::default();
        let kept = Checkpoint::open(Some(&bad), "k", &heard);
        assert_eq!((kept.step(), kept.files().count()), (0, 0), "{why}");
        let heard = heard.0.into_inner().unwrap();
        assert!(matches!(&heard[..], [Event::Note { message }] if message.contains(why)), "{heard:?}");
        let told = kept.next(folder.path(), &[], &[]).unwrap();
        assert!(matches!(told, Some(Event::Checkpoint { step: 1, files, .. }) if files.is_empty()));
    }
}

#[test]
fn a_file_that_was_told_of_is_not_told_of_again_with_other_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, path) = (folder.path(), folder.path().join("a"));
    fs::write(&path, "1").unwrap();
    let kept = Checkpoint::open(None, "k", &Heard::default());
    kept.next(folder, &[("a", &path)], &[]).unwrap();
    assert!(kept.next(folder, &[("a", &path)], &["a"]).is_err());
    assert!(kept.next(folder, &[("b", &path)], &[]).is_err(), "it lies under another name");
    assert!(kept.next(folder, &[("..", &folder.join(".."))], &[]).is_err());
    assert!(kept.next(folder, &[], &["a"]).is_ok());
    let many: Vec<(String, PathBuf)> =
        (0..=MOST_FILES).map(|i| format!("f{i}")).map(|name| (name.clone(), folder.join(name))).collect();
    for (_, path) in &many {
        fs::write(path, "").unwrap();
    }
    let new: Vec<(&str, &Path)> = many.iter().map(|(name, path)| (name.as_str(), path.as_path())).collect();
    assert!(kept.next(folder, &new, &[]).is_err());
    assert!(kept.next(folder, &new[1..], &[]).is_ok());
    let nobody = Checkpoint::default();
    assert!(!nobody.is_kept() && nobody.next(folder, &[("a", &path)], &[]).unwrap().is_none());
}

#[test]
fn the_longest_checkpoint_is_a_line_that_is_read() {
    let file = KeptFile { name: "x".repeat(NAME_BYTES), size_bytes: u64::MAX, sha256: sha256(b"") };
    let event = Event::Checkpoint { step: u64::MAX, key: sha256(b""), files: vec![file; MOST_FILES] };
    let line = serde_json::to_string(&event).unwrap();
    assert!(line.len() < 64 << 10, "{}", line.len());
}

#[test]
fn the_key_is_of_what_matters_alone() {
    let file = |location: &str, sha256: &str| InputFile {
        path: "rows.jsonl".into(),
        location: location.into(),
        size_bytes: 1,
        sha256: Some(sha256.into()),
    };
    let input = |location, sha256, threads| Input {
        task: Task::ValidateDataset { dataset: Source { name: "dst_1".into(), files: vec![file(location, sha256)] } },
        threads,
        device: "cpu".into(),
        memory_limit_bytes: None,
        checkpoint: None,
        statistics: None,
    };
    let host = Host::default();
    let here = input("/a/0", "1", 1);
    let basis = key(&here, &host).unwrap();
    assert_eq!(key(&input("/b/7", "1", 2), &host).unwrap(), basis);
    assert_eq!(key(&here, &Host { os: "a newer one".into(), ..host.clone() }).unwrap(), basis);
    assert_ne!(key(&input("/a/0", "2", 1), &host).unwrap(), basis);
    assert_ne!(key(&here, &Host { cpu: "another".into(), ..host.clone() }).unwrap(), basis);
    assert_ne!(key(&here, &Host { binary_sha256: Some("another".into()), ..host }).unwrap(), basis);
}
