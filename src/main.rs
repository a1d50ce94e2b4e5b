//! The `pare` binary: parses the command line, starts telemetry, dispatches.

fn main() {}
