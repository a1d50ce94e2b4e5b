//! `pare upload`: files to a server, in parallel parts, that a killed run picks up where it was.

mod client;
mod files;
mod memory;
mod send;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::state::prepare_tls;
use super::{Interrupted, stop};
use client::Client;
pub(in crate::cli) use client::Refused;
pub use client::Upload;
use files::Found;
use memory::Memory;
use send::Sender;

/// How long the server is asked to wait for the end of a validation, each time.
const WAIT_SECONDS: u64 = 30;

/// Upload a model or a dataset to a server, and wait until it was checked.
///
/// Files are sent in parts, several at once. A run that was cut off goes on where it was when it is started again: it
/// remembers its uploads in $XDG_STATE_HOME/pare or ~/.local/state/pare. The id is printed on standard output.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  pare upload my-model --server http://localhost:8080\n  \
pare upload test.jsonl --dataset --name my-test\n\n\
Exit codes: 0 ready (or taken, with --no-wait), 1 failed (start it again: it goes on), 2 the command line is wrong,\n\
3 the server refuses it or it turned out invalid (the problems are listed), 4 interrupted (start it again: it goes on).")]
pub(super) struct Args {
    /// Folders, whose files keep their paths below them, and files. Hidden files stay.
    #[arg(required = true, value_name = "FOLDER_OR_FILE")]
    paths: Vec<PathBuf>,
    /// The server.
    #[arg(long, env = "PARE_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// What it is to be called. Without it, as the first folder or file.
    #[arg(long)]
    name: Option<String>,
    /// It is a dataset, not a model.
    #[arg(long)]
    dataset: bool,
    /// The API key, where the server asks for one.
    #[arg(long, env = "PARE_API_KEY", value_name = "KEY", hide_env_values = true)]
    key: Option<String>,
    /// Parts on their way at once.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    parallel: u32,
    /// Don't wait until it was checked.
    #[arg(long)]
    no_wait: bool,
    /// Print the model or dataset as JSON, and no progress.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    prepare_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let stopped = stop::on_signal()?;
        tokio::select! {
            done = upload(args) => done,
            () = stopped.cancelled() => Err(Interrupted.into()),
        }
    });
    // A hash that is still computed is not waited for.
    runtime.shutdown_background();
    done
}

async fn upload(args: &Args) -> anyhow::Result<()> {
    let found = files::find(&args.paths)?;
    let name = args.name.clone().or_else(|| files::name(&args.paths));
    let name = name.context("there is no name to take from the files: give --name")?;
    let client = Client::new(&args.server, args.key.as_deref())?;
    let memory = Memory::open(crate::config::client_state_folder(), &args.server);
    let bar = progress(args.json, &found);
    if !args.json {
        tell(&found.notes);
    }
    let sender = Sender::new(&client, &memory, &bar, args.parallel);
    let uploads = sender.send_all(&found.files).await?;
    bar.finish_and_clear();
    let collection = if args.dataset { "datasets" } else { "models" };
    let files: Vec<Value> = uploads.iter().map(|(path, id)| json!({ "path": path, "upload_id": id })).collect();
    let made: Value = client.post(&format!("/v1/{collection}"), &json!({ "name": name, "files": files })).await?;
    for file in &found.files {
        memory.forget(file);
    }
    let id = made.get("id").and_then(Value::as_str).context("the server's answer has no id")?.to_owned();
    let settled = if args.no_wait { made } else { wait(&client, &format!("/v1/{collection}/{id}")).await? };
    show(args, &id, &settled)
}

#[allow(clippy::print_stderr)] // notes beside the answer
fn tell(notes: &[String]) {
    for note in notes {
        eprintln!("{note}");
    }
}

/// One bar for all bytes.
fn progress(quiet: bool, found: &Found) -> ProgressBar {
    let total = found.files.iter().map(|file| file.size_bytes).sum();
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(total) };
    let style = "{msg:12} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message("uploading");
    bar
}

/// The model or dataset once it is no longer validating.
async fn wait(client: &Client, path: &str) -> anyhow::Result<Value> {
    loop {
        let seen = client.get_waiting(path, Duration::from_secs(WAIT_SECONDS)).await?;
        if seen.get("state").and_then(Value::as_str) != Some("validating") {
            return Ok(seen);
        }
    }
}

#[allow(clippy::print_stdout)] // the command's answer
fn show(args: &Args, id: &str, settled: &Value) -> anyhow::Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(settled)?);
    } else {
        println!("{id}");
    }
    match settled.get("state").and_then(Value::as_str) {
        Some("ready") => Ok(()),
        Some("validating") if args.no_wait => Ok(()),
        Some("invalid") => Err(Refused::invalid(id, settled).into()),
        other => bail!("{id} is {}", other.unwrap_or("in no state")),
    }
}
