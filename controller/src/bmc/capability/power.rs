//! Power.

use std::time::Duration;

use async_trait::async_trait;

use super::Changed;
use crate::{bmc::BmcError, node::PowerState};

/// A change of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerAction {
    /// On.
    On,
    /// Off, at once.
    ForceOff,
    /// Off, by asking the operating system.
    GracefulShutdown,
    /// Begins anew at once, without being off.
    ForceRestart,
    /// The same, by asking the operating system.
    GracefulRestart,
}

/// Reading and changing power. `set` returns when the BMC accepted; `wait_for` when it is so.
#[async_trait]
pub trait Power: Send + Sync {
    /// Whether the machine is on.
    async fn state(&self) -> Result<PowerState, BmcError>;
    /// Asks for a change.
    async fn set(&self, action: PowerAction) -> Result<Changed, BmcError>;
    /// Polls until the machine is in `state`.
    async fn wait_for(&self, state: PowerState, within: Duration) -> Result<(), BmcError>;
}
