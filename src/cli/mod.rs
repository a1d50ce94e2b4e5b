//! The command line: the engine without a server, and the server itself.

pub mod compress;
pub mod evaluate;
pub mod inspect;
pub mod local;
pub mod methods;
pub mod plan;
pub mod run_job;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Done.
pub const OK: u8 = 0;
/// Something failed that is not the caller's doing.
pub const FAILED: u8 = 1;
/// What was given is wrong; every problem is on stderr.
pub const INVALID: u8 = 3;
/// Stopped on request.
pub const INTERRUPTED: u8 = 4;

/// Makes Transformer models smaller and proves what that cost.
///
/// A model is a folder in the Hugging Face layout: config.json, tokenizer.json, *.safetensors.
#[derive(Debug, Parser)]
#[command(version, after_help = "\
Exit codes:
  0  done
  1  failed: the cause is on stderr
  2  the command line can't be read
  3  what was given is wrong: every problem is on stderr, with a pointer to it
  4  interrupted

Start here:
  pare serve                                      the HTTP service, on http://127.0.0.1:8080
  pare compress MODEL --recipe int8 --out small   the same engine, without a server
  pare methods                                    what a recipe can be made of")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compress(compress::Args),
    Inspect(inspect::Args),
    Plan(plan::Args),
    Methods(methods::Args),
    Evaluate(evaluate::Args),
    #[command(hide = true)]
    RunJob(run_job::Args),
}

/// Runs what the command line asks for.
///
/// # Errors
///
/// What failed, for `main` to show.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Compress(args) => compress::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Methods(args) => methods::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::RunJob(args) => run_job::run(&args),
    }
}
