//! Provision states, verbs, and the one table that says which verb leads where.

use serde::{Deserialize, Serialize};

use super::{UnknownWord, words};
use std::{fmt, str::FromStr};

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// `provision_state` of a node, with Ironic's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ProvisionState { $($(#[$doc])* #[serde(rename = $text)] $variant),* }
        impl ProvisionState {
            /// All states.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
        }
        words!(ProvisionState { $($variant = $text),* });
    };
}

states! {
    /// Just made; nothing is known of its BMC.
    Enroll = "enroll",
    /// Its BMC is tried.
    Verifying = "verifying",
    /// Its BMC answers.
    Manageable = "manageable",
    /// Steps run between two users of the machine.
    Cleaning = "cleaning",
    /// Ready to be deployed.
    Available = "available",
    /// A step of a deploy runs.
    Deploying = "deploying",
    /// A deploy waits for the agent.
    WaitCallBack = "wait call-back",
    /// The deploy failed.
    DeployFailed = "deploy failed",
    /// Runs its operating system.
    Active = "active",
    /// The deployment is taken down.
    Deleting = "deleting",
    /// Taking down failed.
    Error = "error",
    /// Cleaning failed.
    CleanFailed = "clean failed",
}

/// What the API can ask of a node's provision state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// `manage`.
    #[serde(rename = "manage")]
    Manage,
    /// `provide`.
    #[serde(rename = "provide")]
    Provide,
    /// `active`, `deploy`.
    #[serde(rename = "active")]
    Deploy,
    /// `rebuild`.
    #[serde(rename = "rebuild")]
    Rebuild,
    /// `deleted`, `undeploy`.
    #[serde(rename = "deleted")]
    Undeploy,
    /// `abort`.
    #[serde(rename = "abort")]
    Abort,
}
