//! Why requests are refused, and why a state gives up.

use std::error::Error;

use bessemer_proto::ids::NodeId;

use crate::{
    bmc::BmcError, boot::BootError, config_drive::ConfigDriveError, drivers::DriverError, image::ImageError,
    node::ProvisionState, store::StoreError,
};

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
    /// The node's driver has no interface for it, or none is enabled.
    #[error("Driver {driver} does not support {what} (disabled or not implemented).")]
    Unsupported {
        /// The hardware type.
        driver: String,
        /// `inspect`, `rescue`, …
        what: String,
    },
    /// Too many nodes do the same.
    #[error(
        "Unable to process request at this time. The concurrent action limit for {task} has been reached. Please \
         contact your administrator and try again later."
    )]
    Crowded {
        /// `deployment`, `cleaning`.
        task: &'static str,
    },
    /// The BMC failed at it; a sentence.
    #[error("{0}")]
    Hardware(String),
    /// Nothing that may be told about.
    #[error("Resource could not be found.")]
    NotFound,
    /// The request or the node lacks something; a sentence.
    #[error("{0}")]
    Invalid(String),
    /// What is asked for does not go together with how things are; a sentence.
    #[error("{0}")]
    InUse(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of `node validate` for one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// `power`, `boot`, `deploy`, …
    pub interface: &'static str,
    /// `None`: the interface is not used by this driver (Ironic's `result: null`). `Some(Err(reason))`: it cannot
    /// work.
    pub result: Option<Result<(), String>>,
}

/// Why a state cannot go on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database: nothing is known about the machine, so it is tried again later.
    Store(StoreError),
    /// The node fails for this reason, a sentence.
    Node(String),
}

// === impl Failure ===

impl From<StoreError> for Failure {
    /// A row that is missing or unreadable stays so; the database itself may come back.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database { .. } | StoreError::Conflict { .. } | StoreError::Overtaken { .. } => {
                Self::Store(error)
            }
            broken => Self::Node(sentence(&broken)),
        }
    }
}

macro_rules! fails_the_node {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Node(sentence(&error))
            }
        })*
    };
}
fails_the_node!(BmcError, BootError, ImageError, ConfigDriveError, DriverError, serde_json::Error);

/// An error with its causes, in one line: `last_error` is where an operator reads it.
pub(crate) fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
