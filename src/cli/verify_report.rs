//! `pare verify-report`: is a report true?

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::compress::Scratch;
use super::local::{self, Local};
use super::{Invalid, answer};
use crate::engine::job::Datasets;
use crate::engine::report::Report;
use crate::engine::report::read::MOST_BYTES;
use crate::engine::report::verify::{Check, State, Verification};
use crate::engine::run::verify::{Effort, Given, verify};

/// A value of a difference that is shown, at most.
const SHOWN_CHARS: usize = 60;

/// Check a report.json against the files that it speaks of.
///
/// A report names the SHA-256 of every file that went in and came out. This command hashes the files that you have and
/// computes again what follows from them: sizes, parameters and ratios; every site's form, bytes and error of its
/// weights; the recipe resolved against the model; and what follows from the report's own numbers: sums, intervals,
/// the verdict. With --evaluate it also runs original and result on the same rows and compares each number of their
/// answers; with --recompress it runs the whole job.
///
/// Each line of its answer is a check: `ok`; `differs`, with the values; `warning`, where something differs that no
/// number depends on, such as another build of pare; or `not checked`, with the reason, such as a file that was not
/// given. Files are found by the names that they have in the report, data also where it is called otherwise.
///
/// Numbers that are measured again are compared to the last bit where version, processor, instruction set and threads
/// are the report's; elsewhere within a tolerance, which is printed. Sizes, names and counts never have one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  The hashes and sizes of a result that `pare compress my-model --eval test.jsonl --out small` left:
    pare verify-report small/report.json --model my-model --artifact small --evaluation test.jsonl
  Its accuracy, fidelity and intervals too:
    pare verify-report small/report.json --model my-model --artifact small --evaluation test.jsonl --evaluate
  A job of a server:
    curl -o report.json localhost:8080/v1/jobs/$JOB/report
    curl localhost:8080/v1/jobs/$JOB/artifacts.tar | tar -x -C small
    pare verify-report report.json --model my-model --artifact small --evaluation test.jsonl --evaluate
  A model that was measured against another:
    pare verify-report report.json --model small --reference my-model --evaluation test.jsonl --evaluate

Exit codes: 0 nothing differs, 1 something does, 2 the command line is wrong,
3 the report can't be read (the problems are listed), 4 interrupted.")]
#[command(after_help = "\
Example:
  pare verify-report small/report.json --model my-model --artifact small --evaluation test.jsonl --evaluate

Exit codes: 0 nothing differs, 1 something does, 3 the report can't be read. More: --help")]
pub(super) struct Args {
    /// The report.json.
    report: PathBuf,
    /// The folder of the model that was worked on.
    #[arg(long, value_name = "FOLDER")]
    model: PathBuf,
    /// The folder of what the job left: the smaller model.
    #[arg(long, value_name = "FOLDER")]
    artifact: Option<PathBuf>,
    /// The folder of the model that it was measured against, where a model was measured as it is.
    #[arg(long, value_name = "FOLDER")]
    reference: Option<PathBuf>,
    /// The data that statistics were taken from. Data of several files: once for each, in the report's order.
    #[arg(long, value_name = "FILE")]
    calibration: Vec<PathBuf>,
    /// The data that was trained on.
    #[arg(long, value_name = "FILE", visible_alias = "train")]
    training: Vec<PathBuf>,
    /// The data that choices were made on.
    #[arg(long, value_name = "FILE")]
    validation: Vec<PathBuf>,
    /// The data that was measured on.
    #[arg(long, value_name = "FILE", visible_alias = "eval")]
    evaluation: Vec<PathBuf>,
    /// Run the models again, on the same rows.
    #[arg(long)]
    evaluate: bool,
    /// Run the whole job again: takes as long as it took, and all data that it used.
    #[arg(long)]
    recompress: bool,
    /// Threads. The report's unless given, or all cores if these are fewer.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print all checks as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let report = Report::read(&read(&args.report)?).map_err(Invalid)?;
    let given = Given {
        model: local::folder(&args.model)?,
        reference: args.reference.as_deref().map(local::folder).transpose()?,
        artifact: args.artifact.as_deref().map(local::folder).transpose()?,
        datasets: Datasets {
            calibration: local::datasets(&args.calibration)?,
            training: local::datasets(&args.training)?,
            validation: local::datasets(&args.validation)?,
            evaluation: local::datasets(&args.evaluation)?,
        },
    };
    let effort = match (args.recompress, args.evaluate) {
        (true, _) => Effort::Recompress,
        (false, true) => Effort::Evaluate,
        (false, false) => Effort::Files,
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let here = Local::new(args.json, args.threads.or(Some(report.provenance.threads.min(cores))));
    let scratch = (effort == Effort::Recompress).then(|| Scratch::beside(&std::env::temp_dir().join("verify")));
    let scratch = scratch.transpose()?;
    let ctx = here.context(scratch.as_ref().map_or_else(std::env::temp_dir, |scratch| scratch.0.clone()));
    let done = verify(&report, &given, effort, &ctx);
    here.finish();
    let done = done?;
    if args.json {
        answer(&format!("{:#}", document(&done)))?;
    } else {
        show(&done)?;
    }
    let differ = done.count(State::Differs);
    anyhow::ensure!(differ == 0, "{differ} of {} checks differ from the report", done.checks.len());
    Ok(())
}

/// No more than a report may have.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = || format!("{} can't be read", path.display());
    let mut bytes = Vec::new();
    File::open(path).with_context(failed)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).with_context(failed)?;
    Ok(bytes)
}

const STATES: [(State, &str); 4] =
    [(State::Ok, "ok"), (State::Differs, "differs"), (State::Warning, "warning"), (State::NotChecked, "not checked")];

fn document(done: &Verification) -> Value {
    let counts: serde_json::Map<String, Value> =
        STATES.iter().map(|(state, name)| (name.replace(' ', "_"), json!(done.count(*state)))).collect();
    json!({
        "differs": done.count(State::Differs) > 0, "basis": done.basis, "counts": counts, "checks": done.checks,
    })
}

fn show(done: &Verification) -> anyhow::Result<()> {
    answer(&format!("Measured numbers are compared so: {}.\n", done.basis.why))?;
    for check in &done.checks {
        show_check(check)?;
    }
    let counts = STATES.iter().map(|(state, name)| format!("{} {name}", done.count(*state)));
    answer(&format!("\n{}", counts.collect::<Vec<_>>().join(", ")))
}

fn show_check(check: &Check) -> anyhow::Result<()> {
    let state = STATES.iter().find(|(state, _)| *state == check.state).map_or("", |(_, name)| *name);
    let differ = check.differences.len() as u64 + check.differences_left_out;
    let values = match (check.compared, differ) {
        (0, _) => String::new(),
        (1, 0) => " (1 value)".to_owned(),
        (compared, 0) => format!(" ({compared} values)"),
        (compared, differ) => format!(" ({differ} of {compared} values)"),
    };
    let why = check.why.as_ref().map_or_else(String::new, |why| format!(": {}", printable(why)));
    let place = if check.pointer.is_empty() { "/" } else { &check.pointer };
    answer(&format!("{state:11}  {:38}  {}{values}{why}", printable(place), check.what))?;
    for difference in &check.differences {
        let found = shown(difference.found.as_ref(), "nothing");
        let reported = shown(difference.reported.as_ref(), "nothing");
        answer(&format!("{:13}{}: the report says {reported}, found {found}", "", printable(&difference.pointer)))?;
    }
    if check.differences_left_out > 0 {
        answer(&format!("{:13}and {} more", "", check.differences_left_out))?;
    }
    Ok(())
}

fn shown(value: Option<&Value>, nothing: &str) -> String {
    let Some(value) = value else { return nothing.to_owned() };
    let text = printable(&value.to_string());
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(&text)),
        None => text,
    }
}

/// A report is from anywhere, and a terminal obeys control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
