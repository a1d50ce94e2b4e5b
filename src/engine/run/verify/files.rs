//! Every file that the report names: is it there, and is it that one?

use super::{Checker, Given};
use crate::engine::data::Target;
use crate::engine::error::Result;
use crate::engine::evaluate::quality::{OF_CLASSES, OF_NUMBERS, OF_TAGS};
use crate::engine::hash::sha256_file;
use crate::engine::job::{Datasets, InputFile, Source};
use crate::engine::plan::Available;
use crate::engine::report::verify::{Check, Comparison, State};
use crate::engine::report::{ArtifactReport, FileHash};
use crate::engine::run::compress;

/// What datasets are for.
const ROLES: [&str; 4] = ["calibration", "training", "validation", "evaluation"];

/// The files that the report names and that were given, with their hashes.
pub(super) struct Inputs {
    pub(super) model: Source,
    pub(super) reference: Option<Source>,
    pub(super) artifact: Option<Source>,
    pub(super) datasets: Datasets,
}

impl Checker<'_> {
    /// Hashes everything.
    pub(super) fn files(&mut self, given: &Given) -> Result<Inputs> {
        let provenance = &self.report.provenance;
        let listed_model = &provenance.model_files;
        let model = self.source("model", "/provenance/model_files", listed_model, Some(&given.model))?;
        let model = model.unwrap_or_else(|| Source { name: given.model.name.clone(), files: Vec::new() });
        let references = &provenance.reference_files;
        let reference =
            self.source("reference", "/provenance/reference_files", references, given.reference.as_ref())?;
        let datasets = self.datasets(&given.datasets)?;
        let exported: Vec<FileHash> = self.report.result.artifacts.iter().map(hash_of).collect();
        // A model that was measured as it is lists its own files
        let folder = if self.report.recipe.is_some() { given.artifact.as_ref() } else { Some(&model) };
        let artifact = self.source("artifact", "/result/artifacts", &exported, folder)?;
        Ok(Inputs { model, reference, artifact, datasets })
    }

    /// The files of a model. `None` where none were given, or the report names none.
    fn source(
        &mut self,
        name: &'static str,
        pointer: &str,
        listed: &[FileHash],
        given: Option<&Source>,
    ) -> Result<Option<Source>> {
        let what = format!("hashes of the {name}'s files");
        let is_own = name == "artifact" && self.report.recipe.is_none();
        match given {
            None if listed.is_empty() => Ok(None),
            None => {
                self.not_checked(pointer, &what, format!("--{name} was not given"));
                Ok(None)
            }
            Some(_) if listed.is_empty() => {
                let why = format!("the report names no file of this {name}");
                let check = match name {
                    "reference" => Check::warning(pointer, what, why),
                    _ => Check::differs(pointer, what, why),
                };
                self.checks.push(check);
                Ok(None)
            }
            Some(given) => {
                let (check, found) = self.hashes(pointer, &what, listed, given, false)?;
                if check.state == State::Differs {
                    self.other.insert(name);
                }
                self.checks.push(check);
                if !is_own {
                    self.beside(name, pointer, listed, given);
                }
                Ok(Some(found))
            }
        }
    }

    /// Files that a reader of the folder would take for the model's, and that the report does not know.
    fn beside(&mut self, name: &str, pointer: &str, listed: &[FileHash], given: &Source) {
        let is_read =
            |path: &str| path.ends_with(".json") || (path.starts_with("model") && path.ends_with(".safetensors"));
        let is_ours = |path: &str| name == "artifact" && path == "report.json";
        let unknown: Vec<&str> = given
            .files
            .iter()
            .map(|file| file.path.as_str())
            .filter(|path| is_read(path) && !is_ours(path) && listed.iter().all(|file| file.path != *path))
            .collect();
        if !unknown.is_empty() {
            let shown = unknown.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            let why = format!("{} more that the report does not name, left alone here: {shown}", unknown.len());
            self.checks.push(Check::warning(pointer, format!("other files in the {name}'s folder"), why));
        }
    }

    fn datasets(&mut self, given: &Datasets) -> Result<Datasets> {
        let mut found = Datasets::default();
        for role in ROLES {
            let pointer = format!("/provenance/datasets/{role}");
            let what = format!("hashes of the {role} data");
            let named = self.report.provenance.datasets.get(role);
            match (named, of(given, role)) {
                (None, None) => {}
                (None, Some(_)) => {
                    let why = format!("the report knows of no {role} data: it is left alone");
                    self.checks.push(Check::warning(pointer, what, why));
                }
                (Some(_), None) => self.not_checked(&pointer, &what, format!("--{role} was not given")),
                (Some(named), Some(source)) => {
                    let (check, source) =
                        self.hashes(&format!("{pointer}/files"), &what, &named.files, source, true)?;
                    if check.state == State::Differs {
                        self.other.insert(role);
                    }
                    self.checks.push(check);
                    set(&mut found, role, source);
                }
            }
        }
        Ok(found)
    }

    /// Compares length and hash of every listed file. Data is often called otherwise where it came from, so its files
    /// are also taken by their place (`by_place`).
    fn hashes(
        &self,
        pointer: &str,
        what: &str,
        listed: &[FileHash],
        given: &Source,
        by_place: bool,
    ) -> Result<(Check, Source)> {
        let mut comparison = Comparison::default();
        let mut files = Vec::new();
        if by_place && given.files.len() > listed.len() {
            comparison.value(pointer, listed.len().into(), given.files.len().into());
        }
        for (place, listed_file) in listed.iter().enumerate() {
            let at = format!("{pointer}/{place}");
            let named = given.files.iter().find(|file| file.path == listed_file.path);
            let placed = || given.files.get(place).filter(|_| by_place && given.files.len() == listed.len());
            let Some(file) = named.or_else(placed) else {
                comparison.compared += 1;
                comparison.add(format!("{at}/path"), Some(listed_file.path.clone().into()), None);
                continue;
            };
            let sha256 = file.sha256.clone().map_or_else(|| sha256_file(&file.location), Ok)?;
            comparison.value(format!("{at}/size_bytes"), listed_file.size_bytes.into(), file.size_bytes.into());
            comparison.value(format!("{at}/sha256"), listed_file.sha256.clone().into(), sha256.clone().into());
            files.push(InputFile { sha256: Some(sha256), ..file.clone() });
            self.ctx.progress(place + 1, listed.len(), "files")?;
        }
        Ok((Check::compared(pointer, what, comparison), Source { name: given.name.clone(), files }))
    }

    /// What is known of the data: of that which was given by reading it, of the rest by what the report says.
    ///
    /// `None` where data can't be read; there is a check that says so.
    pub(super) fn available(&mut self, datasets: &Datasets) -> Result<Option<Available>> {
        let read = compress::available(datasets);
        let Some(mut available) = self.attempt("/provenance/datasets", "the data can be read", read)? else {
            return Ok(None);
        };
        let mut comparison = Comparison::default();
        for (role, named) in &self.report.provenance.datasets {
            let Some(rows) = rows(&mut available, role) else { continue };
            match *rows {
                Some(found) => {
                    let pointer = format!("/provenance/datasets/{role}/rows");
                    comparison.value(pointer, named.rows.into(), found.into());
                }
                None => *rows = Some(named.rows),
            }
        }
        if comparison.compared > 0 {
            self.checks.push(Check::compared("/provenance/datasets", "rows of the data", comparison));
        }
        if datasets.evaluation.is_none() {
            let metrics = self.report.plan.as_ref().map(|plan| plan.evaluate.metrics.as_slice()).unwrap_or_default();
            let measured = |of: &[&str]| metrics.iter().any(|metric| of.contains(&metric.as_str()));
            available.evaluation_has_numbers = measured(OF_NUMBERS);
            available.evaluation_target = match (measured(OF_CLASSES), measured(OF_TAGS), measured(OF_NUMBERS)) {
                (true, ..) => Target::Class,
                (_, true, _) => Target::Tags,
                (_, _, true) => Target::Regression,
                _ => Target::None,
            };
        }
        Ok(Some(available))
    }

    /// Why the rows that were measured on are not at hand; `None` where they are.
    pub(super) fn no_rows(&self, datasets: &Datasets) -> Option<String> {
        let named = &self.report.provenance.datasets;
        let role = ["evaluation", "calibration"].into_iter().find(|role| named.contains_key(*role))?;
        match of(datasets, role) {
            None => Some(format!("--{role} was not given, and holds the rows that were measured on")),
            Some(_) if self.other.contains(role) => Some(format!("the {role} data is not the report's")),
            Some(_) => None,
        }
    }

    /// Why the whole job can't be run again; `None` where it can.
    pub(super) fn no_inputs(&self, datasets: &Datasets) -> Option<String> {
        let missing = |role: &&str| self.report.provenance.datasets.contains_key(*role) && of(datasets, role).is_none();
        let missing: Vec<String> = ROLES.iter().filter(|role| missing(role)).map(|role| format!("--{role}")).collect();
        if !missing.is_empty() {
            return Some(format!("{} was not given, and the job used it", missing.join(", ")));
        }
        let other = ROLES.iter().chain(&["model"]).find(|name| self.other.contains(**name));
        other.map(|name| format!("the {name} that was given is not the report's"))
    }
}

fn hash_of(file: &ArtifactReport) -> FileHash {
    FileHash { path: file.path.clone(), size_bytes: file.size_bytes, sha256: file.sha256.clone() }
}

fn of<'a>(datasets: &'a Datasets, role: &str) -> Option<&'a Source> {
    match role {
        "calibration" => datasets.calibration.as_ref(),
        "training" => datasets.training.as_ref(),
        "validation" => datasets.validation.as_ref(),
        "evaluation" => datasets.evaluation.as_ref(),
        _ => None,
    }
}

fn set(datasets: &mut Datasets, role: &str, source: Source) {
    match role {
        "calibration" => datasets.calibration = Some(source),
        "training" => datasets.training = Some(source),
        "validation" => datasets.validation = Some(source),
        "evaluation" => datasets.evaluation = Some(source),
        _ => {}
    }
}

fn rows<'a>(available: &'a mut Available, role: &str) -> Option<&'a mut Option<u64>> {
    match role {
        "calibration" => Some(&mut available.calibration_rows),
        "training" => Some(&mut available.training_rows),
        "validation" => Some(&mut available.validation_rows),
        "evaluation" => Some(&mut available.evaluation_rows),
        _ => None,
    }
}
