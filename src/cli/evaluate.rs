//! `pare evaluate`: measures a model as it is.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::Invalid;
use super::local::{self, Local, seconds};
use crate::engine::evaluate::Answers;
use crate::engine::export::{TensorSpec, encoding::float_bytes, safetensors};
use crate::engine::job::Datasets;
use crate::engine::model::Dtype;
use crate::engine::recipe::Evaluate;
use crate::engine::run::{Evaluated, evaluate_files};

/// Measure a model on labelled rows, and how near it is to another.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pare evaluate my-model --eval test.jsonl
  pare evaluate small --reference my-model --eval test.jsonl --max-seq-length 96 --json")]
pub(super) struct Args {
    /// The model's folder.
    model: PathBuf,
    /// Rows to measure on, {"text", "label"} a line.
    #[arg(long, value_name = "FILE")]
    eval: Option<PathBuf>,
    /// The model's folder that it is compared with.
    #[arg(long, value_name = "MODEL")]
    reference: Option<PathBuf>,
    /// Tokens that a row is cut to.
    #[arg(long, value_name = "N")]
    max_seq_length: Option<usize>,
    /// accuracy, macro_f1, mcc, pearson, spearman, token_f1, entity_f1, perplexity, fidelity, latency: all that apply unless
    /// given.
    #[arg(long, value_name = "METRIC", value_delimiter = ',')]
    metrics: Option<Vec<String>>,
    /// Threads. All cores unless given.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write the answers: a safetensors file with `logits` [rows, labels] in the rows' order (of a tagger a line for every
    /// word, or every token of a text), or `nll` of every token of a language model.
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Print {"evaluate_seconds", "report"} as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let here = Local::new(args.json, args.threads);
    let ctx = here.context(std::env::temp_dir());
    let datasets = Datasets { evaluation: local::dataset(args.eval.as_ref())?, ..Datasets::default() };
    let settings = json!({ "max_seq_length": args.max_seq_length, "metrics": args.metrics });
    let settings = Evaluate::parse(&settings).map_err(Invalid)?;
    let reference = args.reference.as_deref().map(local::model).transpose()?;
    let model = local::model(&args.model)?;
    let evaluated = evaluate_files(&model, reference.as_ref(), &settings, &datasets, &ctx);
    here.finish();
    let mut evaluated = evaluated?;
    if let (Some(path), Some(answers)) = (&args.logits, &evaluated.answers) {
        write_answers(path, answers).with_context(|| format!("{} can't be written", path.display()))?;
    }
    show(&mut evaluated, args.json)?;
    Ok(())
}

#[allow(clippy::print_stdout)] // the command's answer
fn show(evaluated: &mut Evaluated, json: bool) -> anyhow::Result<()> {
    let report: Value = serde_json::from_slice(&evaluated.report.finish()?)?;
    if json {
        println!("{:#}", json!({ "evaluate_seconds": evaluated.evaluate_time.as_secs_f64(), "report": report }));
        return Ok(());
    }
    println!("{}", report.pointer("/result/verdict/summary").and_then(Value::as_str).unwrap_or_default());
    println!("{} to tokenize and run", seconds(evaluated.evaluate_time));
    Ok(())
}

fn write_answers(path: &Path, answers: &Answers) -> std::io::Result<()> {
    let (name, shape, values) = match answers {
        Answers::Scores(scores) => ("logits", vec![scores.rows(), scores.width], &scores.values),
        Answers::Foretold(foretold) => ("nll", vec![foretold.nll.len()], &foretold.nll),
    };
    let tensors = [TensorSpec { name: name.to_owned(), dtype: Dtype::F32, shape, category: None }];
    let mut writer = safetensors::Writer::new(std::fs::File::create(path)?, &tensors)?;
    writer.tensor(name, &float_bytes(values, Dtype::F32))?;
    writer.finish().map(drop)
}
