//! The gRPC side: certificate authority, enrolment, sessions. Records what an agent reports and pokes the
//! engine; decides nothing.

pub mod authority;

use std::{sync::Arc, time::Duration};

use bessemer_proto::{
    ids::{BootId, NodeId, StepId},
    secret::Secret,
    v1::StepProgress,
};
use chrono::{DateTime, Utc};

use crate::store::{Store, StoreError};

/// Called with a node about which something was recorded: the engine looks at it soon.
pub type Poke = Arc<dyn Fn(NodeId) + Send + Sync>;

/// All agents that are or may be connected; cheap to clone.
#[derive(Clone)]
pub struct Fleet {}

/// What a boot medium must carry so that its agent can enrol.
#[derive(Debug)]
pub struct BootTicket {
    /// The boot.
    pub boot: BootId,
    /// The one-time token: stored only as a hash.
    pub token: Secret,
    /// CA certificates, DER.
    pub ca_certificates: Vec<Vec<u8>>,
    /// host:port of this controller, as agents reach it.
    pub controllers: Vec<String>,
}

/// A session that is open now.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The boot its agent runs in.
    pub boot: BootId,
    /// Agent version.
    pub agent_version: String,
    /// Steps it can run.
    pub supported_steps: Vec<String>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Last sign of life.
    pub last_seen: DateTime<Utc>,
}

/// Live progress of a step, from memory.
#[derive(Clone, Debug)]
pub struct LiveProgress {
    /// What the agent said last.
    pub progress: StepProgress,
    /// When.
    pub at: DateTime<Utc>,
}

#[allow(
    unused_variables,
    clippy::todo,
    clippy::unused_async,
    reason = "skeleton, replaced by the owner of this room"
)]
impl Fleet {
    /// Makes a boot for a node: stores the token's hash, valid for `token_lifetime`; closes older boots.
    pub async fn issue_ticket(
        &self,
        node: NodeId,
        token_lifetime: Duration,
    ) -> Result<BootTicket, StoreError> {
        todo!()
    }
    /// The node's session, when one is open.
    pub fn session(&self, node: NodeId) -> Option<SessionInfo> {
        todo!()
    }
    /// Sends a stored step down the node's session, if one is open; false if not. Idempotent: an agent that knows
    /// the step answers with what became of it.
    pub async fn send_step(&self, node: NodeId, step: StepId) -> Result<bool, StoreError> {
        todo!()
    }
    /// Asks the agent to stop a step.
    pub async fn cancel_step(&self, node: NodeId, step: StepId) {
        todo!()
    }
    /// Live progress of a node's running step.
    pub fn progress(&self, node: NodeId) -> Option<LiveProgress> {
        todo!()
    }
    /// The newest log message of a node's agent.
    pub fn last_log(&self, node: NodeId) -> Option<String> {
        todo!()
    }
    /// Ends the node's session and closes its boots: the deploy is over.
    pub async fn close(&self, node: NodeId) -> Result<(), StoreError> {
        todo!()
    }
}
