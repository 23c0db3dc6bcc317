//! Out-of-band hardware behind narrow capability traits, each optional, each at most seven methods. Knows
//! nodes only as an address with credentials; knows no provision state.

pub mod fake;
pub mod redfish;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bessemer_proto::ids::NodeId;
use serde::{Deserialize, Serialize};

use crate::node::{
    BootMode, Node, PowerState, UnknownWord,
    hardware::{BiosSetting, FirmwareComponent},
    words,
};

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
    /// Non-maskable interrupts.
    pub nmi: Option<Arc<dyn Nmi>>,
    /// Lights that help to find the machine.
    pub indicators: Option<Arc<dyn Indicators>>,
    /// The settings of the firmware.
    pub bios: Option<Arc<dyn BiosSettings>>,
    /// Which firmware the machine has.
    pub firmware: Option<Arc<dyn FirmwareInventory>>,
    /// Who made the machine, and how it is.
    pub overview: Option<Arc<dyn Overview>>,
}

impl Bmc {
    /// One that can do nothing but power.
    #[must_use]
    pub fn only_power(power: Arc<dyn Power>) -> Self {
        Self {
            power,
            boot_device: None,
            boot_mode: None,
            secure_boot: None,
            virtual_media: None,
            nmi: None,
            indicators: None,
            bios: None,
            firmware: None,
            overview: None,
        }
    }
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

/// A device to boot from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootSource {
    /// The virtual CD.
    Cd,
    /// The first disk, or what the firmware's boot order says.
    Disk,
    /// The network.
    Pxe,
    /// The firmware's set-up program.
    Setup,
    /// A file that the firmware fetches by HTTP.
    UefiHttp,
}

words!(BootSource { Pxe = "pxe", Disk = "disk", Cd = "cdrom", Setup = "bios", UefiHttp = "uefihttp" });

impl BootSource {
    /// In Ironic's order.
    pub const ALL: [Self; 5] = [Self::Pxe, Self::Disk, Self::Cd, Self::Setup, Self::UefiHttp];
}

/// Choosing what boots next.
#[async_trait]
pub trait BootDevice: Send + Sync {
    /// Boots from `source` once, at the next start.
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError>;
    /// Boots from `source` until told otherwise; clears a one-time choice.
    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError>;
    /// What boots at the next start, and whether it stays so; `None` when the BMC does not say.
    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError>;
    /// What may be chosen.
    async fn supported(&self) -> Result<Vec<BootSource>, BmcError>;
}

/// How a machine is, as its BMC sums it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Well.
    Ok,
    /// Something wants attention.
    Warning,
    /// Something is broken.
    Critical,
}

words!(Health { Ok = "OK", Warning = "Warning", Critical = "Critical" });

/// What a BMC says of its machine as a whole.
#[async_trait]
pub trait Overview: Send + Sync {
    /// Who made it; `None` when the BMC does not say.
    async fn vendor(&self) -> Result<Option<String>, BmcError>;
    /// How it is; `None` when the BMC does not say.
    async fn health(&self) -> Result<Option<Health>, BmcError>;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// All slots, with what is in them.
    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError>;
}

/// A virtual drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MediaSlot {
    /// As the BMC calls them: `CD`, `DVD`, `Floppy`, `USBStick`.
    pub media_types: Vec<String>,
    /// Whether something is in it.
    pub inserted: bool,
    /// URL of what is in it; empty when nothing is.
    pub image: String,
}

/// Non-maskable interrupts.
#[async_trait]
pub trait Nmi: Send + Sync {
    /// Interrupts the running operating system, which usually dumps its memory.
    async fn inject(&self) -> Result<(), BmcError>;
}

/// What a light shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Light {
    /// On.
    On,
    /// Off.
    Off,
    /// Blinking.
    Blinking,
    /// The BMC does not say.
    Unknown,
}

words!(Light { On = "ON", Off = "OFF", Blinking = "BLINKING", Unknown = "UNKNOWN" });

/// Lights that help to find the machine.
#[async_trait]
pub trait Indicators: Send + Sync {
    /// All lights.
    async fn lights(&self) -> Result<Vec<Indicator>, BmcError>;
    /// What one of them shows.
    async fn light(&self, component: &str, id: &str) -> Result<Light, BmcError>;
    /// Changes one of them.
    async fn set_light(&self, component: &str, id: &str, light: Light) -> Result<(), BmcError>;
}

/// A light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicator {
    /// `system`, `chassis` or `disk`.
    pub component: &'static str,
    /// Unique within the component.
    pub id: String,
    /// What it can show.
    pub states: Vec<Light>,
    /// Whether it cannot be changed.
    pub read_only: bool,
}

/// The settings of the firmware.
#[async_trait]
pub trait BiosSettings: Send + Sync {
    /// All that the BMC tells; in force since the last start.
    async fn read(&self) -> Result<Vec<BiosSetting>, BmcError>;
}

/// Which firmware the machine has.
#[async_trait]
pub trait FirmwareInventory: Send + Sync {
    /// All components that the BMC tells of.
    async fn components(&self) -> Result<Vec<FirmwareComponent>, BmcError>;
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
        "fake-hardware" => fake::open(node),
        // Whoever switches the machine says so here; nothing else can be asked of it.
        "manual-management" => Ok(Bmc::only_power(fake::open(node)?.power)),
        other => Err(BmcError::DriverInfo(format!("driver \"{other}\" has no BMC"))),
    }
}

/// Forgets what is remembered of a node that is no more.
pub fn forget(node: NodeId) {
    fake::forget(node);
}

/// Ends what is kept open at BMCs: for when the controller stops.
pub async fn close_sessions() {
    redfish::close_sessions().await;
}
