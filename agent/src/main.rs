//! Bessemer's agent. All of it is in the library, so that vendors can build their own.

use std::process::ExitCode;

use bessemer_agent::steps::Registry;

fn main() -> ExitCode {
    bessemer_agent::main(Registry::standard())
}
