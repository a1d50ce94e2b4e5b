//! `Range` and `If-Range` (RFC 9110, section 14) for one range of one file.

use std::ops::Range;

use http::HeaderMap;
use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

/// What of a file was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// All of it.
    Whole,
    /// These bytes: 206.
    Part(Range<u64>),
    /// Bytes that are not there: 416.
    Unsatisfiable,
}

/// Reads the two headers for a file of `size_bytes` with the strong `etag`.
///
/// Several ranges are answered with the whole file, as the RFC allows; so is a range whose `If-Range` names another
/// version, and a unit that is not `bytes`. A range that can't be read is unsatisfiable.
pub fn asked(headers: &HeaderMap, etag: &str, size_bytes: u64) -> Asked {
    let Some(range) = headers.get(RANGE) else { return Asked::Whole };
    if headers.get(IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return Asked::Whole;
    }
    let Some(range) = range.to_str().ok() else { return Asked::Unsatisfiable };
    let Some((unit, spec)) = range.split_once('=') else { return Asked::Unsatisfiable };
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return Asked::Whole;
    }
    bytes(spec.trim(), size_bytes).map_or(Asked::Unsatisfiable, Asked::Part)
}

/// `a-b`, `a-`, or `-n`; `None` where nothing of it is in the file.
fn bytes(spec: &str, size_bytes: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    let range = match (first, last) {
        ("", "") => return None,
        ("", suffix) => size_bytes.saturating_sub(number(suffix)?)..size_bytes,
        (first, "") => number(first)?..size_bytes,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(size_bytes)
        }
    };
    (range.start < range.end).then_some(range)
}

/// Digits; those that overflow are beyond every file.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Whether `If-None-Match` names `etag`, by weak comparison.
pub(super) fn none_match(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn ask(pairs: &[(HeaderName, &str)], size_bytes: u64) -> Asked {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        asked(&headers, "\"abc\"", size_bytes)
    }

    #[test]
    fn one_range_in_all_three_forms() {
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-5", 2..6),
            ("bytes=2-", 2..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
            ("Bytes= 9-99999999999999999999999", 9..10),
        ] {
            assert_eq!(ask(&[(RANGE, range)], 10), Asked::Part(expected), "{range}");
        }
        for bad in ["bytes=10-", "bytes=5-2", "bytes=-0", "bytes=-", "bytes=a-b", "bytes", "bytes=+1-2", "bytes=1"] {
            assert_eq!(ask(&[(RANGE, bad)], 10), Asked::Unsatisfiable, "{bad}");
        }
        assert_eq!(ask(&[(RANGE, "bytes=0-")], 0), Asked::Unsatisfiable);
        for whole in ["bytes=0-1,3-4", "rows=1-2"] {
            assert_eq!(ask(&[(RANGE, whole)], 10), Asked::Whole, "{whole}");
        }
    }

    #[test]
    fn if_range_must_be_the_strong_tag() {
        assert_eq!(ask(&[(RANGE, "bytes=1-1"), (IF_RANGE, "\"abc\"")], 10), Asked::Part(1..2));
        for other in ["\"abd\"", "W/\"abc\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(ask(&[(RANGE, "bytes=1-1"), (IF_RANGE, other)], 10), Asked::Whole, "{other}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let is_match =
            |value: &str| none_match(&[(IF_NONE_MATCH, value.parse().unwrap())].into_iter().collect(), "\"7\"");
        assert!(is_match("\"7\"") && is_match("W/\"7\"") && is_match("\"6\", \"7\"") && is_match("*"));
        assert!(!is_match("7") && !is_match("\"77\""));
    }
}
