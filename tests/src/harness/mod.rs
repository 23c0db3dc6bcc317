//! The product as its users run it: the real controller as a child process, its REST API, and the artifacts that a
//! deploy needs.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use bessemer_tests::{harness::{Controller, agent_artifacts}, lab::{Firmware, Lab, MachineDefinition}};
//! use serde_json::json;
//!
//! let folder = tempfile::tempdir()?;
//! let lab = Lab::start(folder.path(), vec![MachineDefinition::new("node-1", Firmware::Ovmf)]).await?;
//! let mut controller = Controller::start(folder.path(), &agent_artifacts::deploy_iso()?, "").await?;
//! let api = controller.api();
//! let node = api.enroll(lab.machine("node-1"), json!({})).await?;
//! api.provision(&node, json!({ "target": "manage" })).await?;
//! api.wait_for_state(&node, "manageable", Duration::from_secs(60)).await?;
//! controller.kill().await?; // as when the power fails
//! controller.restart().await?; // on the same state and ports
//! # Ok(())
//! # }
//! ```

pub mod agent_artifacts;
mod api;
mod controller;
pub mod hollow_agent;
mod hollow_steps;

use std::{io, path::PathBuf};

pub use api::Api;
pub use controller::{Controller, program};
pub use hollow_agent::HollowAgent;

use crate::lab::LabError;

/// What can go wrong around the controller.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// Something that is built before tests is not there.
    #[error(
        "{what} is missing: run make ramdisk images first (looked at {}, from the environment variable {variable})",
        path.display()
    )]
    Artifact {
        /// What.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// The variable that says where.
        variable: &'static str,
    },
    /// The controller's binary is not there.
    #[error("the controller's binary {} is missing: run make build first, or set BESSEMER_BIN", path.display())]
    Binary {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file or process that cannot be used.
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
    /// The extra configuration of a test is not TOML.
    #[error("the extra configuration is not TOML")]
    Configuration(#[from] toml::de::Error),
    /// The controller did not answer in time, or ended.
    #[error("the controller {problem}; its log ends with:\n{log}")]
    Controller {
        /// What happened.
        problem: String,
        /// The end of its log.
        log: String,
    },
    /// A request to the API failed on the way.
    #[error("{method} {path} failed")]
    Request {
        /// The method.
        method: String,
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The API refused a request.
    #[error("{method} {path} was answered {status}: {body}")]
    Refused {
        /// The method.
        method: String,
        /// The path.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The answer.
        body: String,
    },
    /// A node did not get where it should.
    #[error("node {node} is in \"{state}\" instead of \"{wanted}\" {after}; last_error: {last_error}")]
    State {
        /// The node.
        node: String,
        /// Where it is.
        state: String,
        /// Where it should be.
        wanted: String,
        /// Why the wait ended.
        after: String,
        /// The node's own words.
        last_error: String,
    },
    /// The lab failed.
    #[error(transparent)]
    Lab(#[from] LabError),
}

impl HarnessError {
    fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
