//! The `pare` binary: parses the command line, dispatches, and says what failed.

use std::process::ExitCode;

use clap::Parser;
use pare::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(cli::FAILED)
    })
}
