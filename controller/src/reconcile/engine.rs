//! Loads a node, applies its deadline, calls its state, persists the outcome and the history. Knows no state
//! by name.

use bessemer_proto::ids::NodeId;

use crate::{
    node::{Node, PowerTarget, ProvisionState, Verb},
    store::StoreError,
};

/// Handle to the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {}

/// Why a request about a node is refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The verb is not allowed in the node's state.
    #[error(
        "The requested action \"{verb}\" can not be performed on node \"{node}\" while it is in state \"{state}\"."
    )]
    InvalidState {
        /// As the API calls it.
        verb: String,
        /// UUID.
        node: NodeId,
        /// Where it is.
        state: ProvisionState,
    },
    /// Somebody works on the node; waited three seconds.
    #[error("Node {node} is locked by host {host}, please retry after the current operation is completed.")]
    Locked {
        /// UUID.
        node: NodeId,
        /// Which controller.
        host: String,
    },
    /// The node is in maintenance.
    #[error("The {operation} operation can't be performed on node {node} because it's in maintenance mode.")]
    Maintenance {
        /// Which operation.
        operation: &'static str,
        /// UUID.
        node: NodeId,
    },
    /// The request or the node lacks something; a sentence.
    #[error("{0}")]
    Invalid(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of `node validate` for one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// `power`, `boot`, `deploy`, …
    pub interface: &'static str,
    /// `None`: the interface is not used by this driver (Ironic's `result: null`). `Some(Err(reason))`: it cannot work.
    pub result: Option<Result<(), String>>,
}

#[allow(
    unused_variables,
    clippy::todo,
    clippy::unused_async,
    reason = "skeleton, replaced by the owner of this room"
)]
impl Engine {
    /// Applies a provisioning verb: checks it, enters the first state of it, and pokes. `arguments` is the body of
    /// `PUT /v1/nodes/X/states/provision` without `target` (for example `configdrive`).
    pub async fn provision(
        &self,
        node: NodeId,
        verb: Verb,
        arguments: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), RequestError> {
        todo!()
    }
    /// Accepts a change of power; it happens in the background and shows in `target_power_state`, `last_error`.
    pub async fn power(&self, node: NodeId, target: PowerTarget) -> Result<(), RequestError> {
        todo!()
    }
    /// Changes a node that nobody works on: waits up to three seconds for its reservation, lets `change` edit it,
    /// writes it. For PATCH and maintenance.
    pub async fn edit<F>(&self, node: NodeId, change: F) -> Result<Node, RequestError>
    where
        F: FnOnce(&mut Node) -> Result<(), RequestError> + Send,
    {
        todo!()
    }
    /// Removes a node that may be removed.
    pub async fn delete(&self, node: NodeId) -> Result<(), RequestError> {
        todo!()
    }
    /// What `node validate` says. May not touch hardware.
    pub fn validate(&self, node: &Node) -> Vec<Validation> {
        todo!()
    }
    /// Looks at the node soon.
    pub fn poke(&self, node: NodeId) {
        todo!()
    }
}
