//! Virtual media: below the iLO, with the standard's properties and without its actions.

use async_trait::async_trait;
use serde_json::json;
use url::Url;

use super::{Ris, href};
use crate::bmc::{
    BmcError, Changed, MediaKind, MediaSlot, VirtualMedia,
    ilo::licence,
    redfish::{Document, media},
};

const MEDIA: &str = "/links/VirtualMedia";
const LICENCES: &str = "/Oem/Hp/links/LicenseService";
const LICENCE: &str = "/Oem/Hp/License/LicenseString";

#[async_trait]
impl VirtualMedia for Ris {
    async fn ready(&self) -> Result<(), BmcError> {
        let manager = self.manager().await?;
        let names = match manager.text(LICENCE) {
            Some(name) => vec![name.to_owned()],
            None => {
                let service = href(&manager.value, LICENCES).map(str::to_owned);
                let links = match service {
                    Some(service) => self.member_links(&service).await?,
                    None => Vec::new(),
                };
                let mut names = Vec::new();
                for link in links {
                    let found = self.client.find(&link).await?;
                    names.extend(found.and_then(|licence| licence.shown("/License")));
                }
                names
            }
        };
        // An iLO that says nothing of it says no when a medium is inserted.
        if !names.is_empty() && !licence::has_virtual_media(names.iter().map(String::as_str)) {
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
        match self.client.patch(&drive.0.path, &json!({"Image": url})).await? {
            Err(refusal) if refusal.wants_licence() => return Err(licence::missing(&self.link.address)),
            other => other?,
        }
        let after = Drive(self.client.get(&drive.0.path).await?);
        match after.0.text("/Image") {
            Some(image) if after.is_occupied() && image.contains("://") && image != url.as_str() => {
                Err(after.0.malformed(media::ANOTHER_MEDIUM))
            }
            _ if after.is_occupied() => Ok(Changed::Yes),
            _ => Err(after.0.malformed(media::NOT_INSERTED)),
        }
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
