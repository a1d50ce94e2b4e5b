//! Reads a `report.json` that anyone may have written.

use serde::Deserialize;
use serde_path_to_error::Segment;

use super::{Report, VERSION};
use crate::engine::findings::tame;
use crate::engine::problem::{Code, Problem, escape_pointer};

/// The longest report that is read. One of a model with a thousand sites has less than 1 MiB.
pub const MOST_BYTES: u64 = 32 << 20;

/// What is read before anything else: a report of another version has other fields.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Report {
    /// Reads a report. Numbers that do not belong together are not looked for: see
    /// [`verify::own`](super::verify::own).
    ///
    /// # Errors
    ///
    /// A document that is too long, is no JSON, nests deeper than 128, is of another version, or has a field that is
    /// unknown, missing or of the wrong type; pointers into the document.
    pub fn read(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        if bytes.len() as u64 > MOST_BYTES {
            let detail = format!("the report has more than {MOST_BYTES} bytes, the most that is read of one");
            return Err(vec![Problem::new("", Code::OutOfRange, detail)]);
        }
        // serde takes a list for a struct, too
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            let detail = "the report is not JSON that begins with '{': an object is needed";
            return Err(vec![Problem::new("", Code::WrongType, detail)]);
        }
        let head: Head = parse(bytes)?;
        if head.version != VERSION {
            let detail = format!("the report's format is version {}; this pare reads version {VERSION}", head.version);
            return Err(vec![Problem::new("/version", Code::OutOfRange, detail)]);
        }
        parse(bytes)
    }
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Vec<Problem>> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| vec![problem(&pointer(error.path()), error.inner())])?;
    reader.end().map_err(|error| vec![problem("", &error)])?;
    Ok(value)
}

fn problem(pointer: &str, error: &serde_json::Error) -> Problem {
    let message = tame(error);
    if !error.is_data() {
        return Problem::new(pointer, Code::WrongType, format!("the report is not JSON: {message}"));
    }
    let code = if message.starts_with("unknown field") {
        Code::UnknownField
    } else if message.starts_with("missing field") {
        Code::MissingField
    } else {
        Code::WrongType
    };
    Problem::new(pointer, code, format!("{message}: report.schema.json says what a report holds"))
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", escape_pointer(&tame(key))),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::sample;
    use super::*;

    fn refused(bytes: &[u8]) -> Problem {
        Report::read(bytes).unwrap_err().remove(0)
    }

    fn changed(pointer: &str, value: Value) -> Problem {
        let mut document = serde_json::to_value(sample::compressed()).unwrap();
        *document.pointer_mut(pointer).unwrap() = value;
        refused(document.to_string().as_bytes())
    }

    #[test]
    fn what_was_written_reads_back() {
        for mut report in [sample::compressed(), sample::without_labels(), sample::alone(), sample::embedding()] {
            let bytes = report.finish().unwrap();
            assert_eq!(Report::read(&bytes).unwrap(), report);
        }
    }

    #[test]
    fn a_report_that_is_cut_off_anywhere_is_a_problem() {
        let bytes = sample::alone().finish().unwrap();
        // The last byte is the line's end
        for length in (0..bytes.len() - 2).step_by(7).chain([bytes.len() - 2]) {
            assert!(refused(&bytes[..length]).detail.contains("not JSON"), "cut to {length} bytes");
        }
        assert!(refused(&[bytes.as_slice(), b"{}"].concat()).detail.contains("trailing"));
    }

    #[test]
    fn wrong_types_huge_numbers_and_unknown_fields_are_problems_where_they_stand() {
        let wrong = [
            ("/result/after/size_bytes", json!(-1)),
            ("/result/after/size_bytes", json!(1.5)),
            ("/result/sites/3/bits", json!(1_u64 << 40)),
            ("/result/sites", json!({})),
            ("/result/stages/0/quality/accuracy/value", json!("high")),
            ("/provenance/threads", json!(null)),
            ("/result/after/quality/accuracy/n", json!([])),
        ];
        for (pointer, value) in wrong {
            let problem = changed(pointer, value);
            assert_eq!((problem.pointer.as_str(), problem.code), (pointer, Code::WrongType), "{problem}");
        }
        assert_eq!(changed("/version", json!(2)).pointer, "/version");
        let text = String::from_utf8(sample::compressed().finish().unwrap()).unwrap();
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            refused(text.replacen(from, to, 1).as_bytes())
        };
        assert!(refused("\"low\": 0.", "\"low\": 1e999, \"x\": 0.").detail.contains("number out of range"));
        assert!(refused("\"size_bytes\": ", "\"size_bytes\": 99999999999999999999").code == Code::WrongType);
        assert_eq!(refused("\"verdict\"", "\"verdicts\"").code, Code::UnknownField);
        assert_eq!(refused("\"total_bytes\": 46216894,", "").code, Code::MissingField);
    }

    #[test]
    fn deep_nesting_and_long_documents_are_problems() {
        for deep in [100_000, 200] {
            let nested = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
            assert!(refused(nested.as_bytes()).detail.contains("not JSON"));
            let mut document = serde_json::to_value(sample::compressed()).unwrap();
            document["result"]["training"] = json!({ "x": 1 });
            let text = document.to_string().replace("{\"x\":1}", &format!("{{\"x\":{nested}}}"));
            assert!(refused(text.as_bytes()).detail.contains("recursion limit"));
        }
        let long = vec![b' '; MOST_BYTES as usize + 1];
        assert_eq!(refused(&long).code, Code::OutOfRange);
    }
}
