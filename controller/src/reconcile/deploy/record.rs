//! What a deploy must remember to be resumed.

use std::collections::BTreeMap;

use bessemer_proto::{
    ids::{BootId, StepId},
    step::{SetBootEntryResult, WriteConfigDriveResult, WriteImageReceipt},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{node::Node, reconcile::error::Failure};

pub(in crate::reconcile) const KEY: &str = "deploy";

/// Holds no secrets: the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The boot of the deploy ramdisk.
    pub(super) boot: Option<BootId>,
    /// When the machine was started with it.
    pub(super) booted_at: Option<DateTime<Utc>>,
    /// The life of the controller that serves its media.
    pub(super) life: Option<Uuid>,
    /// Steps given to the agent, by name.
    #[serde(default)]
    pub(crate) steps: BTreeMap<String, StepId>,
    /// What was written.
    pub(super) receipt: Option<WriteImageReceipt>,
    /// Where its config drive is.
    #[serde(default)]
    pub(super) config_drive: Option<WriteConfigDriveResult>,
    /// How the firmware finds it.
    pub(super) boot_entry: Option<SetBootEntryResult>,
}

// === impl Record ===

impl Record {
    pub(super) fn of(node: &Node) -> Result<Self, Failure> {
        match node.driver_internal_info.get(KEY) {
            None => Ok(Self::default()),
            Some(value) => Ok(serde_json::from_value(value.clone())?),
        }
    }

    pub(super) fn keep(&self, node: &mut Node) -> Result<(), Failure> {
        node.driver_internal_info.insert(KEY.to_owned(), serde_json::to_value(self)?);
        Ok(())
    }

    /// The boot that steps run in.
    pub(super) fn boot(&self) -> Result<BootId, Failure> {
        self.boot.ok_or_else(|| {
            Failure::Node("the deploy has no boot of the deploy ramdisk: deploy the node again".to_owned())
        })
    }

    /// What stays when the deploy is over.
    pub(super) fn summary(&self) -> Result<Value, Failure> {
        Ok(json!({
            "booted_at": self.booted_at,
            "finished_at": Utc::now(),
            "receipt": serde_json::to_value(&self.receipt)?,
            "config_drive": serde_json::to_value(&self.config_drive)?,
            "boot_entry": serde_json::to_value(&self.boot_entry)?,
        }))
    }
}
