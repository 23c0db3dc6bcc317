//! iLO 5 and newer: Redfish, with HPE's own parts (`Oem.Hpe`) where the standard's are missing or refused (HPE "iLO RESTful
//! API" reference).

mod settings;
mod smart_storage;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use tracing::info;
use url::Url;

use super::{licence, link::Link};
use crate::bmc::{
    Bmc, BmcError, Changed, MediaKind, MediaSlot, VirtualMedia,
    redfish::{self, AuthType, Document, Machine, media},
};

const LICENCES: &str = "/Oem/Hpe/Links/LicenseService";
const LICENCE: &str = "/Oem/Hpe/License/LicenseString";
const INSERT: &str = "/Oem/Hpe/Actions/#HpeiLOVirtualMedia.InsertVirtualMedia/target";
const EJECT: &str = "/Oem/Hpe/Actions/#HpeiLOVirtualMedia.EjectVirtualMedia/target";

/// One machine behind its iLO.
struct Hpe {
    standard: Bmc,
    machine: Arc<Machine>,
    link: Arc<Link>,
}

/// The standard's capabilities, those with HPE's own parts replaced.
pub(super) fn bmc(link: &Arc<Link>) -> Result<Bmc, BmcError> {
    let machine = Arc::new(Machine::new(link.json(AuthType::Auto)?));
    let standard = redfish::bmc_of(&machine);
    let hpe = Arc::new(Hpe { standard: standard.clone(), machine, link: Arc::clone(link) });
    Ok(Bmc {
        virtual_media: Some(hpe.clone()),
        boot_mode: Some(hpe.clone()),
        secure_boot: Some(hpe.clone()),
        bios: Some(hpe.clone()),
        inventory: Some(hpe.clone()),
        raid: Some(hpe),
        ..standard
    })
}

#[async_trait]
impl VirtualMedia for Hpe {
    /// The licence is told by the manager.
    async fn ready(&self) -> Result<(), BmcError> {
        let system = self.machine.system().await?;
        for manager in self.machine.managers(&system).await? {
            let names = self.licences(&manager).await?;
            // An iLO that says nothing of it says no when a medium is inserted.
            if !names.is_empty() && !licence::has_virtual_media(names.iter().map(String::as_str)) {
                return Err(licence::missing(&self.link.address));
            }
        }
        self.media()?.ready().await
    }

    async fn insert(&self, kind: MediaKind, url: &Url) -> Result<Changed, BmcError> {
        let refused = match self.media()?.insert(kind, url).await {
            Err(error @ (BmcError::Refused { .. } | BmcError::Unsupported { .. })) => error,
            other => return other,
        };
        let Some((drive, link)) = self.drives_with(kind, INSERT).await?.into_iter().next() else {
            return Err(refused);
        };
        info!(bmc = self.link.address, reason = %refused, "the medium is inserted by HPE's own action");
        if let Some(eject) = drive.text(EJECT).filter(|_| is_occupied(&drive)) {
            self.machine.client.post(eject, &json!({})).await??;
        }
        match self.machine.client.post(&link, &json!({"Image": url})).await? {
            Err(refusal) if refusal.wants_licence() => return Err(licence::missing(&self.link.address)),
            other => other?,
        }
        let after = self.machine.client.get(&drive.path).await?;
        if is_occupied(&after) {
            return Ok(Changed::Yes);
        }
        Err(after.malformed(media::NOT_INSERTED))
    }

    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        let refused = match self.media()?.eject(kind).await {
            Err(error @ (BmcError::Refused { .. } | BmcError::Unsupported { .. })) => error,
            other => return other,
        };
        let drives = self.drives_with(kind, EJECT).await?;
        if drives.is_empty() {
            return Err(refused);
        }
        let mut changed = Changed::Already;
        for (_, link) in drives.iter().filter(|(drive, _)| is_occupied(drive)) {
            self.machine.client.post(link, &json!({})).await??;
            changed = Changed::Yes;
        }
        Ok(changed)
    }

    async fn has(&self, kind: MediaKind) -> Result<bool, BmcError> {
        self.media()?.has(kind).await
    }

    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        self.media()?.slots().await
    }
}

impl Hpe {
    fn media(&self) -> Result<&Arc<dyn VirtualMedia>, BmcError> {
        self.standard.virtual_media.as_ref().ok_or_else(|| self.link.unsupported("insert a medium"))
    }

    /// The names of the licences, as the manager or its service tells them.
    async fn licences(&self, manager: &Document) -> Result<Vec<String>, BmcError> {
        if let Some(name) = manager.text(LICENCE) {
            return Ok(vec![name.to_owned()]);
        }
        let Some(service) = manager.link(LICENCES) else { return Ok(Vec::new()) };
        let licences = self.machine.client.documents(service).await?;
        Ok(licences.iter().filter_map(|licence| licence.shown("/License")).collect())
    }

    /// The drives of that kind that have HPE's own action, and where it is posted to.
    async fn drives_with(&self, kind: MediaKind, action: &str) -> Result<Vec<(Document, String)>, BmcError> {
        let words: &[&str] = match kind {
            MediaKind::Cd => &["CD", "DVD"],
            MediaKind::Floppy => &["Floppy", "USBStick"],
        };
        let system = self.machine.system().await?;
        let mut drives = Vec::new();
        for manager in self.machine.managers(&system).await? {
            let Some(list) = manager.link("/VirtualMedia") else { continue };
            for link in self.machine.client.get(list).await?.links("/Members") {
                let Some(drive) = self.machine.client.find(&link).await? else { continue };
                let is_it =
                    drive.texts("/MediaTypes").is_some_and(|types| types.iter().any(|t| words.contains(t)));
                if let Some(target) = drive.text(action).filter(|_| is_it).map(str::to_owned) {
                    drives.push((drive, target));
                }
            }
        }
        Ok(drives)
    }
}

fn is_occupied(drive: &Document) -> bool {
    drive.flag("/Inserted").unwrap_or_else(|| drive.text("/Image").is_some())
}
