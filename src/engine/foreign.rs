//! Files that are never opened: pickles run code, archives unpack to what they like, other formats are not ours to read.
//! Told by their names and their first bytes.

use super::problem::Code;

/// The first bytes that the rules look at: tar has its mark at 257.
pub const HEAD_BYTES: usize = 512;

const PICKLES: &[&str] = &["bin", "pt", "pth", "ckpt", "pkl", "pickle"];
const ARCHIVES: &[&str] = &["zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar"];
const OTHERS: &[&str] = &["gguf", "ggml", "onnx", "h5", "msgpack", "tflite", "npz", "npy", "mlmodel", "pb"];

const ARCHIVE_MAGICS: &[&[u8]] = &[
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK\x07\x08",
    b"\x1f\x8b\x08",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"\x28\xb5\x2f\xfd",
    b"Rar!\x1a\x07",
];

/// What a file is that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Objects of Python, such as `torch.save` writes.
    Pickle,
    /// Files in a file.
    Archive,
    /// Weights or arrays in another format.
    Other,
}

impl Foreign {
    /// What the file's name says.
    pub fn by_name(path: &str) -> Option<Self> {
        let extension = path.rsplit_once('.')?.1.to_ascii_lowercase();
        let named = |list: &[&str]| list.contains(&extension.as_str());
        if named(PICKLES) {
            Some(Self::Pickle)
        } else if named(ARCHIVES) {
            Some(Self::Archive)
        } else {
            named(OTHERS).then_some(Self::Other)
        }
    }

    /// What its first bytes say, whatever it is called.
    pub fn by_head(head: &[u8]) -> Option<Self> {
        // A safetensors file begins with its header's length, whose bytes may look like any mark; `{` follows them
        if matches!(head, [_, _, _, _, 0, 0, 0, 0, b'{', ..]) {
            None
        } else if is_pickle(head) {
            Some(Self::Pickle)
        } else if is_archive(head) {
            Some(Self::Archive)
        } else {
            head.starts_with(b"GGUF").then_some(Self::Other)
        }
    }

    /// The reason's code.
    pub const fn code(self) -> Code {
        match self {
            Self::Pickle => Code::PickleRefused,
            Self::Archive => Code::ArchiveRefused,
            Self::Other => Code::FormatUnsupported,
        }
    }

    /// Why it is refused where a model is wanted, and what to do.
    pub const fn instead_of_a_model(self) -> &'static str {
        match self {
            Self::Pickle => {
                "weights are read from safetensors only. A pickle can run code when it is opened, so it never is. Where \
                you trust it, convert it on your own machine: python -c \"from transformers import AutoModel; \
                AutoModel.from_pretrained('FOLDER').save_pretrained('OUT', safe_serialization=True)\", with the class \
                of your model"
            }
            Self::Archive => "archives are never opened: upload the files themselves",
            Self::Other => "a model is config.json, tokenizer.json and *.safetensors: upload what this was made from",
        }
    }

    /// Why it is refused where rows are wanted, and what to do.
    pub const fn instead_of_rows(self) -> &'static str {
        match self {
            Self::Pickle => "a pickle can run code when it is opened, so it never is: write JSON lines",
            Self::Archive => "archives are never opened: upload the files themselves",
            Self::Other => "rows are read from .jsonl, .csv and .txt files",
        }
    }
}

/// A pickle of protocol 1 to 5, or the zip archive around one that `torch.save` writes, whose first entry is `…/data.pkl`.
fn is_pickle(head: &[u8]) -> bool {
    let torch = || head.starts_with(b"PK\x03\x04") && head.windows(8).any(|name| name == b"data.pkl");
    matches!(head, [0x80, 1..=5, ..]) || torch()
}

fn is_archive(head: &[u8]) -> bool {
    let is_bzip2 = head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY".as_slice());
    let is_tar = head.get(257..262) == Some(b"ustar".as_slice());
    is_bzip2 || is_tar || ARCHIVE_MAGICS.iter().any(|magic| head.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_whatever_the_case() {
        for (path, expected) in [
            ("pytorch_model.bin", Some(Foreign::Pickle)),
            ("a/B.PT", Some(Foreign::Pickle)),
            ("model.tar.gz", Some(Foreign::Archive)),
            ("model.gguf", Some(Foreign::Other)),
            ("model.safetensors", None),
            ("bin", None),
        ] {
            assert_eq!(Foreign::by_name(path), expected, "{path}");
        }
    }

    #[test]
    fn first_bytes_decide_where_the_name_lies() {
        let mut tar = [0_u8; HEAD_BYTES];
        tar[257..262].copy_from_slice(b"ustar");
        for (head, expected) in [
            (&b"\x80\x04\x95\x10"[..], Some(Foreign::Pickle)),
            (b"\x80\x02}q\x00", Some(Foreign::Pickle)),
            (b"PK\x03\x04\0\0\x08\x08\0\0................model/data.pkl", Some(Foreign::Pickle)),
            (b"PK\x03\x04....", Some(Foreign::Archive)),
            (b"\x1f\x8b\x08\x00", Some(Foreign::Archive)),
            (b"BZh91AY&SYxx", Some(Foreign::Archive)),
            (&tar[..], Some(Foreign::Archive)),
            (b"GGUF\x03\0\0\0", Some(Foreign::Other)),
            (b"BZhang wrote this", None),
            (b"", None),
        ] {
            assert_eq!(Foreign::by_head(head), expected, "{head:?}");
        }
    }

    #[test]
    fn a_header_length_that_looks_like_a_mark_is_none() {
        // Header lengths 0x0280 (pickle), 0x088b1f (gzip), 0x04034b50 (zip)
        for length in [0x0280_u64, 0x08_8b1f, 0x0403_4b50] {
            let mut head = length.to_le_bytes().to_vec();
            head.extend(b"{\"a\":");
            assert_eq!(Foreign::by_head(&head), None, "{length:#x}");
        }
    }
}
