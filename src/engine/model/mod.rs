//! Models: what a checkpoint holds ([`ModelHeader`]), what a family computes ([`ModelSpec`]), and the linear maps in all their forms.

pub mod arch;
pub mod build;
pub mod checkpoint;
pub mod forms;
pub mod forward;
pub mod grouped;
pub mod input;
pub mod inspect;
pub mod integer;
pub mod layout;
pub mod linear;
pub mod rope;
pub mod site;
pub mod sparse;
pub mod spec;
pub mod stored;
pub mod tap;

use serde::{Deserialize, Serialize};

pub use forms::Forms;
pub use input::InputForm;
pub use layout::{Dtype, Layout};
pub use spec::{Category, ModelSpec, SiteRole, SiteSpec};

/// Whether we know how a model computes, or only what its weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// Everything works.
    Full,
    /// An unknown family: data-free weight methods run, nothing is measured by running the model.
    WeightsOnly,
}

/// All that a model's files say without reading its weights: what planning needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelHeader {
    /// What works with it.
    pub support: Support,
    /// `model_type` of `config.json`.
    pub family: Option<String>,
    /// `architectures[0]` of `config.json`.
    pub architecture: Option<String>,
    /// Dimensions and switches, where the family is known.
    pub spec: Option<ModelSpec>,
    /// Every tensor of every weight file, by name.
    pub tensors: Vec<TensorInfo>,
    /// Every site in the model's order, with the form that it is stored in.
    pub sites: Vec<SiteHeader>,
    /// Parameters, without scales and other helpers.
    pub parameters: u64,
    /// The dtype of most of the weights.
    pub dtype: Dtype,
    /// The weight files together.
    pub size_bytes: u64,
    /// All files.
    pub files: Vec<FileInfo>,
    /// Whether there is a `tokenizer.json`.
    pub has_tokenizer: bool,
}

impl ModelHeader {
    /// Whether tensors are entropy-coded in the weight files, or stored once for several.
    pub fn is_packed(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.bytes != tensor.plain_bytes())
    }

    /// Whether answers come by a site: none do where the family can't be run.
    pub fn reads(&self, site: &SiteSpec) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.is_read(site))
    }

    /// All files together.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Its path in the model.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
}

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its length in the file, where it may be coded; 0 where it is stored as another of the same numbers.
    pub bytes: u64,
    /// The file that holds it.
    pub file: String,
    /// The site that it belongs to.
    pub site: Option<String>,
}

impl TensorInfo {
    /// What its numbers take where they are not coded.
    pub fn plain_bytes(&self) -> u64 {
        self.shape.iter().fold(self.dtype.size_bytes(), |bytes, n| bytes.saturating_mul(*n as u64))
    }
}

/// A site and the form that its weights are stored in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteHeader {
    /// Which and what.
    #[serde(flatten)]
    pub spec: SiteSpec,
    /// How it is stored.
    pub layout: Layout,
    /// What happens to what it is fed.
    #[serde(default, skip_serializing_if = "InputForm::is_none")]
    pub input: InputForm,
}
