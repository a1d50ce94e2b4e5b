//! The `pare` binary: parses the command line, starts telemetry, dispatches.

use std::process::ExitCode;

fn main() -> ExitCode {
    pare::cli::main()
}
