//! Virtual media.

use async_trait::async_trait;
use url::Url;

use super::{
    Ribcl,
    request::{Class, Command},
    table::Trouble,
    xml::Element,
};
use crate::bmc::{BmcError, Changed, MediaKind, MediaSlot, VirtualMedia, ilo::licence, redfish::media};

#[async_trait]
impl VirtualMedia for Ribcl {
    async fn ready(&self) -> Result<(), BmcError> {
        let command = Command::read(Class::Rib, "GET_ALL_LICENSES");
        let data = match self.client.try_ask(&command).await? {
            Ok(data) => data,
            // Old firmware does not tell: it says no when a medium is inserted.
            Err(refusal) if refusal.trouble == Trouble::Unsupported => return Ok(()),
            Err(refusal) => return Err(self.client.refused(&command, &refusal)),
        };
        let names = data.children_of("LICENSE").filter_map(|licence| licence.value(&["LICENSE_TYPE"]));
        if licence::has_virtual_media(names) {
            Ok(())
        } else {
            Err(licence::missing(&self.client.link.address))
        }
    }

    async fn insert(&self, kind: MediaKind, url: &Url) -> Result<Changed, BmcError> {
        let before = self.status(kind).await?;
        if before.holds(url) && before.is_connected() {
            return Ok(Changed::Already);
        }
        if !before.holds(url) {
            if before.is_inserted() {
                self.client.tell(&rib("EJECT_VIRTUAL_MEDIA", kind)).await?;
            }
            let command = rib("INSERT_VIRTUAL_MEDIA", kind).with("IMAGE_URL", url.as_str());
            self.licensed(&command).await?;
        }
        let command =
            rib("SET_VM_STATUS", kind).child("VM_BOOT_OPTION", "CONNECT").child("VM_WRITE_PROTECT", "YES");
        self.licensed(&command).await?;
        let after = self.status(kind).await?;
        match after.image() {
            // Some firmware does not tell the image.
            Some(image) if after.is_inserted() && !image.is_empty() && image != url.as_str() => {
                Err(self.client.malformed(&command, media::ANOTHER_MEDIUM))
            }
            _ if after.is_inserted() => Ok(Changed::Yes),
            _ => Err(self.client.malformed(&command, media::NOT_INSERTED)),
        }
    }

    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        if !self.status(kind).await?.is_inserted() {
            return Ok(Changed::Already);
        }
        self.client.tell(&rib("EJECT_VIRTUAL_MEDIA", kind)).await?;
        Ok(Changed::Yes)
    }

    async fn has(&self, _kind: MediaKind) -> Result<bool, BmcError> {
        Ok(true)
    }

    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        let mut slots = Vec::new();
        for (kind, word) in [(MediaKind::Floppy, "Floppy"), (MediaKind::Cd, "CD")] {
            let status = self.status(kind).await?;
            let image = status.image().unwrap_or_default().chars().take(2048).collect();
            slots.push(MediaSlot {
                media_types: vec![word.to_owned()],
                inserted: status.is_inserted(),
                image,
            });
        }
        Ok(slots)
    }
}

fn word(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Cd => "CDROM",
        MediaKind::Floppy => "FLOPPY",
    }
}

fn rib(name: &'static str, kind: MediaKind) -> Command {
    Command::write(Class::Rib, name).with("DEVICE", word(kind))
}

/// What an iLO says of one of its virtual drives.
struct Status(Element);

impl Status {
    fn is_inserted(&self) -> bool {
        self.0.attribute("IMAGE_INSERTED").is_some_and(|word| word.eq_ignore_ascii_case("YES"))
    }

    /// Whether the machine sees it.
    fn is_connected(&self) -> bool {
        self.0.attribute("VM_APPLET").is_some_and(|word| word.eq_ignore_ascii_case("CONNECTED"))
            || self.0.attribute("BOOT_OPTION").is_some_and(|word| !word.eq_ignore_ascii_case("NO_BOOT"))
    }

    fn image(&self) -> Option<&str> {
        self.0.attribute("IMAGE_URL")
    }

    fn holds(&self, url: &Url) -> bool {
        self.is_inserted() && self.image() == Some(url.as_str())
    }
}

impl Ribcl {
    async fn status(&self, kind: MediaKind) -> Result<Status, BmcError> {
        let command = Command::read(Class::Rib, "GET_VM_STATUS").with("DEVICE", word(kind));
        Ok(Status(self.client.ask(&command).await?))
    }

    /// A command that needs a licence.
    async fn licensed(&self, command: &Command) -> Result<(), BmcError> {
        match self.client.run(command).await? {
            Err(refusal) if refusal.trouble == Trouble::Licence => {
                Err(licence::missing(&self.client.link.address))
            }
            Err(refusal) => Err(self.client.refused(command, &refusal)),
            Ok(_) => Ok(()),
        }
    }
}
