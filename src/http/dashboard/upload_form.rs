//! The form that uploads files, for models and for datasets.

/// What the form says, and what was typed into it.
pub(super) struct UploadForm {
    /// Where it posts to.
    pub(super) action: &'static str,
    /// The name that was typed.
    pub(super) name: String,
    /// A name as an example.
    pub(super) placeholder: &'static str,
    /// Which files.
    pub(super) hint: &'static str,
}

impl UploadForm {
    pub(super) fn of_models() -> Self {
        Self {
            action: "/models",
            name: String::new(),
            placeholder: "my-model",
            hint: "All files of the model at once: config.json, tokenizer.json, and every .safetensors file.",
        }
    }

    pub(super) fn of_datasets() -> Self {
        Self {
            action: "/datasets",
            name: String::new(),
            placeholder: "my-test",
            hint: "JSON lines or CSV with text and label, or plain text, one row a line.",
        }
    }
}
