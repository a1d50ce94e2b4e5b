//! `pare compress`: a recipe on a local folder.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use super::Invalid;
use super::local::{self, Local};
use crate::engine::job::{Input, Output, Role, Task, run as run_task};
use crate::engine::run::OUT;

/// Compress a model in a local folder, with no server.
///
/// The result is a folder that the runtimes named in its report load, with report.json beside the weights.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pare compress my-model --recipe int8 --out my-model-int8
  pare compress my-model --recipe int4 --eval test.jsonl --max-seq-length 96 --out small
  pare compress my-model --recipe my-recipe.json --calibration text.txt --out small --json")]
pub(super) struct Args {
    /// The model's folder: config.json, tokenizer.json, *.safetensors.
    model: PathBuf,
    /// A preset's name (`pare methods` lists them) or a JSON file with a recipe.
    #[arg(long)]
    recipe: String,
    /// The folder for the result. It must not exist, or be empty.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    rows: local::Rows,
    /// Tokens that a row is cut to when the result is measured.
    #[arg(long, value_name = "N")]
    max_seq_length: Option<usize>,
    /// Threads. All cores unless given.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where tensors live.
    #[arg(long, default_value = "cpu", value_parser = ["cpu"])]
    device: String,
    /// Print the report as JSON in place of a summary, and no progress.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let occupied = std::fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    anyhow::ensure!(!occupied, "{} is not empty: name another folder, or empty it", args.out.display());
    let mut recipe = local::recipe(&args.recipe)?;
    if args.max_seq_length.is_some() {
        recipe.evaluate.max_seq_length = args.max_seq_length;
    }
    let datasets = args.rows.datasets()?;
    let here = Local::new(args.json, args.threads);
    let scratch = Scratch::beside(&args.out)?;
    let ctx = here.context(scratch.0.clone());
    let task = Task::Compress { model: local::model(&args.model)?, recipe, plan: None, datasets };
    let input = Input {
        task,
        threads: ctx.threads,
        device: args.device.clone(),
        memory_limit_bytes: None,
        checkpoint: None,
        statistics: None,
    };
    let output = run_task(&input, &ctx);
    here.finish();
    let files = match output? {
        Output::Files { files } => files,
        Output::Failed { problems } | Output::Invalid { problems } => return Err(Invalid(problems).into()),
        Output::Model { .. } | Output::Dataset { .. } => anyhow::bail!("the engine answered another question"),
    };
    publish(&scratch.0.join(OUT), &args.out)?;
    let report = files.iter().find(|f| f.role == Role::Report).context("there is no report")?;
    show(&args.out, &report.path, args.json)?;
    Ok(())
}

/// The folder appears whole or not at all.
fn publish(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        std::fs::remove_dir(to).with_context(|| format!("{} can't be replaced", to.display()))?;
    }
    std::fs::rename(from, to).with_context(|| format!("{} can't be written", to.display()))
}

#[allow(clippy::print_stdout)] // the command's answer
fn show(out: &Path, report: &str, json: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(out.join(report))?;
    if json {
        print!("{text}");
        return Ok(());
    }
    let report: Value = serde_json::from_str(&text)?;
    let at = |pointer: &str| report.pointer(pointer).cloned().unwrap_or(Value::Null);
    println!("{}", at("/result/verdict/summary").as_str().unwrap_or_default());
    if let Some(kl) = at("/result/after/fidelity/kl/mean").as_f64() {
        let agreement = at("/result/after/fidelity/top1_agreement/value").as_f64().unwrap_or_default();
        let on = at("/result/after/fidelity/measured_on");
        println!(
            "Against the original: mean KL {kl:.2e}, same answer {:.2}% ({} {})",
            agreement * 100.0,
            on.as_str().unwrap_or("?"),
            at("/result/after/fidelity/unit").as_str().map_or_else(|| "rows".to_owned(), |unit| format!("{unit}s"))
        );
    }
    if let Some(share) = at("/result/after/fidelity/numbers/relative_rms_difference").as_f64() {
        println!("Against the original: its numbers are off by {:.2}% of their standard deviation", share * 100.0);
    }
    println!("{}: the model and report.json", out.display());
    Ok(())
}

/// A folder beside the result, removed when the run ends.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn beside(out: &Path) -> anyhow::Result<Self> {
        let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = parent.join(format!(".{name}.pare-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing more can be done about a folder that can't be removed
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
