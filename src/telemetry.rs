//! The log: lines on standard error. Standard output belongs to what a command answers. And the metrics.

pub mod metrics;

use std::io;

use tracing_subscriber::filter::{EnvFilter, ParseError};

/// Starts logging what `filter` lets through, as lines for people or as JSON; a second call changes nothing.
///
/// # Errors
///
/// When the filter can't be read.
pub fn start(filter: &str, as_json: bool) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Started already: a test harness runs several servers in one process.
    let _ = if as_json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init()
    };
    Ok(())
}
