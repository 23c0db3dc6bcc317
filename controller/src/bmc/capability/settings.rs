//! What is kept in the machine: settings of its firmware, the firmware itself, RAID volumes.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use url::Url;

use super::Changed;
pub use crate::node::raid::{NewVolume, PhysicalDrive, StorageController, Volume};
use crate::{
    bmc::BmcError,
    node::hardware::{BiosSetting, FirmwareComponent},
};

/// The settings of the firmware.
#[async_trait]
pub trait BiosSettings: Send + Sync {
    /// All that the BMC tells; in force since the last start.
    async fn read(&self) -> Result<Vec<BiosSetting>, BmcError>;
    /// Asks for values, in force from the next start. Unknown names, read-only ones and values that are not allowed are
    /// refused before anything is sent.
    async fn apply(&self, wanted: &[(String, serde_json::Value)]) -> Result<Changed, BmcError>;
    /// Asks for the manufacturer's values, in force from the next start.
    async fn reset(&self) -> Result<Changed, BmcError>;
    /// What became of the last `apply` after a restart; of the last `reset` when nothing is named.
    async fn outcome(&self, wanted: &[(String, serde_json::Value)]) -> Result<Outcome, BmcError>;
}

/// What became of something that takes its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not there yet; percent done, if the BMC says so.
    Pending(Option<u8>),
    /// It has not begun; if that stays so, it waits for the machine to start anew.
    NeedsRestart,
    /// It is so.
    Done,
    /// It did not work; the BMC's own words.
    Failed(String),
}

/// A job of a BMC; its name survives restarts of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job(pub String);

/// Which firmware the machine has.
#[async_trait]
pub trait FirmwareInventory: Send + Sync {
    /// All components that the BMC tells of.
    async fn components(&self) -> Result<Vec<FirmwareComponent>, BmcError>;
}

/// Replacing firmware.
#[async_trait]
pub trait FirmwareUpdate: Send + Sync {
    /// Starts an update of `component` (`bios`, `bmc`, `nic:…`) with the image at `url`. `None`: it is done already.
    async fn update(&self, component: &str, url: &Url) -> Result<Option<Job>, BmcError>;
    /// An update that runs now, whoever asked for it.
    async fn under_way(&self) -> Result<Option<Job>, BmcError>;
    /// How far it is.
    async fn progress(&self, job: &Job) -> Result<Outcome, BmcError>;
}

/// RAID volumes.
#[async_trait]
pub trait Raid: Send + Sync {
    /// What there is.
    async fn controllers(&self) -> Result<Vec<StorageController>, BmcError>;
    /// Makes volumes. `None`: the BMC names nothing that could be watched, be it that they are there at once.
    async fn create(&self, volumes: &[NewVolume]) -> Result<Option<Job>, BmcError>;
    /// Removes volumes and what is on them; tries all of them before it fails. `None`: nothing can be watched.
    async fn delete(&self, volumes: &[Volume]) -> Result<Option<Job>, BmcError>;
    /// How far a job is. Some jobs begin at the next start of the machine.
    async fn progress(&self, job: &Job) -> Result<Outcome, BmcError>;
    /// Whether these controllers ([`StorageController::id`]) change volumes only at the next start of the machine.
    async fn needs_restart(&self, controllers: &[String]) -> Result<bool, BmcError>;
}
