//! `pare backup`: saves database and blobs.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::Interrupted;
use super::state::{InUse, State, prepare_tls};
use super::stop;
use super::work::own_program;
use crate::backup::{self, Manifest, Service};
use crate::config::{ByteSize, DatabaseSettings, StateSettings, StoreSettings};
use crate::db::admin;
use crate::postgres::{self, Cluster, ClusterConfig, DATABASE};
use crate::store::Store;

/// What is saved, and where to.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The folder that the backup goes into: a new one, or an empty one.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    state: StateSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    store: StoreSettings,
}

impl Backup {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        prepare_tls();
        let folder = self.state.folder()?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let shutdown = stop::on_signal()?;
            let database = Database::open(&self.database, &folder).await?;
            let store = Store::open(&self.store.config(&folder)?).await?;
            let service = Service { url: database.url.clone(), store, programs: self.database.postgres_bin.clone() };
            let saved = tokio::select! {
                saved = backup::save(&service, &self.out) => saved.map_err(anyhow::Error::from),
                () = shutdown.cancelled() => Err(Interrupted.into()),
            };
            database.close().await?;
            let manifest = saved.with_context(|| format!("{} is no backup", self.out.display()))?;
            super::answer(&told("saved", &manifest, &self.out))
        })
    }
}

/// One line for people and scripts.
pub(super) fn told(what: &str, manifest: &Manifest, folder: &Path) -> String {
    let rows: u64 = manifest.rows.values().sum();
    let Manifest { blobs, blob_bytes, migration, .. } = manifest;
    let size = ByteSize(*blob_bytes);
    format!("{what} {rows} rows (migration {migration}) and {blobs} blobs ({size}): {}", folder.display())
}

/// The database of a service that may run or not.
struct Database {
    url: String,
    /// Ours, where nobody else runs it, with the lock on its folder.
    own: Option<(State, Cluster)>,
}

impl Database {
    async fn open(settings: &DatabaseSettings, folder: &Path) -> anyhow::Result<Self> {
        if let Some(url) = &settings.database_url {
            return Ok(Self { url: url.clone(), own: None });
        }
        if !postgres::has_cluster(folder) {
            bail!(
                "there is no service in the state folder {}: name the one to save with --state-dir, or its database with \
                 --database-url",
                folder.display()
            );
        }
        let state = match State::open(folder) {
            Ok(state) => state,
            Err(error) if error.is::<InUse>() => {
                let changing = "the service in the state folder is starting or ending: try again";
                let url = Cluster::url_of_running(folder, DATABASE).context(changing)?;
                admin::ping(&url).await.context(changing)?;
                return Ok(Self { url, own: None });
            }
            Err(error) => return Err(error),
        };
        let cluster = start_cluster(settings, &state).await?;
        Ok(Self { url: cluster.url(DATABASE), own: Some((state, cluster)) })
    }

    async fn close(self) -> anyhow::Result<()> {
        match self.own {
            Some((_state, cluster)) => cluster.stop().await.context("the private cluster did not stop"),
            None => Ok(()),
        }
    }
}

/// Starts the private cluster of a state folder that is ours.
pub(super) async fn start_cluster(settings: &DatabaseSettings, state: &State) -> anyhow::Result<Cluster> {
    let config = ClusterConfig {
        state_dir: state.folder.clone(),
        bin_dir: settings.postgres_bin.clone(),
        helper: own_program()?,
    };
    Cluster::start(config).await.context("the private database can't be started")
}
