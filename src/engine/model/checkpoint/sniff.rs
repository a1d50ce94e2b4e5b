//! What a file is that should have been safetensors: by its name and its first bytes, never by opening it.

use std::fs::File;
use std::io::Read;

use crate::engine::error::{EngineError, Result};
use crate::engine::findings::{Findings, file_pointer, shown};
use crate::engine::job::InputFile;
use crate::engine::problem::{Code, Problem};

/// First bytes that tell formats apart; tar's magic is the last, at 257.
const FIRST_BYTES: u64 = 512;
/// Problems shown.
const SHOWN: usize = 20;

const PICKLES: &[&str] = &["bin", "pt", "pth", "ckpt", "pkl", "pickle"];
const ARCHIVES: &[&str] = &["zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar"];
const OTHERS: &[&str] = &["gguf", "ggml", "onnx", "h5", "msgpack", "tflite", "npz", "npy", "mlmodel", "pb"];

const CONVERT: &str = "weights are read from safetensors only. A pickle can run code when it is opened, so it never is. \
    Where you trust it, convert it on your own machine: python -c \"from transformers import AutoModel; \
    AutoModel.from_pretrained('FOLDER').save_pretrained('OUT', safe_serialization=True)\", with the class of your model";

/// What a file is, if it is nothing that we read.
fn refused(path: &str, first: &[u8]) -> Option<(Code, &'static str)> {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    let named = |list: &[&str]| list.contains(&extension.as_str());
    if named(PICKLES) || (is_pickle(first) && !named(ARCHIVES)) {
        Some((Code::PickleRefused, CONVERT))
    } else if named(ARCHIVES) || is_archive(first) {
        Some((Code::ArchiveRefused, "archives are never opened: upload the files themselves"))
    } else if named(OTHERS) || first.starts_with(b"GGUF") {
        Some((
            Code::FormatUnsupported,
            "weights are read from safetensors only: upload the model that this was made from",
        ))
    } else {
        None
    }
}

/// What `torch.save` writes: a zip archive with a pickle in it, or the pickle itself, protocol 1 to 5. A header's length may
/// begin with the same two bytes, and `{` follows it.
fn is_pickle(first: &[u8]) -> bool {
    match first {
        [b'P', b'K', 3 | 5, 4 | 6, ..] => true,
        [0x80, 1..=5, ..] => first.get(8) != Some(&b'{'),
        _ => false,
    }
}

fn is_archive(first: &[u8]) -> bool {
    let magics: [&[u8]; 5] =
        [&[0x1f, 0x8b], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z'], b"7z\xbc\xaf\x27\x1c", &[0x28, 0xb5, 0x2f, 0xfd]];
    first.get(257..262) == Some(b"ustar".as_slice()) || magics.iter().any(|magic| first.starts_with(magic))
}

/// A file that calls itself safetensors and begins like a pickle or a GGUF file.
pub(super) fn disguised(path: &str, bytes: &[u8]) -> Option<Problem> {
    let (code, detail) = if is_pickle(bytes) {
        (Code::PickleRefused, CONVERT)
    } else if bytes.starts_with(b"GGUF") {
        (Code::FormatUnsupported, "it is a GGUF file: upload the safetensors that it was made from")
    } else {
        return None;
    };
    Some(Problem::new(file_pointer(path), code, format!("{}: {detail}", shown(path))))
}

/// Why a model without a safetensors file is refused.
///
/// # Errors
///
/// [`EngineError::Io`] where a file can't be read.
pub(super) fn nothing(files: &[InputFile]) -> Result<EngineError> {
    let mut findings = Findings::up_to(SHOWN);
    for file in files {
        let mut first = Vec::new();
        File::open(&file.location)
            .and_then(|opened| opened.take(FIRST_BYTES).read_to_end(&mut first))
            .map_err(EngineError::io(&file.location, "read"))?;
        if let Some((code, detail)) = refused(&file.path, &first) {
            findings.add(file_pointer(&file.path), code, format!("{}: {detail}", shown(&file.path)));
        }
    }
    if findings.is_empty() {
        let detail = "the model has no .safetensors file: upload model.safetensors, or the shards and their index";
        findings.add("/files", Code::WeightsMissing, detail);
    }
    Ok(EngineError::Invalid(findings.into_problems()))
}
