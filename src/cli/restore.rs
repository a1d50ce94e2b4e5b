//! `pare restore`: makes a service of a backup.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::Interrupted;
use super::backup::{start_cluster, told};
use super::state::{State, prepare_tls};
use super::stop;
use crate::backup::{self, Manifest, Service};
use crate::config::{DatabaseSettings, StateSettings, StoreSettings};
use crate::postgres::{self, DATABASE};
use crate::store::Store;

/// What is restored, and where to.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup's folder.
    #[arg(value_name = "BACKUP")]
    from: PathBuf,
    #[command(flatten)]
    state: StateSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    store: StoreSettings,
}

impl Restore {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        prepare_tls();
        // First all of it is read: nothing is made of a backup that is not sound.
        let manifest = backup::check(&self.from)?;
        let folder = self.state.folder()?;
        if self.database.database_url.is_none() && postgres::has_cluster(&folder) {
            let what = format!("the state folder {}", folder.display());
            return Err(backup::Error::TargetNotEmpty(what).into());
        }
        let state = State::open(&folder)?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let shutdown = stop::on_signal()?;
            let cluster = match self.database.database_url {
                Some(_) => None,
                None => Some(start_cluster(&self.database, &state).await?),
            };
            let url = cluster.as_ref().map(|cluster| cluster.url(DATABASE));
            let url = url.or_else(|| self.database.database_url.clone()).context("there is no database")?;
            let loaded = tokio::select! {
                loaded = self.load(&manifest, url, &state) => loaded,
                () = shutdown.cancelled() => Err(Interrupted.into()),
            };
            if let Some(cluster) = cluster {
                cluster.stop().await.context("the private cluster did not stop")?;
            }
            loaded.context("what was restored so far is no service: remove it before you try again")?;
            super::answer(&told("restored", &manifest, &self.from))
        })
    }

    async fn load(&self, manifest: &Manifest, url: String, state: &State) -> anyhow::Result<()> {
        let store = Store::open(&self.store.config(&state.folder)?).await?;
        let service = Service { url, store, programs: self.database.postgres_bin.clone() };
        Ok(backup::load(&self.from, manifest, &service).await?)
    }
}
