//! Virtual media: below the iLO, with the standard's properties and without its actions.

use async_trait::async_trait;
use serde_json::json;
use url::Url;

use super::Ris;
use crate::bmc::{BmcError, Changed, MediaKind, MediaSlot, VirtualMedia, ilo::licence, redfish::Document};

const MEDIA: &str = "/links/VirtualMedia";
const LICENCE: &str = "/Oem/Hp/License/LicenseString";

#[async_trait]
impl VirtualMedia for Ris {
    async fn ready(&self) -> Result<(), BmcError> {
        let manager = self.manager().await?;
        if let Some(name) = manager.text(LICENCE)
            && !licence::has_virtual_media([name])
        {
            return Err(licence::missing(&self.link.address));
        }
        self.drive(MediaKind::Cd).await.map(drop)
    }

    async fn insert(&self, kind: MediaKind, url: &Url) -> Result<Changed, BmcError> {
        let drive = self.drive(kind).await?;
        if drive.holds(url) {
            return Ok(Changed::Already);
        }
        if drive.is_occupied() {
            self.client.patch(&drive.0.path, &json!({"Image": null})).await??;
        }
        self.client.patch(&drive.0.path, &json!({"Image": url})).await??;
        let after = Drive(self.client.get(&drive.0.path).await?);
        if after.is_occupied() {
            return Ok(Changed::Yes);
        }
        Err(after.0.malformed(
            "the medium was accepted but is not inserted: can the iLO reach this controller's file server?",
        ))
    }

    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        let mut changed = Changed::Already;
        for drive in self.drives().await?.into_iter().filter(|drive| drive.is(kind) && drive.is_occupied()) {
            self.client.patch(&drive.0.path, &json!({"Image": null})).await??;
            changed = Changed::Yes;
        }
        Ok(changed)
    }

    async fn has(&self, kind: MediaKind) -> Result<bool, BmcError> {
        Ok(self.drives().await?.iter().any(|drive| drive.is(kind)))
    }

    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        Ok(self.drives().await?.iter().map(Drive::shown).collect())
    }
}

/// One virtual drive.
struct Drive(Document);

impl Drive {
    fn types(&self) -> Vec<&str> {
        self.0.texts("/MediaTypes").unwrap_or_default()
    }

    fn is(&self, kind: MediaKind) -> bool {
        let words: &[&str] = match kind {
            MediaKind::Cd => &["cd", "dvd"],
            MediaKind::Floppy => &["floppy", "usbstick"],
        };
        self.types().iter().any(|known| words.contains(&known.to_ascii_lowercase().as_str()))
    }

    fn is_occupied(&self) -> bool {
        self.0.flag("/Inserted").unwrap_or_else(|| self.0.text("/Image").is_some())
    }

    fn holds(&self, url: &Url) -> bool {
        self.is_occupied() && self.0.text("/Image") == Some(url.as_str())
    }

    fn shown(&self) -> MediaSlot {
        MediaSlot {
            media_types: self.types().into_iter().map(|text| text.chars().take(32).collect()).collect(),
            inserted: self.is_occupied(),
            image: self.0.text("/Image").unwrap_or_default().chars().take(2048).collect(),
        }
    }
}

impl Ris {
    async fn drives(&self) -> Result<Vec<Drive>, BmcError> {
        let manager = self.manager().await?;
        Ok(self.members(&manager, MEDIA).await?.into_iter().map(Drive).collect())
    }

    async fn drive(&self, kind: MediaKind) -> Result<Drive, BmcError> {
        let found = self.drives().await?.into_iter().find(|drive| drive.is(kind));
        found.ok_or_else(|| self.unsupported("insert a medium of that kind by RIS: it has no such drive"))
    }

    /// The machine boots from what is in a drive at its next start.
    pub(super) async fn boot_from_drive(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        const NEXT: &str = "/Oem/Hp/BootOnNextServerReset";
        let drive = self.drive(kind).await?;
        if drive.0.flag(NEXT) == Some(true) {
            return Ok(Changed::Already);
        }
        let body = json!({"Oem": {"Hp": {"BootOnNextServerReset": true}}});
        self.client.patch(&drive.0.path, &body).await??;
        Ok(Changed::Yes)
    }
}
