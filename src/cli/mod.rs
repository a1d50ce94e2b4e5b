//! The command line: one file a command.

mod backup;
mod compress;
mod database;
mod descriptors;
mod evaluate;
mod exit;
#[doc(hidden)]
pub mod fuzzing;
mod inspect;
mod keys;
mod local;
pub mod methods;
mod migrate;
mod plan;
mod restore;
mod run_job;
mod run_postgres;
mod sensitivity;
mod serve;
mod state;
mod stop;
mod stopwatch;
mod upload;
mod verify_report;
mod wait;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{LogFormat, LogSettings};
use crate::engine::error::EngineError;
use crate::telemetry;

pub use crate::worker::host;
pub use exit::{Exit, Interrupted, Invalid};
pub use stopwatch::ProcessClock;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 the command line is wrong, \
3 what was given is invalid (the problems are listed), 4 interrupted.";

/// Makes Transformer models smaller and proves what that cost.
#[derive(Debug, Parser)]
#[command(name = "pare", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
    /// How it is logged.
    #[command(flatten)]
    log: LogSettings,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: HTTP interface, dashboard and a worker.
    ///
    /// Without further settings it keeps everything under one state folder and runs a private Postgres there, so that
    /// one command on a laptop is a whole service. With DATABASE_URL and STORE_URL any number of servers and workers
    /// share one queue; a database that is away is waited for. The first line on standard output is
    /// `listening on http://ADDRESS`. SIGTERM and Ctrl-C end it within 30 seconds; jobs that run are given back to the queue.
    #[command(after_long_help = concat!("Example:\n  pare serve --listen 127.0.0.1:8080 --state-dir ./state\n\n",
        "Exit codes: 0 ended on request, 1 failed, 2 the command line is wrong."))]
    Serve(serve::Serve),
    /// Run jobs of a shared queue, without an HTTP interface.
    ///
    /// It needs the database and the store of the servers whose jobs it runs. As many as you like may run, each with a
    /// state folder of its own for scratch space. A database that is away is waited for. SIGTERM and Ctrl-C end it within
    /// 30 seconds; jobs that run are given back to the queue.
    #[command(after_long_help = concat!("Example:\n",
        "  pare work --database-url postgres://pare@db/pare --store-url s3://models/pare --workers 2\n\n",
        "Exit codes: 0 ended on request, 1 failed, 2 the command line is wrong."))]
    Work(work::Work),
    /// Bring a database's schema up to date.
    ///
    /// `serve` does this by itself when it starts. For those who let another account do it, before an upgrade.
    #[command(after_long_help = concat!("Example:\n  pare migrate --database-url postgres://owner@db/pare\n\n",
        "Exit codes: 0 up to date, 1 failed, 2 the command line is wrong."))]
    Migrate(migrate::Migrate),
    /// Save a service, which may run meanwhile: its database and all files.
    ///
    /// The database is saved as it is at one moment, with `pg_dump`, and with it every file that it names, each checked
    /// against its hash. manifest.json is written last: a folder without it is no backup. What the environment holds, such
    /// as credentials of a store, is not in it.
    #[command(after_long_help = concat!("Examples:\n  pare backup --state-dir ./state --out backups/monday\n",
        "  pare backup --database-url postgres://pare@db/pare --store-url s3://models/pare --out backups/monday\n\n",
        "Exit codes: 0 saved, 1 failed, 2 the command line is wrong, 4 interrupted."))]
    Backup(backup::Backup),
    /// Make a service of a backup.
    ///
    /// Every file is checked before anything is made. What it is restored into must be empty: a new state folder, or
    /// an empty database and store. A backup of an older version is brought up to date, one of a newer version refused.
    #[command(after_long_help = concat!("Examples:\n  pare restore backups/monday --state-dir ./restored\n",
        "  pare restore backups/monday --database-url postgres://pare@db/empty --store-url s3://models/restored\n\n",
        "Exit codes: 0 restored, 1 failed, 2 the command line is wrong, 4 interrupted."))]
    Restore(restore::Restore),
    /// Make, list, revoke and rotate the API keys of a service.
    ///
    /// As soon as there is one, servers ask for it; an address that other machines reach needs one before it is listened
    /// on. Works on DATABASE_URL, or on the private cluster of the state folder, while a server runs there and while
    /// none does. A key is printed once, on standard output.
    #[command(after_long_help = concat!("Examples:\n  KEY=$(pare keys create --name ci --scopes read,write --expires 90)\n",
        "  curl -H \"Authorization: Bearer $KEY\" localhost:8080/v1/jobs\n",
        "  pare keys create --name first --scopes read,write,admin --if-none   # before every start; the first makes it\n\n",
        "Exit codes: 0 done, 1 failed, 2 the command line is wrong."))]
    Keys(keys::Keys),
    Compress(compress::Args),
    Inspect(inspect::Args),
    Plan(plan::Args),
    Methods(methods::Args),
    Evaluate(evaluate::Args),
    Sensitivity(sensitivity::Args),
    Upload(upload::Args),
    VerifyReport(verify_report::Args),
    /// Run one job in this process; a worker starts it.
    #[command(hide = true)]
    RunJob(run_job::RunJob),
    /// Become the private cluster's server; `serve` starts it.
    #[command(hide = true)]
    RunPostgres(run_postgres::RunPostgres),
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = telemetry::start(&cli.log.log, cli.log.log_format == LogFormat::Json) {
        eprintln_error(&anyhow::Error::new(error).context(format!("--log '{}' can't be read", cli.log.log)));
        return Exit::Usage.into();
    }
    let done = match &cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Work(work) => work.run(),
        Command::Migrate(migrate) => migrate.run(),
        Command::Backup(backup) => backup.run(),
        Command::Restore(restore) => restore.run(),
        Command::Keys(keys) => keys.run(),
        Command::Compress(args) => compress::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Methods(args) => {
            methods::run(args);
            Ok(())
        }
        Command::Evaluate(args) => evaluate::run(args),
        Command::Sensitivity(args) => sensitivity::run(args),
        Command::Upload(args) => upload::run(args),
        Command::VerifyReport(args) => verify_report::run(args),
        Command::RunJob(job) => job.run(),
        Command::RunPostgres(postgres) => postgres.run(),
    };
    match done {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            eprintln_error(&error);
            Exit::of(&error).into()
        }
    }
}

/// A line on standard output.
fn answer(line: &str) -> anyhow::Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// One line an error, with its causes; one line more for each problem of an invalid input.
#[allow(clippy::print_stderr)] // this is what standard error is for
fn eprintln_error(error: &anyhow::Error) {
    eprintln!("pare: {error:#}");
    let problems = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(Invalid(problems)), _) | (_, Some(EngineError::Invalid(problems))) => problems.as_slice(),
        _ => &[],
    };
    if !problems.is_empty() {
        for problem in problems {
            eprintln!("  {problem}");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_win_and_defaults_hold() {
        let cli = Cli::parse_from(["pare", "serve", "--listen", ":0", "--workers", "0", "--log", "debug"]);
        let Command::Serve(serve) = cli.command else { panic!("serve") };
        assert_eq!(serve.http.listen.to_string(), "127.0.0.1:0");
        assert_eq!(serve.workers.workers, 0);
        assert_eq!(cli.log.log, "debug");
        assert!(Cli::try_parse_from(["pare", "serve", "--threads", "0"]).is_err());
    }
}
