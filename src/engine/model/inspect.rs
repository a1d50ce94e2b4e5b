//! What a model's files say: the header that planning works on, and every problem at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::arch::{self, ConfigFiles, Description, NormSpec, Wiring};
use super::checkpoint::Checkpoint;
use super::spec::{Category, ModelSpec, SiteRole, SiteSpec};
use super::{Dtype, FileInfo, InputForm, Layout, ModelHeader, SiteHeader, Support, TensorInfo};
use crate::engine::error::{EngineError, Result};
use crate::engine::export::bits;
use crate::engine::export::compressed_tensors::{Activations, QuantizationConfig};
use crate::engine::export::encoding::{self, CodeHint};
use crate::engine::export::inputs;
use crate::engine::findings::file_pointer;
use crate::engine::foreign::Foreign;
use crate::engine::job::InputFile;
use crate::engine::problem::{Code, Problem, escape_pointer};

/// The largest JSON file of a model that is read.
const JSON_LIMIT_BYTES: u64 = 4 << 20;

/// A checkpoint understood.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// What planning needs; serializable.
    pub header: ModelHeader,
    /// `config.json` as it was.
    pub config: Value,
    /// Normalizations in the order of computation.
    pub norms: Vec<NormSpec>,
    /// Who feeds whom; `None` for a family that we can't run.
    pub wiring: Option<Wiring>,
}

/// Opens a model and checks everything but its numbers.
///
/// # Errors
///
/// All problems with container, config, index and tensors.
pub fn inspect(files: &[InputFile]) -> Result<(Inspected, Arc<Checkpoint>)> {
    refuse_foreign(files)?;
    let checkpoint = Checkpoint::open(files)?;
    let Some(config) = checkpoint.json_file("config.json", JSON_LIMIT_BYTES)? else {
        let detail = "there is no config.json: upload the model's config.json beside its weights";
        return Err(EngineError::invalid("/files", Code::ConfigMissing, detail));
    };
    let pooling = checkpoint.json_file("1_Pooling/config.json", JSON_LIMIT_BYTES)?;
    let modules = checkpoint.json_file("modules.json", JSON_LIMIT_BYTES)?;
    let normalize = modules.is_some_and(|m| m.to_string().contains("models.Normalize"));
    let files_of = ConfigFiles { config: &config, pooling: pooling.as_ref(), normalize };
    let mut problems = Vec::new();
    let mut keep = |found: Vec<Problem>| problems.extend(found);
    let family = config.get("model_type").and_then(Value::as_str).map(ToOwned::to_owned);
    let known = family.as_deref().and_then(arch::find);
    let spec = known.map(|family| family.parse(&files_of)).transpose().map_err(&mut keep).ok().flatten();
    let quantization = QuantizationConfig::read(&config).map_err(&mut keep).ok().flatten();
    if !problems.is_empty() {
        return Err(EngineError::Invalid(problems));
    }
    let dense = (bits::hints(&config), bits::activations(&config));
    let reader = Reader { checkpoint: &checkpoint, quantization: quantization.as_ref(), dense: &dense };
    let (sites, description) = match (known, &spec) {
        (Some(family), Some(spec)) => reader.known(family, spec, &files_of).map_err(EngineError::Invalid)?,
        _ => reader.unknown().map_err(EngineError::Invalid)?,
    };
    let header = header(&checkpoint, &config, family, spec, sites);
    let (norms, wiring) = description.map_or_else(Default::default, |d| (d.norms, Some(d.wiring)));
    Ok((Inspected { header, config, norms, wiring }, Arc::new(checkpoint)))
}

/// Pickles and archives are never opened.
fn refuse_foreign(files: &[InputFile]) -> Result<()> {
    let problem = |file: &InputFile| {
        let foreign = Foreign::by_name(&file.path)?;
        Some(Problem::new(file_pointer(&file.path), foreign.code(), foreign.instead_of_a_model()))
    };
    let problems: Vec<_> = files.iter().filter_map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) }
}

type Found = (Vec<SiteHeader>, Option<Description>);

struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    quantization: Option<&'a QuantizationConfig>,
    /// What the config says of modules in our own packing: of their codes, and of their inputs.
    dense: &'a (BTreeMap<String, CodeHint>, BTreeMap<String, Activations>),
}

impl Reader<'_> {
    /// Every site and norm that the family describes must be there, in the right shape and type.
    fn known(
        &self,
        family: &dyn arch::Architecture,
        spec: &ModelSpec,
        files: &ConfigFiles<'_>,
    ) -> Result<Found, Vec<Problem>> {
        let modules: BTreeSet<&str> = self.checkpoint.tensors().iter().filter_map(|t| module_of(&t.name)).collect();
        let names: BTreeSet<&str> = self.checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
        let description = family.describe(spec, files, &|name| modules.contains(name) || names.contains(name));
        let mut problems = Vec::new();
        let mut sites = Vec::new();
        for site in &description.sites {
            match self.site(site).and_then(|layout| Ok((self.input(site, &layout)?, layout))) {
                Ok((input, layout)) => sites.push(SiteHeader { spec: site.clone(), layout, input }),
                Err(problem) => problems.push(problem),
            }
            if site.bias {
                problems.extend(self.vector(&format!("{}.bias", site.module), site.out));
            }
        }
        for norm in &description.norms {
            problems.extend(self.vector(&norm.weight, norm.width));
            problems.extend(norm.bias.as_ref().and_then(|bias| self.vector(bias, norm.width)));
        }
        let head_bias = description.wiring.head_bias.as_ref();
        problems.extend(head_bias.and_then(|name| self.vector(name, spec.width())));
        if problems.is_empty() { Ok((sites, Some(description))) } else { Err(problems) }
    }

    /// What the config says of a module's codes.
    fn hint(&self, module: &str) -> Option<CodeHint> {
        let dense = self.dense.0.get(module).copied();
        dense.or_else(|| self.quantization.and_then(|quantization| quantization.hint(module)))
    }

    /// What happens to a site's input. Tables are fed nothing, and what has no codes was left alone.
    fn input(&self, site: &SiteSpec, layout: &Layout) -> Result<InputForm, Problem> {
        let (module, first) = inputs::entry(layout, &site.module);
        if site.role == SiteRole::Embedding || !matches!(first, Layout::Grouped { .. }) {
            return Ok(InputForm::None);
        }
        let dense = self.dense.1.get(&module).copied();
        match dense.or_else(|| self.quantization.and_then(|quantization| quantization.activations(&module))) {
            None => Ok(InputForm::None),
            Some(Activations::Token) => Ok(InputForm::DynamicInt8),
            Some(Activations::Tensor) => inputs::detect(layout, &site.module, self.checkpoint),
        }
    }

    fn site(&self, site: &SiteSpec) -> Result<Layout, Problem> {
        let name = format!("{}.weight", site.module);
        let layout = encoding::detect(&site.module, self.checkpoint, &|module| self.hint(module), site.transposed)
            .map_err(|(tensor, detail)| problem(&tensor, Code::TensorShape, &detail))?
            .ok_or_else(|| {
                let detail = format!("'{name}' is missing: {} needs [{}, {}]", site.site, site.out, site.r#in);
                problem(&name, Code::TensorMissing, &detail)
            })?;
        if layout.shape() != (site.out, site.r#in) {
            let (out, r#in) = layout.shape();
            let detail =
                format!("'{name}' is [{out}, {in}], the config asks for [{}, {}]", site.out, site.r#in, in = r#in);
            return Err(problem(&name, Code::TensorShape, &detail));
        }
        dtype_of(&layout).map_or(Ok(()), |dtype| Err(foreign_dtype(&name, dtype)))?;
        Ok(layout)
    }

    fn vector(&self, name: &str, width: usize) -> Option<Problem> {
        let Some(tensor) = self.checkpoint.get(name) else {
            return Some(problem(name, Code::TensorMissing, &format!("'{name}' is missing: [{width}] is needed")));
        };
        if tensor.shape != [width] {
            let detail = format!("'{name}' is {:?}, the config asks for [{width}]", tensor.shape);
            return Some(problem(name, Code::TensorShape, &detail));
        }
        (!tensor.dtype.is_weight()).then(|| foreign_dtype(name, tensor.dtype))
    }

    /// A family that we can't run: every stored matrix is a site of its own. What is no matrix is left alone; codes of which the config
    /// tells, and that can't be read, are refused, for the config that is written would no longer say what they are.
    fn unknown(&self) -> Result<Found, Vec<Problem>> {
        let modules: BTreeSet<&str> = self.checkpoint.tensors().iter().filter_map(|t| module_of(&t.name)).collect();
        let (mut sites, mut problems) = (Vec::new(), Vec::new());
        for module in modules {
            let found = encoding::detect(module, self.checkpoint, &|module| self.hint(module), false);
            let layout = match found {
                Ok(Some(layout)) => layout,
                Err((tensor, detail)) if self.has_codes(module) => {
                    problems.push(problem(&tensor, Code::TensorShape, &detail));
                    continue;
                }
                Ok(None) | Err(_) => continue,
            };
            let (out, r#in) = layout.shape();
            let foreign = dtype_of(&layout);
            if let Some(dtype) = foreign.filter(|_| self.has_codes(module)) {
                problems.push(foreign_dtype(&format!("{module}.weight"), dtype));
            }
            if out == 0 || r#in == 0 || foreign.is_some() {
                continue;
            }
            let bias = self.checkpoint.get(&format!("{module}.bias"));
            let bias = bias.is_some_and(|b| b.shape == [out] && b.dtype.is_weight());
            let table = module.to_ascii_lowercase().contains("embed");
            let (role, category) =
                if table { (SiteRole::Embedding, Category::Embedding) } else { (SiteRole::Linear, Category::Mlp) };
            let spec = SiteSpec {
                site: module.to_owned(),
                role,
                category,
                module: module.to_owned(),
                out,
                r#in,
                bias,
                is_centered: false,
                transposed: false,
            };
            match self.input(&spec, &layout) {
                Ok(input) => sites.push(SiteHeader { spec, layout, input }),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok((sites, None)) } else { Err(problems) }
    }

    /// Whether a module is meant to have codes: by what it holds and what the config says of it.
    fn has_codes(&self, module: &str) -> bool {
        let part = |suffix: &str| self.checkpoint.get(&format!("{module}.{suffix}"));
        let is_packed = ["weight_packed", "weight_bits"].iter().any(|suffix| part(suffix).is_some());
        let is_coded = is_packed || part("weight").is_some_and(|weight| !weight.dtype.is_weight());
        is_coded && self.hint(module).is_some()
    }
}

/// The module of a tensor that holds, or is part of, a map.
fn module_of(name: &str) -> Option<&str> {
    let (module, part) = name.rsplit_once('.')?;
    if !encoding::MAPS.contains(&part) {
        return None;
    }
    // M.u.weight and M.v.weight are the factors of M
    Some(module.strip_suffix(".u").or_else(|| module.strip_suffix(".v")).unwrap_or(module))
}

/// The type of a layout's numbers, where it is none that weights may have.
fn dtype_of(layout: &Layout) -> Option<Dtype> {
    match layout {
        Layout::Dense { dtype, .. } => (!dtype.is_weight()).then_some(*dtype),
        Layout::Product { left, right } => dtype_of(left).or_else(|| dtype_of(right)),
        _ => None,
    }
}

fn problem(tensor: &str, code: Code, detail: &str) -> Problem {
    Problem::new(format!("/tensors/{}", escape_pointer(tensor)), code, detail)
}

fn foreign_dtype(name: &str, dtype: Dtype) -> Problem {
    problem(name, Code::TensorDtype, &format!("'{name}' is {}: weights are F32, F16 or BF16", dtype.as_str()))
}

fn header(
    checkpoint: &Checkpoint,
    config: &Value,
    family: Option<String>,
    spec: Option<ModelSpec>,
    sites: Vec<SiteHeader>,
) -> ModelHeader {
    let mut tensors = checkpoint.tensors().to_vec();
    let owners = owners(&sites, checkpoint);
    for tensor in &mut tensors {
        tensor.site = owners.get(tensor.name.as_str()).map(|site| (*site).to_owned());
    }
    let in_sites: u64 = sites.iter().map(|s| s.layout.parameters()).sum();
    let helpers = |t: &&TensorInfo| !is_map_tensor(t, &owners) && t.dtype.is_weight();
    let beside: u64 = tensors.iter().filter(helpers).map(|t| t.shape.iter().map(|n| *n as u64).product::<u64>()).sum();
    let files = checkpoint.files();
    let weight_files: BTreeSet<&str> = tensors.iter().map(|t| t.file.as_str()).collect();
    let weights = files.iter().filter(|f| weight_files.contains(f.path.as_str()));
    let size_bytes = weights.map(|f| f.size_bytes).sum();
    let architecture = config.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str);
    ModelHeader {
        support: if spec.is_some() { Support::Full } else { Support::WeightsOnly },
        family,
        architecture: architecture.map(ToOwned::to_owned),
        spec,
        parameters: in_sites + beside,
        dtype: commonest(&tensors),
        size_bytes,
        files: files.iter().map(|f| FileInfo { path: f.path.clone(), size_bytes: f.size_bytes }).collect(),
        has_tokenizer: files.iter().any(|f| f.path == "tokenizer.json"),
        tensors,
        sites,
    }
}

/// Which site every tensor belongs to: the map's tensors and the bias.
fn owners<'a>(sites: &'a [SiteHeader], checkpoint: &Checkpoint) -> BTreeMap<String, &'a str> {
    let mut owners = BTreeMap::new();
    let has = |name: &str| checkpoint.get(name).is_some();
    for site in sites {
        let module = &site.spec.module;
        let scale = inputs::tensor(site.input, &site.layout, module);
        let map = encoding::tensors_found(&site.layout, module, &has).unwrap_or_default();
        for tensor in map.into_iter().chain(scale) {
            owners.insert(tensor.name, site.spec.site.as_str());
        }
        owners.insert(format!("{}.bias", site.spec.module), site.spec.site.as_str());
    }
    owners
}

fn is_map_tensor(tensor: &TensorInfo, owners: &BTreeMap<String, &str>) -> bool {
    owners.contains_key(&tensor.name) && !tensor.name.ends_with(".bias")
}

/// The dtype of most of the bytes that are weights.
fn commonest(tensors: &[TensorInfo]) -> Dtype {
    let mut bytes: BTreeMap<Dtype, u64> = BTreeMap::new();
    for tensor in tensors.iter().filter(|t| t.dtype.is_weight()) {
        *bytes.entry(tensor.dtype).or_default() += tensor.bytes;
    }
    bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or(Dtype::F32, |(dtype, _)| dtype)
}
