//! Virtual media.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Changed;
use crate::bmc::BmcError;

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
    /// Whether it may be used: a BMC without the licence for it says so here, before anything is switched off.
    async fn ready(&self) -> Result<(), BmcError>;
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
