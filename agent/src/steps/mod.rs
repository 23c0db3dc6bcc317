//! In-band steps: what an agent can be told to do. One file per step; [`registry`] is the visible list.

pub mod inspect;
pub mod power;
pub mod registry;
pub mod set_boot_entry;
pub mod write_config_drive;
pub mod write_image;
mod written_disk;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use registry::Registry;

/// One kind of work. Arguments and result are JSON: a step parses its arguments into its own
/// `deny_unknown_fields` type with [`arguments`].
#[async_trait]
pub trait Step: Send + Sync {
    /// The name the controller calls it by.
    fn name(&self) -> &'static str;

    /// Does the work. Must stop soon after `context.cancel` fires and must leave the machine safe then.
    async fn run(&self, arguments: Value, context: StepContext) -> Result<Value, StepError>;
}

/// What a step gets besides its arguments.
#[derive(Clone)]
pub struct StepContext {
    /// Fires when the controller cancels the step, its deadline passes or the agent ends.
    pub cancel: CancellationToken,
    /// Where progress and warnings go.
    pub report: Arc<dyn StepReport>,
    /// Where the kernel's file systems are.
    pub roots: Roots,
}

/// Takes what a running step says. The work never sees the network.
pub trait StepReport: Send + Sync {
    /// What the step is doing, how far it is; `bytes_total` 0 when not known. Cheap: may be called for each buffer.
    fn progress(&self, stage: &'static str, bytes_done: u64, bytes_total: u64);
    /// Something an operator should know though the step goes on.
    fn warning(&self, message: String);
}

/// Where the kernel's file systems are mounted; folders of fixtures in tests.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into() }
    }
}

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The arguments do not have the step's shape.
    #[error("the arguments of the step are wrong")]
    Arguments(#[source] serde_json::Error),
    /// The work failed; the chain says what, on which object, and what to do.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
    /// It was told to stop, and did.
    #[error("the step was cancelled")]
    Cancelled,
}

/// Parses a step's arguments.
pub fn arguments<T: DeserializeOwned>(value: Value) -> Result<T, StepError> {
    serde_json::from_value(value).map_err(StepError::Arguments)
}
