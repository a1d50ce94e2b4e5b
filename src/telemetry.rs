//! The log: lines on standard error. Standard output belongs to what a command answers. And the metrics.

pub mod metrics;

use std::io;

use tracing_subscriber::filter::{EnvFilter, ParseError};

use crate::config::{LogFormat, LogSettings};

/// Starts logging; a second call changes nothing.
///
/// # Errors
///
/// When the filter can't be read.
pub fn start(settings: &LogSettings) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(&settings.log)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Started already: a test harness runs several servers in one process.
    let _ = match settings.log_format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}
