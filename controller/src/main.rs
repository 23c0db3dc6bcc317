//! `bessemer`: the controller daemon and the operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    bessemer_controller::cli::main()
}
