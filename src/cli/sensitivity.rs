//! `pare sensitivity`: what every site of a local model costs, compressed alone.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

use super::Invalid;
use super::compress::Scratch;
use super::local::{self, Local};
use crate::engine::job::{Datasets, Input, Output, Task, run as run_task};
use crate::engine::recipe::{Recipe, for_sensitivity};
use crate::engine::report::{Report, SiteSensitivity, html};
use crate::engine::run::OUT;

/// Compress every site of a model alone, at every number of bits, and tell what each costs.
///
/// The model stays as it is. For each site and number of bits the site alone is changed as the recipe would change it, and the
/// whole model is run on held-out rows, a tenth of the calibration data: the divergence (KL) of its answers from the original's
/// says how much that site needs its bits. Sites that hardly move can be given fewer, sites at the top more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pare sensitivity my-model --calibration text.jsonl
  pare sensitivity my-model --calibration text.jsonl --bits 2,4,8 --html table.html
  pare sensitivity my-model --calibration text.jsonl --recipe my-recipe.json --out table.json

Without --recipe every site is rounded in groups of 64 with zero points, as in the preset int4. A recipe's `targets` and `ignore` say
which sites are tried, its `params` how.")]
pub(super) struct Args {
    /// The model's folder: config.json, tokenizer.json, *.safetensors.
    model: PathBuf,
    /// Text of the task; a tenth of its rows is held out, and answers are compared on those.
    #[arg(long, value_name = "FILE")]
    calibration: PathBuf,
    /// A preset's name or a JSON file with a recipe: how sites are changed, and which.
    #[arg(long)]
    recipe: Option<String>,
    /// Bits that every site is tried at: 2,3,4,5,6,8 as far as the methods have them, unless given.
    #[arg(long, value_name = "BITS", value_delimiter = ',')]
    bits: Option<Vec<u32>>,
    /// Held-out rows that answers are compared on, at most: 128 of at most 8,192 tokens together, unless given.
    #[arg(long, value_name = "N")]
    num_samples: Option<usize>,
    /// Tokens that a row is cut to.
    #[arg(long, value_name = "N")]
    max_seq_length: Option<usize>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the report's page, with the table as a heat map.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Threads. All cores unless given.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print the report as JSON in place of a table, and no progress.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let here = Local::new(args.json, args.threads);
    let scratch = Scratch::beside(&std::env::temp_dir().join("sensitivity"))?;
    let ctx = here.context(scratch.0.clone());
    let datasets = Datasets { calibration: local::dataset(Some(&args.calibration))?, ..Datasets::default() };
    let model = local::model(&args.model)?;
    let task = Task::Sensitivity { model, recipe: recipe(args)?, plan: None, datasets, earlier: None };
    let input = Input {
        task,
        threads: ctx.threads,
        device: "cpu".to_owned(),
        memory_limit_bytes: None,
        checkpoint: None,
        statistics: None,
    };
    let output = run_task(&input, &ctx);
    here.finish();
    match output? {
        Output::Files { .. } => {}
        Output::Failed { problems } | Output::Invalid { problems } => return Err(Invalid(problems).into()),
        Output::Model { .. } | Output::Dataset { .. } => anyhow::bail!("the engine answered another question"),
    }
    let text = std::fs::read_to_string(scratch.0.join(OUT).join("report.json")).context("there is no report")?;
    show(args, &text)
}

/// The recipe, with what the command line says of it.
fn recipe(args: &Args) -> anyhow::Result<Recipe> {
    let mut recipe = args.recipe.as_deref().map_or_else(|| Ok(for_sensitivity().clone()), local::recipe)?;
    let mut asked = recipe.sensitivity.take().unwrap_or_default();
    asked.bits = args.bits.clone().or(asked.bits);
    asked.num_samples = args.num_samples.or(asked.num_samples);
    recipe.sensitivity = Some(asked);
    recipe.evaluate.max_seq_length = args.max_seq_length.or(recipe.evaluate.max_seq_length);
    // The command line is read as strictly as a file
    Ok(Recipe::parse(&serde_json::to_value(&recipe)?).map_err(Invalid)?)
}

#[allow(clippy::print_stdout)] // the command's answer
fn show(args: &Args, text: &str) -> anyhow::Result<()> {
    let written = |path: &PathBuf, text: &str| {
        std::fs::write(path, text).with_context(|| format!("{} can't be written", path.display()))
    };
    if let Some(path) = &args.out {
        written(path, text)?;
    }
    if let Some(path) = &args.html {
        let document: Value = serde_json::from_str(text)?;
        written(path, &html::page(&document))?;
    }
    if args.json {
        print!("{text}");
        return Ok(());
    }
    let report: Report = serde_json::from_str(text)?;
    print!("{}", table(report.result.sensitivity.as_deref().unwrap_or_default()));
    println!("\n{}", report.result.verdict.summary);
    Ok(())
}

/// A line a site, in the model's order; a column for each number of bits.
fn table(sites: &[SiteSensitivity]) -> String {
    let mut bits: Vec<u32> = sites.iter().flat_map(|site| site.levels.iter().map(|level| level.bits)).collect();
    bits.sort_unstable();
    bits.dedup();
    let widest = sites.iter().map(|site| site.site.chars().count()).max().unwrap_or(4);
    let is_run = sites.iter().flat_map(|site| &site.levels).any(|level| level.loss().is_some());
    let what = if is_run { "what answers lose (mean KL, nats)" } else { "error of outputs" };
    let columns: String = bits.iter().map(|bits| format!(" {:>9}", format!("{bits} bits"))).collect();
    let mut text = format!("{:widest$} {:>11}{columns}   {what}\n", "site", "bytes now");
    for site in sites {
        let cell = |bits: &u32| {
            let level = site.levels.iter().find(|level| level.bits == *bits);
            let number = level.and_then(|level| if is_run { level.loss() } else { level.relative_error });
            number.map_or_else(|| format!(" {:>9}", "-"), |number| format!(" {number:>9.2e}"))
        };
        let cells: String = bits.iter().map(cell).collect();
        // A text takes whatever is written into it
        let _ = writeln!(text, "{:widest$} {:>11}{cells}", site.site, site.before_bytes);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::Category;
    use crate::engine::report::{Level, WeightStatistics};

    #[test]
    fn a_line_a_site_and_a_dash_where_nothing_was_tried() {
        let weights = WeightStatistics {
            count: 1,
            min: 0.0,
            max: 0.0,
            absmax: 0.0,
            mean: 0.0,
            std: 0.0,
            kurtosis: None,
            abs_p99_9: 0.0,
            abs_p99_99: 0.0,
            zero_share: 1.0,
            outlier_share: 0.0,
        };
        let level = |bits, kl| Level {
            bits,
            bytes: 10,
            sqnr_db: None,
            relative_error: Some(0.5),
            kl,
            cosine: None,
            rms_difference: None,
        };
        let site = |site: &str, levels| SiteSensitivity {
            site: site.to_owned(),
            category: Category::Mlp,
            before_bytes: 1234,
            weights,
            levels,
        };
        let all = [
            site("a.long.name", vec![level(2, Some(0.125)), level(4, Some(0.0))]),
            site("b", vec![level(4, Some(1.5))]),
        ];
        let shown = table(&all);
        let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..7], ["site", "bytes", "now", "2", "bits", "4", "bits"]);
        assert_eq!(lines[1], ["a.long.name", "1234", "1.25e-1", "0.00e0"]);
        assert_eq!(lines[2], ["b", "1234", "-", "1.50e0"]);
        let unrun = table(&[site("a", vec![level(2, None)])]);
        assert!(unrun.contains("error of outputs") && unrun.contains("5.00e-1"));
    }
}
