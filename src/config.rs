//! Every setting: a flag of the command line and an environment variable; the flag wins.
//!
//! One struct per concern. A field's doc comment is its documentation: `--help` prints it. This is the only place that
//! reads the environment.

mod machine;
mod values;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::store::StoreConfig;

pub use machine::free_memory_bytes;
pub(crate) use machine::kernel_bytes;
pub use values::{ByteSize, Listen, ValueError};

/// A setting that does not fit the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// There is no place for our files.
    #[error("there is no home folder to keep our files in: give --state-dir or PARE_STATE_DIR")]
    NoStateDir,
    /// A worker on its own reads what a server stored.
    #[error("{flag} is needed: a worker on its own shares {what} with the server whose jobs it runs")]
    Shared {
        /// What to give.
        flag: &'static str,
        /// What is shared.
        what: &'static str,
    },
    /// A device that this build has no code for.
    #[error("the device '{given}' is not built in: cpu is")]
    Device {
        /// What was given.
        given: String,
    },
}

/// What is left free on a large disk.
const MOST_RESERVE_BYTES: u64 = 1 << 30;

/// Where our files lie.
#[derive(Debug, Clone, Default, Args)]
pub struct StateSettings {
    /// The folder for all that is kept: the private cluster, local blobs, scratch space.
    ///
    /// One process at a time uses it. Without it, `pare` in the platform's data folder: $XDG_DATA_HOME or
    /// ~/.local/share, on macOS ~/Library/Application Support.
    #[arg(long, env = "PARE_STATE_DIR", value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
    /// What files and jobs leave free on the state folder's disk, so that the database can go on: 512MiB.
    ///
    /// Below it uploads are answered with 507 and no job starts. Without it, 5% of the disk or 1GiB, whichever is less.
    #[arg(long, env = "PARE_DISK_RESERVE", value_name = "SIZE")]
    pub disk_reserve: Option<ByteSize>,
}

impl StateSettings {
    /// The folder, as an absolute path.
    ///
    /// # Errors
    ///
    /// [`SettingError::NoStateDir`].
    pub fn folder(&self) -> Result<PathBuf, SettingError> {
        let folder = self.state_dir.clone().or_else(data_folder).ok_or(SettingError::NoStateDir)?;
        Ok(std::path::absolute(&folder).unwrap_or(folder))
    }

    /// What stays free on the disk of `folder`, which is there.
    pub fn disk_reserve_bytes(&self, folder: &Path) -> u64 {
        let share = || machine::disk_bytes(folder) / 20;
        self.disk_reserve.map_or_else(|| share().min(MOST_RESERVE_BYTES), |ByteSize(bytes)| bytes)
    }
}

fn data_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(target_os = "macos") {
        return Some(variable("HOME")?.join("Library/Application Support/pare"));
    }
    variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share"))).map(|base| base.join("pare"))
}

/// Where a client keeps what it must remember between two runs: `pare` in $XDG_STATE_HOME or ~/.local/state.
pub fn client_state_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state"))).map(|base| base.join("pare"))
}

/// The database.
#[derive(Clone, Default, Args)]
pub struct DatabaseSettings {
    /// The Postgres database to use: postgres://user@host/name.
    ///
    /// Without it, `serve` runs a private cluster in the state folder. The password may stand in PGPASSWORD instead.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The folder of `initdb` and `postgres`, for the private cluster. Found by itself where they are installed.
    #[arg(long, env = "PARE_POSTGRES_BIN", value_name = "FOLDER")]
    pub postgres_bin: Option<PathBuf>,
}

/// An address may hold a password: it is not shown.
impl std::fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = self.database_url.as_ref().map(|_| "…");
        f.debug_struct("DatabaseSettings")
            .field("database_url", &url)
            .field("postgres_bin", &self.postgres_bin)
            .finish()
    }
}

/// The blobs.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreSettings {
    /// Where files lie: s3://bucket/prefix, or file:///folder for one that all machines mount.
    ///
    /// Without it, in the state folder. For S3 the standard variables hold: `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, …. One store for one database: give
    /// another service another prefix.
    #[arg(long, env = "STORE_URL", value_name = "URL")]
    pub store_url: Option<String>,
}

impl StoreSettings {
    /// The store's address and settings.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::Address`].
    pub fn config(&self, state_dir: &Path) -> crate::store::Result<StoreConfig> {
        match &self.store_url {
            None => Ok(StoreConfig::Local(state_dir.to_owned())),
            Some(url) => StoreConfig::parse(url, aws_variables()),
        }
    }
}

fn aws_variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("AWS_"))
        .collect()
}

/// The workers, and what a job may use.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkerSettings {
    /// How many jobs run at once; 0 for none.
    #[arg(long, env = "PARE_WORKERS", value_name = "COUNT", default_value_t = 1)]
    pub workers: usize,
    /// Threads that one job may use. Without it, all cores divided by the workers.
    #[arg(long, env = "PARE_THREADS", value_name = "COUNT", value_parser = values::positive)]
    pub threads: Option<usize>,
    /// Memory that one job may use: 2GiB, 512MiB. Without it, 80% of what is free, divided by the workers.
    #[arg(long, env = "PARE_MEMORY_LIMIT", value_name = "SIZE")]
    pub memory_limit: Option<ByteSize>,
    /// Where tensors live: cpu.
    #[arg(long, env = "PARE_DEVICE", value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// Refuse to start where the kernel can't hold a job's process to its folder (landlock and seccomp).
    ///
    /// Without it such a kernel is worked with, and the log and the worker's capabilities say what is missing.
    #[arg(long, env = "PARE_REQUIRE_SANDBOX", value_parser = clap::builder::FalseyValueParser::new())]
    pub require_sandbox: bool,
}

/// What one job may use, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Jobs at once.
    pub workers: usize,
    /// Threads of one job.
    pub threads: usize,
    /// Anonymous memory of one job.
    pub memory_bytes: u64,
    /// `cpu`.
    pub device: String,
    /// Whether jobs run in a whole sandbox or not at all.
    pub require_sandbox: bool,
}

impl WorkerSettings {
    /// Fills in what depends on the machine.
    ///
    /// # Errors
    ///
    /// [`SettingError::Device`].
    pub fn allowance(&self) -> Result<Allowance, SettingError> {
        if self.device != "cpu" {
            return Err(SettingError::Device { given: self.device.clone() });
        }
        let share = self.workers.max(1);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let memory_bytes = match self.memory_limit {
            Some(ByteSize(bytes)) => bytes,
            None => free_memory_bytes() / 10 * 8 / share as u64,
        };
        let threads = self.threads.unwrap_or((cores / share).max(1));
        Ok(Allowance {
            workers: self.workers,
            threads,
            memory_bytes,
            device: self.device.clone(),
            require_sandbox: self.require_sandbox,
        })
    }
}

/// The HTTP interface.
#[derive(Debug, Clone, Args)]
pub struct HttpSettings {
    /// The address to listen on. Port 0 picks one; the first line on standard output names it.
    ///
    /// One that other machines reach is listened on only once there is a key: see `pare keys`.
    #[arg(long, env = "PARE_LISTEN", value_name = "HOST:PORT", default_value_t)]
    pub listen: Listen,
    /// Requests that each API key may make in a minute, on this server; 0 for any number.
    ///
    /// Without it 6000, and any number for those who need no key; with it, those together no more either.
    #[arg(long, env = "PARE_RATE_LIMIT", value_name = "REQUESTS_PER_MINUTE")]
    pub rate_limit: Option<u32>,
    /// Seconds for which the server still answers after it was told to stop, while `/readyz` says that it is going.
    ///
    /// As long as a balancer in front takes to hear of it.
    #[arg(long, env = "PARE_DRAIN_SECONDS", value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(0..=20))]
    pub drain_seconds: u8,
}

/// What can be seen of a worker.
#[derive(Debug, Clone, Default, Args)]
pub struct MetricsSettings {
    /// Show this worker's metrics at http://HOST:PORT/metrics, to whoever asks; no ids or names are among them.
    ///
    /// `serve` shows them at its own address.
    #[arg(long, env = "PARE_METRICS_LISTEN", value_name = "HOST:PORT")]
    pub metrics_listen: Option<Listen>,
}

/// What becomes of old results.
#[derive(Debug, Clone, Default, Args)]
pub struct RetentionSettings {
    /// Delete jobs, with their artifacts and reports, so many days after they ended.
    ///
    /// Models and datasets stay, also those that were made of a job's result. Without it nothing is deleted by itself.
    #[arg(long, env = "PARE_RETENTION_DAYS", value_name = "DAYS")]
    pub retention_days: Option<u32>,
}

/// The log, on standard error.
#[derive(Debug, Clone, Args)]
pub struct LogSettings {
    /// What is logged: error, warn, info, debug, trace, or by module: info,pare::worker=debug.
    #[arg(long, env = "PARE_LOG", value_name = "FILTER", default_value = "info", global = true)]
    pub log: String,
    /// How a line looks.
    #[arg(long, env = "PARE_LOG_FORMAT", value_name = "FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests;
