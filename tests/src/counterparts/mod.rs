//! Programs that nobody here wrote, as the other side of the product's interfaces.
//!
//! - [`sushy`]: sushy-tools over libvirt: a BMC with a virtual machine behind it.
//! - [`ironicclient`]: the `baremetal` command line.
//! - [`redfish_validator`]: DMTF's Redfish-Service-Validator.
//! - [`keystone`]: OpenStack's identity service.
//! - [`postgresql`]: a database server.
//! - [`script`]: the clients that are driven by Python: `baremetal`, openstacksdk, metalsmith.
//! - [`swift`]: OpenStack's object store, with temporary URLs.
//!
//! The Python ones live in `.cache/venv`, which `make setup` fills from `tests/requirements.txt`.

pub mod ironicclient;
pub mod keystone;
mod namespace;
pub mod postgresql;
mod program;
pub mod redfish_validator;
pub mod script;
pub mod sushy;
pub mod swift;

use std::{io, path::PathBuf, time::Duration};

pub use program::Answer;

/// What can go wrong with a program that nobody here wrote.
#[derive(Debug, thiserror::Error)]
pub enum CounterpartError {
    /// It is not installed.
    #[error("{} is missing: run make setup first, or set BESSEMER_VENV", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It could not be started.
    #[error("{program} cannot be started")]
    Start {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not end.
    #[error("{program} did not end within {} s and was killed", limit.as_secs())]
    Late {
        /// Which, with arguments.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// It did not come up.
    #[error("{program} {problem}; the end of its log:\n{log}")]
    NotUp {
        /// Which.
        program: &'static str,
        /// What happened.
        problem: String,
        /// The end of what it printed.
        log: String,
    },
    /// It ended well but said something else than expected.
    #[error("{program} printed no {expected}:\n{output}")]
    Output {
        /// Which.
        program: &'static str,
        /// What was looked for.
        expected: &'static str,
        /// What there was.
        output: String,
    },
    /// It ended with an error.
    #[error("{program} failed: {answer}")]
    Failed {
        /// Which, with arguments.
        program: String,
        /// What it said.
        answer: Answer,
    },
    /// A file of the lab.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl CounterpartError {
    fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
