//! `pare migrate`: brings a database's schema up to date.

use anyhow::Context;
use clap::Args;

use crate::db;

/// Which database.
#[derive(Args)]
pub(super) struct Migrate {
    /// The database: postgres://user@host/name.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: String,
}

impl Migrate {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        super::state::prepare_tls();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let pool = db::connect(&self.database_url, 2).await.context("the database can't be opened")?;
            db::migrate(&pool).await.context("the schema can't be brought up to date")?;
            pool.close().await;
            tracing::info!("the schema is up to date");
            Ok(())
        })
    }
}

/// An address may hold a password: it is not shown.
impl std::fmt::Debug for Migrate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Migrate").finish_non_exhaustive()
    }
}
