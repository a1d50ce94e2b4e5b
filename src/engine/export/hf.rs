//! The Hugging Face layout: `config.json`, `model.safetensors`, and the tokenizer's files as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use serde_json::{Value, json};

use super::{TensorSpec, bits, codebook, compressed_tensors, encoding, inputs, safetensors};
use crate::engine::context::RunContext;
use crate::engine::error::{EngineError, Result};
use crate::engine::job::InputFile;
use crate::engine::model::build::Model;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::model::inspect::Inspected;
use crate::engine::model::spec::Category;
use crate::engine::model::{Forms, Layout, ModelHeader};

/// The weight file's name.
pub const WEIGHTS: &str = "model.safetensors";

/// Files that are copied as they are, if the model has them.
const COPIED: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "preprocessor_config.json",
];

/// Everything that the weight file will hold, in its order.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The tensors.
    pub tensors: Vec<TensorSpec>,
    /// The site and category of every tensor, in the same order.
    pub owners: Vec<(Option<usize>, Category)>,
}

impl Manifest {
    /// The weight file of a model whose sites have these forms. Tensors that are no map's stay as they are.
    ///
    /// # Errors
    ///
    /// A layout that this format does not hold.
    pub fn new(header: &ModelHeader, forms: &Forms) -> Result<Self> {
        let mut owned: BTreeMap<String, (Option<usize>, Category)> = BTreeMap::new();
        let names: BTreeSet<&str> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let mut replaced = BTreeSet::new();
        let mut tensors = Vec::new();
        for (i, (site, (layout, input))) in header.sites.iter().zip(forms.iter()).enumerate() {
            let module = &site.spec.module;
            let found = encoding::tensors_found(&site.layout, module, &|name| names.contains(name))?;
            replaced.extend(found.into_iter().map(|tensor| tensor.name));
            replaced.extend(inputs::tensor(site.input, &site.layout, module).map(|tensor| tensor.name));
            for tensor in encoding::tensors(layout, module)?.into_iter().chain(inputs::tensor(input, layout, module)) {
                owned.insert(tensor.name.clone(), (Some(i), tensor.category.unwrap_or(site.spec.category)));
                tensors.push(tensor);
            }
            owned.insert(format!("{}.bias", site.spec.module), (Some(i), site.spec.category));
        }
        for tensor in header.tensors.iter().filter(|t| !replaced.contains(&t.name)) {
            let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
            tensors.push(TensorSpec { name, dtype: tensor.dtype, shape, category: None });
        }
        safetensors::sort(&mut tensors);
        let owner = |t: &TensorSpec| owned.get(&t.name).copied().unwrap_or_else(|| (None, category_by_name(&t.name)));
        let owners = tensors.iter().map(owner).collect();
        Ok(Self { tensors, owners })
    }

    /// The weight file's length.
    pub fn file_bytes(&self) -> u64 {
        safetensors::file_bytes(&self.tensors)
    }

    /// Bytes by category; they sum to the file's length.
    pub fn by_category(&self) -> BTreeMap<Category, u64> {
        let mut bytes = BTreeMap::from([(Category::Metadata, safetensors::header(&self.tensors).len() as u64)]);
        for (tensor, (_, category)) in self.tensors.iter().zip(&self.owners) {
            *bytes.entry(*category).or_default() += tensor.bytes();
        }
        bytes
    }

    /// Bytes by site: the map, its scales and its bias.
    pub fn by_site(&self, sites: usize) -> Vec<u64> {
        let mut bytes = vec![0; sites];
        for (tensor, (site, _)) in self.tensors.iter().zip(&self.owners) {
            if let Some(cell) = site.and_then(|site| bytes.get_mut(site)) {
                *cell += tensor.bytes();
            }
        }
        bytes
    }
}

/// What a tensor counts as that belongs to no site.
fn category_by_name(name: &str) -> Category {
    if name.to_ascii_lowercase().contains("norm") { Category::Norms } else { Category::Metadata }
}

/// Parameters of a model with these layouts: its sites' and everything beside them.
pub fn parameters(header: &ModelHeader, layouts: &[Layout]) -> u64 {
    let sum = |layouts: &mut dyn Iterator<Item = &Layout>| layouts.map(Layout::parameters).sum::<u64>();
    let beside = header.parameters.saturating_sub(sum(&mut header.sites.iter().map(|s| &s.layout)));
    beside + sum(&mut layouts.iter())
}

/// Writes the folder. Returns the paths written, weights first.
pub fn write(
    model: &Model,
    inspected: &Inspected,
    checkpoint: &Checkpoint,
    files: &[InputFile],
    folder: &Path,
    ctx: &RunContext<'_>,
) -> Result<Vec<String>> {
    let forms = Forms::of_model(model);
    std::fs::create_dir_all(folder).map_err(EngineError::io(folder, "created"))?;
    write_weights(model, inspected, checkpoint, &forms, &folder.join(WEIGHTS), ctx)?;
    let mut written = vec![WEIGHTS.to_owned()];
    written.extend(write_beside(&inspected.header, inspected, &forms, files, folder)?);
    Ok(written)
}

/// Writes what stands beside the weights: `config.json` for these forms, and the tokenizer's files. Returns their paths.
///
/// # Errors
///
/// A folder that can't be written to.
pub fn write_beside(
    header: &ModelHeader,
    inspected: &Inspected,
    forms: &Forms,
    files: &[InputFile],
    folder: &Path,
) -> Result<Vec<String>> {
    let config = folder.join("config.json");
    let text = format!("{:#}\n", config_json(&inspected.config, header, forms));
    std::fs::write(&config, text).map_err(EngineError::io(&config, "written"))?;
    let mut written = vec!["config.json".to_owned()];
    for name in COPIED {
        let Some(file) = files.iter().find(|f| f.path == *name) else { continue };
        let to = folder.join(name);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(EngineError::io(parent, "created"))?;
        }
        std::fs::copy(&file.location, &to).map_err(EngineError::io(&to, "written"))?;
        written.push((*name).to_owned());
    }
    Ok(written)
}

fn write_weights(
    model: &Model,
    inspected: &Inspected,
    checkpoint: &Checkpoint,
    forms: &Forms,
    path: &Path,
    ctx: &RunContext<'_>,
) -> Result<()> {
    let failed = || EngineError::io(path, "written");
    let manifest = Manifest::new(&inspected.header, forms)?;
    let file = File::create(path).map_err(failed())?;
    let mut writer =
        safetensors::Writer::new(BufWriter::with_capacity(1 << 20, file), &manifest.tensors).map_err(failed())?;
    let mut done = BTreeSet::new();
    let mut put = |name: &str, bytes: &[u8]| {
        done.insert(name.to_owned());
        writer.tensor(name, bytes).map_err(failed())
    };
    let dtype_of = |name: &str| checkpoint.get(name).map_or(inspected.header.dtype, |t| t.dtype);
    for (i, (site, linear)) in model.sites.iter().zip(&model.maps).enumerate() {
        for (tensor, bytes) in
            encoding::encode(&linear.map, &site.module)?.into_iter().chain(inputs::encode(linear, &site.module))
        {
            put(&tensor.name, &bytes)?;
        }
        if let Some(bias) = &linear.bias {
            let name = format!("{}.bias", site.module);
            put(&name, &encoding::float_bytes(&bias.to_vec1::<f32>()?, dtype_of(&name)))?;
        }
        ctx.progress(i + 1, model.sites.len(), "sites")?;
    }
    for norm in &model.norms {
        let shift = norm.spec.bias.as_ref().zip(norm.beta.as_ref());
        for (name, vector) in [(&norm.spec.weight, &norm.gamma)].into_iter().chain(shift) {
            put(name, &encoding::float_bytes(&vector.to_vec1::<f32>()?, dtype_of(name)))?;
        }
    }
    for tensor in manifest.tensors.iter().filter(|t| !done.contains(&t.name)) {
        writer.tensor(&tensor.name, &checkpoint.read(&tensor.name)?).map_err(failed())?;
    }
    let file = writer.finish().map_err(failed())?.into_inner().map_err(|e| failed()(e.into_error()))?;
    file.sync_all().map_err(failed())
}

/// The model's own config with what changed: how its codes are stored, which modules became two factors, and which share
/// tables of centroids.
fn config_json(original: &Value, header: &ModelHeader, forms: &Forms) -> Value {
    let mut config = original.clone();
    let Some(fields) = config.as_object_mut() else { return config };
    let sites = header.sites.iter().zip(forms.iter());
    let modules: Vec<_> = sites.map(|(site, (layout, input))| (site.spec.module.as_str(), layout, input)).collect();
    fields.shift_remove("quantization_config");
    if let Some(quantization) = compressed_tensors::config(modules.iter().copied()) {
        fields.insert("quantization_config".to_owned(), quantization);
    }
    fields.shift_remove(bits::FIELD);
    if let Some(section) = bits::config(modules.iter().copied()) {
        fields.insert(bits::FIELD.to_owned(), section);
    }
    let ranks: serde_json::Map<String, Value> =
        modules.iter().filter_map(|(module, layout, _)| Some(((*module).to_owned(), json!(layout.rank()?)))).collect();
    fields.shift_remove("low_rank");
    if !ranks.is_empty() {
        fields.insert("low_rank".to_owned(), json!({ "tensors": ["u.weight", "v.weight"], "ranks": ranks }));
    }
    let mut tables = serde_json::Map::new();
    for (module, layout, _) in &modules {
        list_tables(module, layout, &mut tables);
    }
    fields.shift_remove("codebooks");
    if !tables.is_empty() {
        fields.insert("codebooks".to_owned(), json!({ "tensors": codebook::TENSORS, "modules": tables }));
    }
    config
}

/// What shares tables of centroids, also of two factors.
fn list_tables(module: &str, layout: &Layout, tables: &mut serde_json::Map<String, Value>) {
    match layout {
        Layout::Codebook { centroids, group_size, outliers, .. } => {
            let entry = json!({ "centroids": centroids, "group_size": group_size, "outliers": outliers });
            tables.insert(module.to_owned(), entry);
        }
        Layout::Product { left, right } => {
            list_tables(&format!("{module}.u"), left, tables);
            list_tables(&format!("{module}.v"), right, tables);
        }
        _ => {}
    }
}
