//! Files that are refused before a byte of them is stored: pickles run code when they are opened, archives unpack to
//! what they like. Told by name and by their first bytes.

use super::Purpose;
use crate::engine::model::inspect::refusal;
use crate::engine::problem::Code;

/// Bytes that the rules look at: tar has its mark at 257.
pub(super) const HEAD_BYTES: usize = 512;

/// Why a file of that name is refused.
pub(super) fn by_name(path: &str, purpose: Purpose) -> Option<(Code, String)> {
    refusal(path).map(|(code, hint)| explain(path, code, hint, purpose))
}

/// Why a file that begins so is refused.
pub(super) fn by_head(path: &str, head: &[u8], purpose: Purpose) -> Option<(Code, String)> {
    if is_safetensors(head) {
        return None;
    }
    // an honest name for what it is, to be told the same
    let honest = if matches!(head, [0x80, 2..=5, ..]) {
        "weights.bin"
    } else if is_archive(head) {
        "files.zip"
    } else if head.starts_with(b"GGUF") {
        "weights.gguf"
    } else {
        return None;
    };
    refusal(honest).map(|(code, hint)| explain(path, code, hint, purpose))
}

fn explain(path: &str, code: Code, hint: &str, purpose: Purpose) -> (Code, String) {
    let hint = match (purpose, code) {
        (Purpose::Model, _) | (_, Code::ArchiveRefused) => hint,
        (Purpose::Dataset, Code::PickleRefused) => "pickles can run code and are never opened: send JSONL, CSV or text",
        (Purpose::Dataset, _) => "a dataset is JSONL, CSV or plain text",
    };
    (code, format!("'{}' is refused: {hint}", super::path::shown(path)))
}

/// A safetensors file begins with its header's length, whose bytes may look like any magic number; then comes `{`.
fn is_safetensors(head: &[u8]) -> bool {
    matches!(head, [_, _, _, _, 0, 0, 0, 0, b'{', ..])
}

fn is_archive(head: &[u8]) -> bool {
    const MAGIC: &[&[u8]] = &[
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"PK\x07\x08",
        b"\x1f\x8b\x08",
        b"\xfd7zXZ\0",
        b"7z\xbc\xaf\x27\x1c",
        b"\x28\xb5\x2f\xfd",
        b"Rar!\x1a\x07",
    ];
    let is_bzip2 = head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY".as_slice());
    let is_tar = head.get(257..262) == Some(b"ustar".as_slice());
    is_bzip2 || is_tar || MAGIC.iter().any(|magic| head.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(path: &str, head: &[u8]) -> Option<Code> {
        by_name(path, Purpose::Model).or_else(|| by_head(path, head, Purpose::Model)).map(|(code, _)| code)
    }

    #[test]
    fn names_decide_whatever_the_case() {
        assert_eq!(code("pytorch_model.bin", b""), Some(Code::PickleRefused));
        assert_eq!(code("a/B.PT", b""), Some(Code::PickleRefused));
        assert_eq!(code("model.tar.gz", b""), Some(Code::ArchiveRefused));
        assert_eq!(code("model.gguf", b""), Some(Code::FormatUnsupported));
        assert_eq!(code("model.safetensors", b"{}"), None);
        assert_eq!(code("bin", b""), None);
    }

    #[test]
    fn first_bytes_decide_where_the_name_lies() {
        let mut tar = [0_u8; HEAD_BYTES];
        tar[257..262].copy_from_slice(b"ustar");
        for (head, expected) in [
            (&b"\x80\x04\x95\x10"[..], Code::PickleRefused),
            (b"\x80\x02}q\x00", Code::PickleRefused),
            (b"PK\x03\x04....", Code::ArchiveRefused),
            (b"\x1f\x8b\x08\x00", Code::ArchiveRefused),
            (b"BZh91AY&SYxx", Code::ArchiveRefused),
            (&tar[..], Code::ArchiveRefused),
            (b"GGUF\x03\0\0\0", Code::FormatUnsupported),
        ] {
            assert_eq!(code("model.safetensors", head), Some(expected), "{head:?}");
        }
        assert_eq!(code("t.txt", b"BZhang wrote this"), None);
    }

    #[test]
    fn a_header_length_that_looks_like_magic_is_no_magic() {
        // header lengths 0x0280 (pickle), 0x088b1f (gzip), 0x04034b50 (zip)
        for length in [0x0280_u64, 0x08_8b1f, 0x0403_4b50] {
            let mut head = length.to_le_bytes().to_vec();
            head.extend(b"{\"a\":");
            assert_eq!(code("model.safetensors", &head), None, "{length:#x}");
        }
    }
}
