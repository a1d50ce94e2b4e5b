//! Headers: each rule, then whatever chance finds.

use proptest::prelude::*;

use super::super::header::parse;
use super::*;

/// The problems of a model with this one file.
fn problems_of(file: &[u8]) -> Vec<Problem> {
    match Model::of(&[("model.safetensors", file)]).open() {
        Ok(_) => Vec::new(),
        Err(EngineError::Invalid(problems)) => problems,
        Err(other) => panic!("{other:?}"),
    }
}

fn codes_of(header: &str, data_bytes: usize) -> Vec<Code> {
    problems_of(&container(header, &vec![0; data_bytes])).into_iter().map(|problem| problem.code).collect()
}

#[test]
fn as_many_tensors_as_are_allowed_open_and_one_more_does_not() {
    let header = |tensors: usize| {
        let one = |i| format!(r#""t{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
        format!("{{{}}}", (0..tensors).map(one).collect::<Vec<_>>().join(","))
    };
    let model = Model::of(&[("model.safetensors", &container(&header(100_000), &[]))]);
    let checkpoint = model.open().unwrap();
    assert_eq!(checkpoint.tensors().len(), 100_000);
    assert_eq!(checkpoint.get("t99999").unwrap().bytes, 0);
    assert_eq!(codes_of(&header(100_001), 0), [Code::SafetensorsHeaderInvalid]);
}

#[test]
fn headers_are_read_strictly() {
    use Code::{
        SafetensorsHeaderInvalid as Header, SafetensorsOffsetsInvalid as Offsets, SafetensorsShapeInvalid as Shape,
    };
    assert_eq!(codes_of(&format!("{{{A}}}"), 24), []);
    assert_eq!(codes_of(&format!("{{{A}}}   "), 24), []);
    assert_eq!(codes_of("{}", 0), []);
    for (header, data_bytes, code) in [
        (format!(" {{{A}}}"), 24, Header),
        (format!("{{{A}}} {{}}"), 24, Header),
        (format!("{{{A},}}"), 24, Header),
        (A.replace("F32\"", "F32\",\"dtype\":\"F32\""), 24, Header),
        (A.replace("F32\"", "F32\",\"strides\":[3,1]"), 24, Header),
        (A.replace("[2,3]", "[2,3.0]"), 24, Header),
        (A.replace("[2,3]", "[1,1,1,1,1,1,1,2,3]"), 24, Header),
        (A.replace("[2,3]", "6"), 24, Header),
        (A.replace("[0,24]", "[0,24,24]"), 24, Header),
        (A.replace("[0,24]", "[0]"), 24, Header),
        (A.replace("[0,24]", "[0,18446744073709551616]"), 24, Header),
        (A.replace("\"a\"", "\"a\\u0000b\""), 24, Header),
        (A.replace("\"a\"", &format!("{:?}", "n".repeat(513))), 24, Header),
        (A.replace("\"dtype\":\"F32\",", ""), 24, Header),
        (format!(r#""__metadata__":{{"x":"1","x":"2"}},{A}"#), 24, Header),
        (format!(r#""__metadata__":{{}},"__metadata__":{{}},{A}"#), 24, Header),
        (format!(r#""__metadata__":null,{A}"#), 24, Header),
        (A.replace("[2,3]", "[2,4]"), 24, Shape),
        (A.replace("[2,3]", "[]"), 24, Shape),
        (A.replace("[2,3]", "[4294967296,4294967296,0]"), 24, Shape),
        (A.replace("[0,24]", "[1,25]"), 25, Offsets),
        (A.to_owned(), 25, Offsets),
        (A.to_owned(), 23, Code::SafetensorsTruncated),
        (A.replace("F32", "C64"), 24, Code::SafetensorsDtypeUnknown),
        // An empty tensor has a place too, and must not lie within another.
        (format!(r#"{A},"e":{{"dtype":"F32","shape":[0],"data_offsets":[12,12]}}"#), 24, Offsets),
    ] {
        let header = if header.starts_with([' ', '{']) { header } else { format!("{{{header}}}") };
        assert_eq!(codes_of(&header, data_bytes), [code], "{header}");
    }
    assert_eq!(codes_of(&format!(r#"{{{A},"e":{{"dtype":"F32","shape":[0],"data_offsets":[24,24]}}}}"#), 24), []);
}

#[test]
fn a_header_at_the_limit_of_its_length_is_read_and_one_beyond_is_not() {
    let padded = |bytes: usize| container(&format!("{{}}{}", " ".repeat(bytes - 2)), &[]);
    assert!(problems_of(&padded(16 << 20)).is_empty());
    let problems = problems_of(&padded((16 << 20) + 1));
    assert_eq!(problems[0].code, Code::SafetensorsHeaderTooLong);
}

#[test]
fn all_problems_are_told_and_many_are_counted() {
    let tensors: Vec<String> =
        (0..30).map(|i| format!(r#""t{i}":{{"dtype":"X","shape":[],"data_offsets":[0,0]}}"#)).collect();
    let problems = problems_of(&container(&format!("{{{}}}", tensors.join(",")), &[]));
    assert_eq!(problems.len(), 21);
    assert!(problems[20].detail.starts_with("10 more"), "{}", problems[20]);
}

#[test]
fn what_a_file_says_is_shown_short_and_without_control_characters() {
    let header = format!(r"{{{}}}", A.replace("F32", &format!("\\u0000\\u001b[2J{}", "x".repeat(1000))));
    let problem = problems_of(&container(&header, &[0; 24])).remove(0);
    assert!(problem.detail.len() < 400, "{}", problem.detail.len());
    assert!(!problem.detail.chars().any(char::is_control));
    // serde quotes the whole of a string that it did not expect
    let header = format!(r"{{{}}}", A.replace("[2,3]", &format!("{:?}", "y".repeat(5000))));
    assert!(problems_of(&container(&header, &[0; 24])).remove(0).detail.len() < 400);
    let header = format!("{{{}}}", A.replace("\"a\"", "\"a/b~c\"").replace("F32", "X"));
    assert_eq!(problems_of(&container(&header, &[0; 24])).remove(0).pointer, "/tensors/a~1b~0c");
}

fn valid_file() -> Vec<u8> {
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt"}},{A},"b":{{"dtype":"F16","shape":[4],"data_offsets":[24,32]}},"c":{{"dtype":"U8","shape":[],"data_offsets":[32,33]}}}}"#
    );
    container(&header, &[0; 33])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Bytes changed, cut, doubled: never a panic, and what opens is sound.
    #[test]
    fn mutated_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        insert in prop::option::of((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..20))),
    ) {
        let mut file = valid_file();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some((at, bytes)) = insert {
            let at = at.index(file.len());
            file.splice(at..at, bytes);
        }
        if let Some(at) = cut {
            file.truncate(at.index(file.len()));
        }
        if let Ok(header) = parse("model.safetensors", &file) {
            let entries = header.entries;
            let covered: usize = entries.iter().map(|entry| entry.range.len()).sum();
            let header = 8 + u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
            prop_assert_eq!(header + covered, file.len());
            for entry in entries {
                prop_assert!(file.get(entry.range.clone()).is_some());
                let elements: usize = entry.shape.iter().product();
                prop_assert_eq!(elements as u64 * entry.dtype.size_bytes(), entry.range.len() as u64);
            }
        }
    }

    /// Changes within the JSON's numbers and punctuation, where most rules are.
    #[test]
    fn mutated_numbers_never_panic(at in any::<prop::sample::Index>(), with in "[0-9\\[\\]{},:\"e.-]{1,3}") {
        let file = valid_file();
        let header = std::str::from_utf8(&file[8..file.len() - 33]).unwrap();
        let at = at.index(header.len());
        let changed = format!("{}{with}{}", &header[..at], &header[at + 1..]);
        let _ = parse("model.safetensors", &container(&changed, &[0; 33]));
    }
}
