//! What the headers of an upload say of its bytes: `Content-Digest` (RFC 9530) and `Content-Range`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::{CONTENT_RANGE, HeaderName};

use crate::http::code;
use crate::http::error::{Error, Result};
use crate::store::Digest;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// The SHA-256 that the client announces for this body. Other algorithms are passed over, as the RFC asks.
pub(super) fn announced(headers: &HeaderMap) -> Result<Option<Digest>> {
    let mut found = None;
    for value in headers.get_all(CONTENT_DIGEST) {
        for member in value.to_str().unwrap_or_default().split(',') {
            let (name, value) = member.trim().split_once('=').unwrap_or((member, ""));
            if name.trim() == "sha-256" {
                let digest = decode(value.trim()).ok_or_else(|| {
                    let detail =
                        "the sha-256 of Content-Digest can't be read: sha-256=:<base64 of 32 bytes>: is wanted";
                    Error::new(code::DIGEST_INVALID, detail)
                })?;
                found = Some(digest);
            }
        }
    }
    Ok(found)
}

/// A byte sequence between colons.
fn decode(value: &str) -> Option<Digest> {
    let coded = value.strip_prefix(':')?.strip_suffix(':')?;
    let bytes: [u8; 32] = BASE64_STANDARD.decode(coded).ok()?.try_into().ok()?;
    Some(Digest::from_bytes(bytes))
}

/// Where a body that does not begin at the start begins: `Content-Range: bytes 100-199/200`, as `curl -C 100 -T` sends
/// it. It must go to the file's end.
pub(in crate::http) fn start(headers: &HeaderMap, size_bytes: u64, part_size_bytes: u64) -> Result<u64> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(0) };
    let given = value.to_str().unwrap_or_default();
    let invalid = || {
        let detail = format!(
            "Content-Range: {given} can't be taken: bytes START-{}/{size_bytes} can, with START a multiple of {part_size_bytes}",
            size_bytes.saturating_sub(1)
        );
        Error::new(code::CONTENT_RANGE_INVALID, detail)
    };
    let range = || {
        let (range, total) = given.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let is_total = total == "*" || total.parse() == Ok(size_bytes);
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let is_rest = first <= last && last.checked_add(1) == Some(size_bytes);
        (is_total && is_rest && first.is_multiple_of(part_size_bytes.max(1))).then_some(first)
    };
    range().ok_or_else(invalid)
}

/// Refuses a range where there is none: what it names would be taken for something else.
pub(super) fn refuse_range(headers: &HeaderMap) -> Result<()> {
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Error::new(code::CONTENT_RANGE_INVALID, "a part is sent whole, without Content-Range"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(values: &[&str]) -> Result<Option<Digest>> {
        announced(&values.iter().map(|value| (CONTENT_DIGEST, value.parse().unwrap())).collect())
    }

    #[test]
    fn the_sha_256_is_found_among_others() {
        // SHA-256 of "0123456789" in base64, by coreutils
        let right = "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:";
        let expected = Some(Digest::of(b"0123456789"));
        assert_eq!(digest(&[right]).unwrap(), expected);
        assert_eq!(digest(&[&format!("sha-512=:AAAA:, {right}")]).unwrap(), expected);
        assert_eq!(digest(&["md5=:AAAA:", right]).unwrap(), expected);
        assert_eq!(digest(&[]).unwrap(), None);
        assert_eq!(digest(&["sha-512=:AAAA:"]).unwrap(), None);
        for wrong in ["sha-256=", "sha-256=:AAAA:", "sha-256=AAAA", "sha-256=:?:", "sha-256"] {
            assert!(digest(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_is_the_rest_of_the_file_from_a_part_on() {
        let at = |text: &str| start(&HeaderMap::from_iter([(CONTENT_RANGE, text.parse().unwrap())]), 250, 100);
        assert_eq!(start(&HeaderMap::new(), 250, 100).unwrap(), 0);
        assert_eq!(at("bytes 100-249/250").unwrap(), 100);
        assert_eq!(at("bytes 200-249/*").unwrap(), 200);
        for wrong in ["", "bytes 50-249/250", "bytes 100-248/250", "bytes 100-249/251", "bytes */250", "rows 0-249/250"]
        {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
