//! The operator's command line.

use std::process::ExitCode;

/// Parses the command line and runs what it says.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
