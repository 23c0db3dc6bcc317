//! Out-of-band hardware behind narrow capability traits, each optional, each at most seven methods. Knows
//! nodes only as an address with credentials; knows no provision state.

pub mod redfish;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::node::{BootMode, Node, PowerState};

/// What one BMC can do.
#[derive(Clone)]
pub struct Bmc {
    /// Power is the one thing every BMC can do.
    pub power: Arc<dyn Power>,
    /// Choosing what boots next.
    pub boot_device: Option<Arc<dyn BootDevice>>,
    /// UEFI or BIOS.
    pub boot_mode: Option<Arc<dyn BootModeControl>>,
    /// UEFI Secure Boot.
    pub secure_boot: Option<Arc<dyn SecureBoot>>,
    /// Virtual CD, floppy, USB stick.
    pub virtual_media: Option<Arc<dyn VirtualMedia>>,
}

/// Whether an idempotent operation had to do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It did.
    Yes,
    /// Things were so already.
    Already,
}

/// A change of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerAction {
    /// On.
    On,
    /// Off, at once.
    ForceOff,
    /// Off, by asking the operating system.
    GracefulShutdown,
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

/// A device to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootSource {
    /// The virtual CD.
    Cd,
    /// The first disk, or what the firmware's boot order says.
    Disk,
    /// The network.
    Pxe,
}

/// Choosing what boots next.
#[async_trait]
pub trait BootDevice: Send + Sync {
    /// Boots from `source` once, at the next start.
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError>;
    /// Boots from `source` until told otherwise; clears a one-time choice.
    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError>;
}

/// UEFI or BIOS.
#[async_trait]
pub trait BootModeControl: Send + Sync {
    /// The mode in force.
    async fn mode(&self) -> Result<Option<BootMode>, BmcError>;
    /// Asks for a mode, in force from the next start.
    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError>;
}

/// UEFI Secure Boot.
#[async_trait]
pub trait SecureBoot: Send + Sync {
    /// Whether it is on.
    async fn enabled(&self) -> Result<Option<bool>, BmcError>;
    /// Turns it on or off, in force from the next start.
    async fn set_enabled(&self, enabled: bool) -> Result<Changed, BmcError>;
}

/// A kind of virtual medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// CD or DVD.
    Cd,
    /// Floppy or USB stick.
    Floppy,
}

/// Virtual media.
#[async_trait]
pub trait VirtualMedia: Send + Sync {
    /// Puts the image at `url` into a slot of that kind, ejecting what was there.
    async fn insert(&self, kind: MediaKind, url: &url::Url) -> Result<Changed, BmcError>;
    /// Ejects from all slots of that kind. No slot of that kind is no error.
    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError>;
    /// Whether there is a slot of that kind.
    async fn has(&self, kind: MediaKind) -> Result<bool, BmcError>;
}

/// What went wrong with a BMC. Callers decide by variant.
#[derive(Debug, thiserror::Error)]
pub enum BmcError {
    /// `driver_info` cannot be used; the text names the key and what to put there.
    #[error("{0}")]
    DriverInfo(String),
    /// No connection.
    #[error("the BMC at {address} cannot be reached: check the address, the network and the BMC")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("the BMC at {address} did not answer {what} within {seconds} s")]
    Timeout {
        /// Where.
        address: String,
        /// What was asked.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Wrong user name or password. Not retried: BMCs lock accounts.
    #[error(
        "the BMC at {address} refused user \"{user}\": check redfish_username and redfish_password in driver_info"
    )]
    Credentials {
        /// Where.
        address: String,
        /// Who.
        user: String,
    },
    /// Its TLS certificate is not accepted.
    #[error(
        "the certificate of the BMC at {address} is not accepted: set redfish_verify_ca in driver_info to a file with \
         its authority, or to false"
    )]
    Certificate {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// It accepted a change, and failed at it later.
    #[error("the BMC at {address} accepted {what}, but its task failed: {message}")]
    TaskFailed {
        /// Where.
        address: String,
        /// What was asked.
        what: String,
        /// The BMC's own words, shortened.
        message: String,
    },
    /// It accepted a change of power, and nothing happened.
    #[error("the machine behind the BMC at {address} is still not in state \"{wanted}\" after {seconds} s")]
    PowerUnchanged {
        /// Where.
        address: String,
        /// The state waited for.
        wanted: PowerState,
        /// How long was waited.
        seconds: u64,
    },
    /// An error answer.
    #[error("the BMC at {address} answered {what} with status {status}: {message}")]
    Refused {
        /// Where.
        address: String,
        /// What was asked.
        what: String,
        /// HTTP status.
        status: u16,
        /// The BMC's own words, shortened.
        message: String,
    },
    /// An answer that does not say what it must.
    #[error("the BMC at {address} answered {what} with something else than expected: {problem}")]
    Malformed {
        /// Where.
        address: String,
        /// What was asked.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The BMC lacks the feature.
    #[error("the BMC at {address} cannot {what}")]
    Unsupported {
        /// Where.
        address: String,
        /// What was wanted.
        what: String,
    },
}

/// Makes the BMC of a node from its `driver` and `driver_info`. Does not connect yet.
pub fn open(node: &Node) -> Result<Bmc, BmcError> {
    match node.driver.as_str() {
        "redfish" => redfish::open(&node.driver_info),
        other => Err(BmcError::DriverInfo(format!("driver \"{other}\" has no BMC"))),
    }
}

/// Ends what is kept open at BMCs: for when the controller stops.
pub async fn close_sessions() {
    redfish::close_sessions().await;
}
