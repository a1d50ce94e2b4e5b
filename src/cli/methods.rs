//! `pare methods`: what a recipe can be made of.

use serde_json::Value;

use crate::engine::method::{METHODS, capabilities};
use crate::engine::recipe::presets;

/// List methods with their parameters, and presets.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  pare methods\n  pare methods --markdown   the README's table\n  pare methods --json       parameters as JSON Schema"
)]
pub(super) struct Args {
    /// Print methods with the JSON Schema of their parameters.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the tables as Markdown.
    #[arg(long)]
    markdown: bool,
}

#[allow(clippy::print_stdout)] // the command's answer
pub(super) fn run(args: &Args) {
    if args.json {
        println!("{:#}", capabilities());
    } else if args.markdown {
        print!("{}", markdown());
    } else {
        print!("{}", text());
    }
}

/// The README's tables.
pub fn markdown() -> String {
    let mut text = String::from("| method | does | needs | from |\n|---|---|---|---|\n");
    for spec in METHODS.iter().map(|m| m.spec()) {
        let needs = spec.needs.as_str().replace('_', " ");
        text += &format!("| `{}` | {} | {needs} | {} |\n", spec.name, spec.summary, spec.source);
    }
    text += "\n| preset | does |\n|---|---|\n";
    for preset in presets() {
        text += &format!("| `{}` | {} |\n", preset.name, preset.summary);
    }
    text
}

fn text() -> String {
    let mut text = String::new();
    for spec in METHODS.iter().map(|m| m.spec()) {
        text += &format!("{}\n  {}\n  needs {}; from {}\n", spec.name, spec.summary, spec.needs.as_str(), spec.source);
        text += &format!("  targets {:?} unless the stage names its own\n", spec.default_targets);
        let schema = crate::engine::method::params::schema(spec.params);
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let doc = property.get("description").and_then(Value::as_str).unwrap_or_default();
            let default = property.get("default").map_or_else(|| "none".to_owned(), ToString::to_string);
            text += &format!("    {name} (default {default}): {doc}\n");
        }
        text.push('\n');
    }
    text += "presets\n";
    for preset in presets() {
        text += &format!("  {:10} {}\n", preset.name, preset.summary);
    }
    text
}
