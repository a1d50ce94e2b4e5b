//! What is wrong with something that a person gave us: every problem at once, each with a JSON pointer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// JSON pointer into what was given, or `/files/<path>` and `/tensors/<name>` for uploaded models.
    pub pointer: String,
    /// Stable, for programs.
    pub code: Code,
    /// For people: what was given, what is allowed, what to do.
    pub detail: String,
}

impl Problem {
    /// A problem at `pointer`.
    pub fn new(pointer: impl Into<String>, code: Code, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            write!(f, "{} ({})", self.detail, self.code)
        } else {
            write!(f, "{}: {} ({})", self.pointer, self.detail, self.code)
        }
    }
}

/// Escapes one segment of a JSON pointer (RFC 6901): `~` and `/`.
pub fn escape_pointer(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The engine's stable codes. The HTTP layer adds its own; `openapi.yaml` lists both.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it stands in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        impl fmt::Display for Code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

codes! {
    /// The file ends before what its header promises.
    SafetensorsTruncated = "safetensors_truncated",
    /// The header's length is beyond what we read.
    SafetensorsHeaderTooLong = "safetensors_header_too_long",
    /// The header is not the JSON that the format asks for.
    SafetensorsHeaderInvalid = "safetensors_header_invalid",
    /// Tensors overlap, leave gaps, or run backwards.
    SafetensorsOffsetsInvalid = "safetensors_offsets_invalid",
    /// A shape does not fit its bytes.
    SafetensorsShapeInvalid = "safetensors_shape_invalid",
    /// A dtype that we do not know.
    SafetensorsDtypeUnknown = "safetensors_dtype_unknown",
    /// One tensor name stands twice.
    SafetensorsDuplicateName = "safetensors_duplicate_name",
    /// A tensor that the config asks for is not there.
    TensorMissing = "tensor_missing",
    /// A tensor's shape contradicts the config.
    TensorShape = "tensor_shape",
    /// A weight is stored as something that is no weight.
    TensorDtype = "tensor_dtype",
    /// NaN or infinity among the weights.
    TensorNotFinite = "tensor_not_finite",
    /// An entropy-coded tensor that does not decode to what its checksum says.
    PackedInvalid = "packed_invalid",
    /// There is no `config.json`.
    ConfigMissing = "config_missing",
    /// `config.json` can't be read or contradicts itself.
    ConfigInvalid = "config_invalid",
    /// The shard index contradicts the files.
    IndexInvalid = "index_invalid",
    /// There is no weight file at all.
    WeightsMissing = "weights_missing",
    /// A pickle: never opened.
    PickleRefused = "pickle_refused",
    /// An archive: never opened.
    ArchiveRefused = "archive_refused",
    /// A file format that is not read as a model.
    FormatUnsupported = "format_unsupported",
    /// `tokenizer.json` can't be read.
    TokenizerInvalid = "tokenizer_invalid",
    /// What was asked for needs a tokenizer and the model has none.
    TokenizerMissing = "tokenizer_missing",
    /// A dataset that can't be read.
    DatasetInvalid = "dataset_invalid",
    /// A row of a dataset that can't be read.
    DatasetRowInvalid = "dataset_row_invalid",
    /// A label that the model does not know.
    LabelUnknown = "label_unknown",
    /// The same row stands in two datasets that must be disjoint.
    DatasetsOverlap = "datasets_overlap",
    /// A field that does not exist.
    UnknownField = "unknown_field",
    /// A field that must be there is not.
    MissingField = "missing_field",
    /// A value of the wrong type.
    WrongType = "wrong_type",
    /// A value that is not allowed.
    OutOfRange = "out_of_range",
    /// A method that does not exist.
    UnknownMethod = "unknown_method",
    /// A preset or stored recipe that does not exist.
    UnknownRecipe = "unknown_recipe",
    /// `targets` that select nothing.
    NoSuchSite = "no_such_site",
    /// A method that can't work on a site in the form that the stages before leave it in.
    UnsupportedForm = "unsupported_form",
    /// A model family whose forward pass we do not have, where one is needed.
    UnsupportedModel = "unsupported_model",
    /// Designed, and not built yet.
    NotYetSupported = "not_yet_supported",
    /// Data that a method needs was not given.
    DataMissing = "data_missing",
    /// The job's process used more memory than it may.
    OutOfMemory = "out_of_memory",
    /// The job's process died twice.
    WorkerCrashed = "worker_crashed",
    /// The model that the job was to work on turned out invalid.
    ModelInvalid = "model_invalid",
    /// The deadline passed.
    DeadlineExceeded = "deadline_exceeded",
    /// A file that was written does not read back as what is in memory.
    VerificationFailed = "verification_failed",
    /// The disk is full.
    InsufficientStorage = "insufficient_storage",
    /// A file that we keep is lost, or its bytes are not those that were stored.
    StorageDamaged = "storage_damaged",
    /// Our fault. The log has the cause.
    Internal = "internal_error",
}

/// The name of `known` nearest to `given`, if it is near enough to be what was meant.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given: Vec<char> = given.chars().take(64).collect();
    known
        .into_iter()
        .map(|name| (edit_distance(&given, &name.chars().take(64).collect::<Vec<_>>()), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance, one row at a time.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_the_slip_and_nothing_far() {
        let known = ["bits", "group_size", "symmetric"];
        assert_eq!(nearest("groupsize", known), Some("group_size"));
        assert_eq!(nearest("bit", known), Some("bits"));
        assert_eq!(nearest("temperature", known), None);
        assert_eq!(edit_distance(&['a', 'b'], &['b', 'a']), 2);
        assert_eq!(edit_distance(&[], &['b', 'a']), 2);
    }
}
