//! `pare inspect`: what a model's files say.

use std::path::PathBuf;

use super::Invalid;
use super::local::{self, Local};
use crate::engine::job::{Input, Output, Task, run as run_task};
use crate::engine::model::ModelHeader;

/// Check a model and show what is in it: family, sites, their forms and bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  pare inspect my-model")]
pub(super) struct Args {
    /// The model's folder.
    model: PathBuf,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

#[allow(clippy::print_stdout)] // the command's answer
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let here = Local::new(true, None);
    let ctx = here.context(std::env::temp_dir());
    let task = Task::ValidateModel { model: local::model(&args.model)? };
    let input = Input {
        task,
        threads: ctx.threads,
        device: "cpu".to_owned(),
        memory_limit_bytes: None,
        checkpoint: None,
        statistics: None,
    };
    let header = match run_task(&input, &ctx)? {
        Output::Model { header } => header,
        Output::Invalid { problems } | Output::Failed { problems } => return Err(Invalid(problems).into()),
        Output::Dataset { .. } | Output::Files { .. } => anyhow::bail!("the engine answered another question"),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&header)?);
    } else {
        show(&header);
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn show(header: &ModelHeader) {
    let architecture = header.architecture.as_deref().unwrap_or("unknown architecture");
    println!(
        "{architecture}: {} parameters, {} bytes of weights, mostly {}",
        header.parameters,
        header.size_bytes,
        header.dtype.as_str()
    );
    println!("{:44} {:>14} {:8} {:>5} {:>12} inputs", "site", "shape", "form", "bits", "parameters");
    for site in &header.sites {
        let (out, r#in) = site.layout.shape();
        let shape = format!("{out}×{in}", in = r#in);
        let layout = &site.layout;
        println!(
            "{:44} {shape:>14} {:8} {:>5} {:>12} {}",
            site.spec.site,
            layout.form(),
            layout.bits(),
            layout.parameters(),
            site.input.activations().unwrap_or("as they are")
        );
    }
}
