//! Sums over what an original's sites are fed, taken by one job and used again by later ones.
//!
//! The rows of a recipe's first stage go through the model as it was uploaded, so its sums depend on the model, the rows
//! and which sums are wanted, and on nothing that the stage does to the model: a job with other bits takes the same ones.
//! They are used again only where the [`key()`] of both jobs is one: from the same files and settings, by the same program
//! on the same processor. So a result is, to the byte, what it would be if they had been taken anew. What a later stage
//! is fed depends on the stages before it, and is never kept.

mod file;
mod key;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Moments, Sites, Wanted};
use crate::engine::context::{Event, Observer};
use crate::engine::error::{EngineError, Result};
use crate::engine::hash::sha256_file;
use crate::engine::model::build::Model;
use crate::engine::model::checkpoint::Checkpoint;
use crate::engine::report::StatisticsProvenance;

pub use file::MOST_BYTES;
pub use key::key;

/// The file's name in the run's output folder.
pub const NAME: &str = "statistics.safetensors";

/// What a run is told of statistics: somebody keeps those that it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What they depend on: see [`key()`].
    pub key: String,
    /// Those that an earlier job left under the key, not checked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<GivenStatistics>,
}

/// A file that an earlier job left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenStatistics {
    /// SHA-256 in hex.
    pub sha256: String,
    /// Where it lies on this machine, read-only.
    pub location: PathBuf,
}

/// Statistics of the run's first stage: an earlier job's, or those that are being taken for later ones. The default knows
/// none and keeps none.
#[derive(Debug, Default)]
pub struct Statistics {
    /// `None` where nobody keeps any.
    key: Option<String>,
    found: Option<Found>,
    now: Mutex<Now>,
}

/// An earlier job's file, whose bytes are what they should be.
#[derive(Debug)]
struct Found {
    sha256: String,
    file: Checkpoint,
}

/// How far the run is.
#[derive(Debug, Default)]
struct Now {
    /// By site; `None` where something is missing, so that they are not kept.
    taken: Option<BTreeMap<String, Moments>>,
    told: Option<StatisticsProvenance>,
}

impl Statistics {
    /// Begins with what was asked, under the key that the run itself comes to. A file that does not fit is not used, and a
    /// note says why. Reads the file once.
    pub fn open(asked: Option<&Asked>, key: Option<String>, observer: &dyn Observer) -> Self {
        let (Some(asked), Some(key)) = (asked, key) else { return Self::default() };
        let now = Mutex::new(Now { taken: Some(BTreeMap::new()), told: None });
        if asked.key != key {
            observer.on(unused("they were taken from something else, by another program, or on another processor"));
            return Self::default();
        }
        let found = asked.given.as_ref().and_then(|given| match check(given) {
            Ok(file) => Some(Found { sha256: given.sha256.clone(), file }),
            Err(why) => {
                observer.on(unused(&why));
                None
            }
        });
        Self { key: Some(key), found, now }
    }

    /// An earlier job's sums of these sites; those that are fed nothing have none. `None` where there is no file, or it is
    /// of other sites.
    pub fn of(&self, model: &Model, sites: &[usize], wanted: Wanted, observer: &dyn Observer) -> Option<Sites> {
        let (found, key) = self.found.as_ref().zip(self.key.as_ref())?;
        let named = sites.iter().filter_map(|index| Some((*index, model.sites.get(*index)?)));
        let read = named.filter_map(|(index, site)| {
            let moments = file::read(&found.file, &site.site, site.r#in, wanted).transpose()?;
            Some(moments.map(|moments| (index, moments)))
        });
        match read.collect::<Result<Sites, String>>() {
            Ok(all) if !all.is_empty() => {
                let sha256 = found.sha256.clone();
                let what = "what the model's sites are fed on the calibration rows was summed up by an earlier job";
                observer.on(Event::Note { message: format!("{what}: its statistics {sha256} are used again") });
                let told = StatisticsProvenance { key: key.clone(), sha256, is_reused: true };
                *self.now() = Now { taken: None, told: Some(told) };
                Some(all)
            }
            Ok(_) => None,
            Err(why) => {
                observer.on(unused(&why));
                None
            }
        }
    }

    /// Takes note of what sites of the original are fed.
    pub fn take(&self, model: &Model, seen: &Sites) {
        if self.key.is_none() {
            return;
        }
        let mut now = self.now();
        let Some(taken) = &mut now.taken else { return };
        for (index, moments) in seen {
            if let Some(site) = model.sites.get(*index) {
                taken.insert(site.site.clone(), moments.clone());
            }
        }
        if taken.values().map(file::bytes).sum::<u64>() > MOST_BYTES {
            now.taken = None;
        }
    }

    /// Takes note that not all sites were seen: nothing is left then.
    pub fn miss(&self) {
        self.now().taken = None;
    }

    /// Writes what was taken to [`NAME`] in a folder, if all was, and tells its length and SHA-256.
    ///
    /// # Errors
    ///
    /// [`EngineError::Io`].
    pub fn leave(&self, folder: &Path) -> Result<Option<(u64, String)>> {
        let mut now = self.now();
        let (Some(key), Some(taken)) = (&self.key, now.taken.take().filter(|taken| !taken.is_empty())) else {
            return Ok(None);
        };
        std::fs::create_dir_all(folder).map_err(EngineError::io(folder, "created"))?;
        let path = folder.join(NAME);
        file::write(&path, &taken)?;
        let size_bytes = std::fs::metadata(&path).map_err(EngineError::io(&path, "read"))?.len();
        let sha256 = sha256_file(&path)?;
        now.told = Some(StatisticsProvenance { key: key.clone(), sha256: sha256.clone(), is_reused: false });
        Ok(Some((size_bytes, sha256)))
    }

    /// What the report says of them; nothing where none were used again or left.
    pub fn provenance(&self) -> Option<StatisticsProvenance> {
        self.now().told.clone()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unused(why: &str) -> Event {
    Event::Note { message: format!("an earlier job's statistics are not used: {why}. They are taken anew") }
}

/// Says what is wrong with a file.
fn check(given: &GivenStatistics) -> Result<Checkpoint, String> {
    let is_whole = sha256_file(&given.location).is_ok_and(|found| found == given.sha256);
    if !is_whole {
        return Err("their file is damaged".to_owned());
    }
    file::open(&given.location).map_err(|_| "their file can't be read".to_owned())
}
