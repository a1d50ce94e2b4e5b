//! The index of a model in several files: `model.safetensors.index.json`.
//!
//! Its names are labels: a file that it names is looked up among the model's files, never opened by that name.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::json;
use crate::engine::findings::{Findings, file_pointer, shown, tensor_pointer};
use crate::engine::problem::Code;

/// The index's path.
pub(super) const PATH: &str = "model.safetensors.index.json";
/// Longest index that is read.
pub(super) const BYTES: u64 = 16 << 20;

/// Which file holds which tensor, by the index's word.
#[derive(Debug)]
pub(super) struct Index(Vec<(String, String)>);

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    ///
    /// The one problem that ends reading.
    pub(super) fn parse(bytes: &[u8], findings: &mut Findings) -> Option<Self> {
        let pairs = json::weight_map(bytes);
        match pairs.and_then(|pairs| if pairs.is_empty() { Err("it names no tensor".to_owned()) } else { Ok(pairs) }) {
            Ok(pairs) => Some(Self(pairs)),
            Err(detail) => {
                let detail = format!("the shard index can't be read: {detail}");
                findings.add(file_pointer(PATH), Code::IndexInvalid, detail);
                None
            }
        }
    }

    /// The files that it names which are among the model's (`present`), in order. The others are problems.
    pub(super) fn shards(&self, present: &BTreeSet<&str>, findings: &mut Findings) -> Vec<String> {
        let named: BTreeSet<&str> = self.0.iter().map(|(_, shard)| shard.as_str()).collect();
        let mut shards = Vec::new();
        for shard in named {
            let problem = if climbs(shard) {
                "shards are named by their path in the model, without .., a drive or a / in front"
            } else if !shard.ends_with(super::EXTENSION) {
                "a shard is a .safetensors file"
            } else if !present.contains(shard) {
                "the model has no such file: upload it too"
            } else {
                shards.push(shard.to_owned());
                continue;
            };
            let detail = format!("the shard index names {}; {problem}", shown(shard));
            findings.add(file_pointer(PATH), Code::IndexInvalid, detail);
        }
        shards
    }

    /// Compares what the index says with what the shards that could be read hold: every tensor where the index says, and no other.
    pub(super) fn compare(&self, held: &BTreeMap<String, BTreeSet<String>>, findings: &mut Findings) {
        let said: HashSet<&str> = self.0.iter().map(|(tensor, _)| tensor.as_str()).collect();
        for (tensor, shard) in &self.0 {
            if held.get(shard).is_some_and(|names| !names.contains(tensor)) {
                let detail = format!("the shard index says it is in {}, which does not have it", shown(shard));
                findings.add(tensor_pointer(tensor), Code::IndexInvalid, detail);
            }
        }
        for (shard, names) in held {
            for tensor in names.iter().filter(|tensor| !said.contains(tensor.as_str())) {
                let detail = format!("{} holds it and the shard index does not name it", shown(shard));
                findings.add(tensor_pointer(tensor), Code::IndexInvalid, detail);
            }
        }
    }
}

/// Whether a name, used as a path, could leave a folder. We never use it so; naming such a file is refused all the same.
fn climbs(name: &str) -> bool {
    name.starts_with('/') || name.contains('\\') || name.contains(':') || name.split('/').any(|segment| segment == "..")
}
