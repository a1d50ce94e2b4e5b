//! `pare run-postgres`: becomes the private cluster's server.

use std::ffi::OsString;

use clap::Args;

use crate::postgres;

/// What the cluster's supervisor gives.
#[derive(Debug, Args)]
pub(super) struct RunPostgres {
    /// The supervisor's process id.
    #[arg(long)]
    parent: i32,
    /// The server and its arguments.
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

impl RunPostgres {
    /// Returns only where the server can't be started.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        Err(postgres::exec_server(self.parent, &self.argv).into())
    }
}
