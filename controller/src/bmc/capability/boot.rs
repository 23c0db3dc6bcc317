//! What a machine boots, and how: boot device, boot mode, Secure Boot.

use async_trait::async_trait;
use url::Url;

use super::Changed;
use crate::{
    bmc::BmcError,
    node::{BootMode, words},
};

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
    /// Changes the keys it trusts, in force from the next start.
    async fn change_keys(&self, change: KeyChange) -> Result<Changed, BmcError>;
}

/// What becomes of the keys that Secure Boot trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The manufacturer's.
    ResetToDefault,
    /// None.
    Clear,
}

/// Booting what a URL names, fetched by the firmware (UEFI specification 2.10, section 24.7).
#[async_trait]
pub trait HttpBoot: Send + Sync {
    /// Boots from `url` once, at the next start.
    async fn boot_once_from(&self, url: &Url) -> Result<Changed, BmcError>;
}
