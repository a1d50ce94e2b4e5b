//! `pare plan`: what a recipe would do.

use std::path::PathBuf;

use super::{Invalid, local};
use crate::engine::model::inspect::inspect;
use crate::engine::plan::{Plan, resolve};
use crate::engine::run::available;

/// Show what a recipe would do to a model, to the byte, without running it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pare plan my-model --recipe int4
  pare plan my-model --recipe int4-gptq --calibration text.jsonl
  pare plan my-model --recipe my-recipe.json --json")]
pub(super) struct Args {
    /// The model's folder.
    model: PathBuf,
    /// A preset's name or a JSON file with a recipe.
    #[arg(long)]
    recipe: String,
    #[command(flatten)]
    rows: local::Rows,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

#[allow(clippy::print_stdout)] // the command's answer
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let recipe = local::recipe(&args.recipe)?;
    let (inspected, _) = inspect(&local::model(&args.model)?.files)?;
    let plan = resolve(&recipe, &inspected.header, &available(&args.rows.datasets()?)?).map_err(Invalid)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        show(&plan, inspected.header.size_bytes);
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn show(plan: &Plan, before: u64) {
    println!("{before:>14} bytes  as it is");
    for stage in &plan.stages {
        println!(
            "{:>14} bytes  after {} {} on {} sites",
            stage.size_bytes,
            stage.method,
            stage.params,
            stage.sites.len()
        );
    }
    let predicted = &plan.predicted;
    println!(
        "about {} s on two cores, at most {} bytes of memory",
        predicted.wall_seconds, predicted.peak_memory_bytes
    );
    for file in &predicted.files {
        println!("{} loads in {}", file.path, file.loaders.join("; "));
    }
    for note in &plan.notes {
        println!("note: {note}");
    }
}
