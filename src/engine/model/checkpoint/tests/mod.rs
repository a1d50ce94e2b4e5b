mod header;
mod numbers;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use half::f16;
use tempfile::TempDir;

use super::*;
use crate::engine::context::Silent;
use crate::engine::model::Dtype;

/// The shared fixtures, or `None` where they are not there; the test that asked says that it is skipped.
fn fixtures(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures").join(what);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// The files of a folder, or one file, as an upload has them.
fn upload(path: &Path) -> Vec<InputFile> {
    let files: Vec<PathBuf> = if path.is_dir() {
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    } else {
        vec![path.to_owned()]
    };
    files.into_iter().map(|location| input(location.file_name().unwrap().to_str().unwrap(), &location)).collect()
}

fn input(path: &str, location: &Path) -> InputFile {
    let size_bytes = std::fs::metadata(location).unwrap().len();
    InputFile { path: path.to_owned(), location: location.to_owned(), size_bytes, sha256: None }
}

/// A model of files written to a folder.
struct Model(TempDir, Vec<InputFile>);

impl Model {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let folder = TempDir::new().unwrap();
        let write = |(at, (path, bytes)): (usize, &(&str, &[u8]))| {
            let location = folder.path().join(at.to_string());
            std::fs::write(&location, bytes).unwrap();
            input(path, &location)
        };
        let files = files.iter().enumerate().map(write).collect();
        Self(folder, files)
    }

    fn open(&self) -> Result<Checkpoint> {
        assert!(self.0.path().exists());
        Checkpoint::open(&self.1)
    }
}

/// A safetensors file of this header and so many bytes of data.
fn container(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

const A: &str = r#""a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}"#;

#[test]
fn every_malformed_container_is_refused_with_its_code() {
    let Some(edge) = fixtures("edge") else { return };
    let manifest: Value = serde_json::from_slice(&std::fs::read(edge.join("manifest.json")).unwrap()).unwrap();
    // What is wrong with these is no matter of the container: it opens.
    let opens = [
        "many-tensors.safetensors",
        "missing-tensor/",
        "wrong-shape/",
        "nan-weights/",
        "inf-weights/",
        "all-zero-weights/",
        "wrong-dtype-int/",
        "llama-kv-heads-do-not-divide/",
    ];
    let mut refused = 0;
    for (name, outcome) in manifest["outcomes"].as_object().unwrap() {
        let opened = Checkpoint::open(&upload(&edge.join("malformed").join(name)));
        if opens.contains(&name.as_str()) || name.starts_with("config-") {
            assert!(opened.is_ok(), "{name}: {opened:?}");
            continue;
        }
        let Err(EngineError::Invalid(problems)) = opened else { panic!("{name}: {opened:?}") };
        let allowed = outcome["code"].as_array().unwrap();
        assert!(!problems.is_empty(), "{name}");
        for problem in problems {
            assert!(allowed.iter().any(|code| code == problem.code.as_str()), "{name}: {problem}");
        }
        refused += 1;
    }
    assert!(refused >= 37, "only {refused} were refused");
}

#[test]
fn legal_oddities_open() {
    let Some(folder) = fixtures("edge/valid/container-oddities") else { return };
    let checkpoint = Checkpoint::open(&upload(&folder)).unwrap();
    let names: Vec<&str> = checkpoint.tensors().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a", "empty", "f8", "gew\u{ef}cht/\u{5c64}.0", "i64", "scalar", "u8"]);
    assert_eq!(checkpoint.to_f32("scalar").unwrap(), [2.5]);
    assert!(checkpoint.get("scalar").unwrap().shape.is_empty());
    assert_eq!(checkpoint.get("empty").unwrap().shape, [0, 4]);
    assert!(checkpoint.to_f32("empty").unwrap().is_empty());
    assert_eq!(checkpoint.to_f32("a").unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert!(checkpoint.not_finite(None, &Silent).unwrap().is_empty());
    let error = checkpoint.to_f32("i64").unwrap_err();
    assert_eq!(error.problems()[0].code, Code::TensorDtype);
}

#[test]
fn shards_are_read_by_their_index() {
    let Some(folder) = fixtures("edge/valid/llama-tiny-sharded-bf16") else { return };
    let checkpoint = Checkpoint::open(&upload(&folder)).unwrap();
    assert_eq!(checkpoint.unread(), ["expected.safetensors"]);
    let files: BTreeSet<&str> = checkpoint.tensors().iter().map(|info| info.file.as_str()).collect();
    assert_eq!(files.len(), 3);
    for info in checkpoint.tensors() {
        assert_eq!(info.dtype, Dtype::BF16);
        assert_eq!(checkpoint.bytes(&info.name).unwrap().len() as u64, info.bytes);
        assert_eq!(checkpoint.to_f32(&info.name).unwrap().len(), info.shape.iter().product::<usize>());
    }
}

#[test]
fn a_weight_that_is_not_finite_is_named_with_its_place() {
    let Some(edge) = fixtures("edge/malformed") else { return };
    for (folder, tensor, place) in [
        ("nan-weights", "bert.encoder.layer.1.attention.self.query.weight", "[3, 5]"),
        ("inf-weights", "classifier.weight", "[0, 0]"),
    ] {
        let checkpoint = Checkpoint::open(&upload(&edge.join(folder))).unwrap();
        let problems = checkpoint.not_finite(None, &Silent).unwrap();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].pointer, format!("/tensors/{tensor}"));
        assert_eq!(problems[0].code, Code::TensorNotFinite);
        assert!(problems[0].detail.starts_with("1 of its"), "{}", problems[0]);
        assert!(problems[0].detail.contains(place), "{}", problems[0]);
        assert!(checkpoint.not_finite(Some(&["classifier.bias"]), &Silent).unwrap().is_empty());
    }
}

#[test]
fn which_files_hold_the_weights() {
    let a = container(&format!("{{{A}}}"), &[0; 24]);
    let b = container(&format!("{{{}}}", A.replace("\"a\"", "\"b\"")), &[0; 24]);
    let names = |files: &[(&str, &[u8])]| -> Vec<String> {
        Model::of(files).open().unwrap().tensors().iter().map(|info| info.name.clone()).collect()
    };
    assert_eq!(names(&[("x.safetensors", &a), ("y.safetensors", &b), ("config.json", b"{}")]), ["a", "b"]);
    assert_eq!(names(&[("model.safetensors", &a), ("other.safetensors", b"junk")]), ["a"]);
    let index = br#"{"weight_map":{"b":"y.safetensors"}}"#.as_slice();
    let files = [("model.safetensors", b"junk".as_slice()), ("y.safetensors", &b), (super::index::PATH, index)];
    assert_eq!(names(&files), ["b"]);
    let error = Model::of(&[("x.safetensors", &a), ("y.safetensors", &a)]).open().unwrap_err();
    assert_eq!(error.problems()[0].code, Code::SafetensorsDuplicateName);
    let error = Model::of(&[("config.json", b"{}".as_slice())]).open().unwrap_err();
    assert_eq!(error.problems()[0].code, Code::WeightsMissing);
}

#[test]
fn an_index_must_agree_with_its_shards() {
    let a = container(&format!("{{{A}}}"), &[0; 24]);
    for (index, named) in [
        ("[{\"a\":\"a.safetensors\"}]", "must begin with {"),
        ("{}", "no \"weight_map\""),
        (r#"{"weight_map":{}}"#, "names no tensor"),
        (r#"{"weight_map":{"a":1}}"#, "invalid type"),
        (r#"{"weight_map":{"b":"a.safetensors"}}"#, "does not name it"),
        (r#"{"weight_map":{"a":"a.safetensors","a":"a.safetensors"}}"#, "stands twice"),
        (r#"{"weight_map":{"a":"a.safetensors","b":"a.safetensors"}}"#, "does not have it"),
        (r#"{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}"#, "no such file"),
        (r#"{"weight_map":{"a":"a.safetensors","b":"x/../b.safetensors"}}"#, "without .."),
        (r#"{"weight_map":{"a":"a.safetensors","b":"C:\\b.safetensors"}}"#, "without .."),
        (r#"{"weight_map":{"a":"a.safetensors","b":"config.json"}}"#, "is a .safetensors file"),
    ] {
        let files = [("a.safetensors", a.as_slice()), ("config.json", b"{}"), (super::index::PATH, index.as_bytes())];
        let Err(EngineError::Invalid(problems)) = Model::of(&files).open() else { panic!("{index}") };
        assert!(problems.iter().all(|problem| problem.code == Code::IndexInvalid), "{index}: {problems:?}");
        assert!(problems.iter().any(|problem| problem.detail.contains(named)), "{index}: {problems:?}");
    }
}

#[test]
fn json_files_are_bounded_and_have_no_nul() {
    let a = container(&format!("{{{A}}}"), &[0; 24]);
    let deep = "[".repeat(100_000);
    let files: [(&str, &[u8]); 5] = [
        ("model.safetensors", &a),
        ("config.json", br#"{"model_type":"bert"}"#),
        ("nul.json", br#"{"x":[{"a\u0000":1}]}"#),
        ("deep.json", deep.as_bytes()),
        ("latin.json", b"\"\xff\""),
    ];
    let model = Model::of(&files);
    let checkpoint = model.open().unwrap();
    assert_eq!(checkpoint.json_file("config.json", 21).unwrap().unwrap()["model_type"], "bert");
    assert!(checkpoint.json_file("other.json", 21).unwrap().is_none());
    for (path, most) in [("config.json", 20), ("nul.json", 100), ("deep.json", 1 << 20), ("latin.json", 100)] {
        let problem = checkpoint.json_file(path, most).unwrap_err().problems().remove(0);
        assert_eq!(problem.code, Code::ConfigInvalid, "{path}");
        assert_eq!(problem.pointer, format!("/files/{path}"));
    }
}

/// What the reference library writes, we read alike.
#[test]
fn files_of_the_reference_library_read_back() {
    use safetensors::tensor::{Dtype as Theirs, TensorView, serialize};
    let f32s: Vec<u8> = (0..12).flat_map(|i: i32| (i as f32 * 0.5).to_le_bytes()).collect();
    let halves: Vec<u8> = (0..6).flat_map(|i| f16::from_f32(i as f32).to_le_bytes()).collect();
    let views = [
        ("b/ü", TensorView::new(Theirs::F32, vec![3, 4], &f32s).unwrap()),
        ("a", TensorView::new(Theirs::F16, vec![6], &halves).unwrap()),
        ("none", TensorView::new(Theirs::I64, vec![0, 7], &[]).unwrap()),
    ];
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = serialize(views, Some(metadata)).unwrap();
    let model = Model::of(&[("model.safetensors", &file)]);
    let checkpoint = model.open().unwrap();
    assert_eq!(checkpoint.tensors().len(), 3);
    assert_eq!(checkpoint.bytes("b/ü").unwrap(), f32s);
    assert_eq!(checkpoint.to_f32("a").unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(checkpoint.get("none").unwrap().shape, [0, 7]);
    assert_eq!(checkpoint.get("b/ü").unwrap().dtype, Dtype::F32);
}

#[test]
fn a_tensor_that_is_said_to_be_another_is_read_as_that_one() {
    use safetensors::tensor::{Dtype as Theirs, TensorView, serialize};
    let bytes: Vec<u8> = (0..6).flat_map(|i| f16::from_f32(i as f32).to_le_bytes()).collect();
    let view = || TensorView::new(Theirs::F16, vec![2, 3], &bytes).unwrap();
    let zeros = TensorView::new(Theirs::F16, vec![2, 3], &[0; 12]).unwrap();
    let said = [
        ("format", "pt"),
        ("twin.same", "a"),
        ("b.same", "a"),
        ("c", "a"),
        ("none.same", "none"),
        ("again.same", "twin"),
        ("c\n.same", "a"),
    ];
    let metadata = said.map(|(name, stored_as)| (name.to_owned(), stored_as.to_owned()));
    let file = serialize([("a", view()), ("b", zeros)], Some(HashMap::from(metadata))).unwrap();
    let model = Model::of(&[("model.safetensors", &file)]);
    let checkpoint = model.open().unwrap();
    let names: Vec<_> = checkpoint.tensors().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "twin"], "a tensor of the file is itself; what is said of others counts for nothing");
    let twin = checkpoint.get("twin").unwrap();
    assert_eq!((twin.dtype, twin.shape.as_slice(), twin.bytes), (Dtype::F16, [2, 3].as_slice(), 0));
    assert_eq!(checkpoint.bytes("twin").unwrap(), bytes);
    assert_eq!(checkpoint.to_f32("twin").unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(checkpoint.to_f32("b").unwrap(), [0.0; 6]);
}

#[test]
fn a_short_file_does_not_stand_for_an_endless_model() {
    use safetensors::tensor::{Dtype as Theirs, TensorView, serialize};
    let zeros = vec![0; 1 << 16];
    let opened = |twins: usize| {
        let metadata = (0..twins).map(|i| (format!("twin {i}.same"), "a".to_owned())).collect();
        let view = TensorView::new(Theirs::U8, vec![zeros.len()], &zeros).unwrap();
        let model = Model::of(&[("model.safetensors", &serialize([("a", view)], Some(metadata)).unwrap())]);
        model.open().map(|checkpoint| checkpoint.tensors().len())
    };
    assert_eq!(opened(60).unwrap(), 61);
    let problem = opened(100).unwrap_err().problems().remove(0);
    assert_eq!((problem.code, problem.pointer.as_str()), (Code::SafetensorsHeaderInvalid, "/files/model.safetensors"));
}
