//! iLO 5 and newer: Redfish, with HPE's own parts (`Oem.Hpe`) where the standard's are missing or refused (HPE "iLO RESTful
//! API" reference).

mod smart_storage;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;
use url::Url;

use super::{licence, link::Link};
use crate::{
    bmc::{
        BiosSettings, Bmc, BmcError, BootModeControl, Changed, MediaKind, MediaSlot, Outcome, VirtualMedia,
        redfish::{self, AuthType, Document, Machine},
    },
    node::{BootMode, hardware::BiosSetting},
};

const LICENCE: &str = "/Oem/Hpe/License/LicenseString";
const POST_STATE: &str = "/Oem/Hpe/PostState";
const INSERT: &str = "/Oem/Hpe/Actions/#HpeiLOVirtualMedia.InsertVirtualMedia/target";
const EJECT: &str = "/Oem/Hpe/Actions/#HpeiLOVirtualMedia.EjectVirtualMedia/target";
const SETTINGS: &str = "/@Redfish.Settings/SettingsObject";
const BASE_CONFIGS: [&str; 2] = ["/Oem/Hpe/Links/BaseConfigs", "/Oem/Hpe/BaseConfigs"];
const UEFI_OPTIMIZED: &str = "UefiOptimizedBoot";

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
        bios: Some(hpe.clone()),
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
            if let Some(name) = manager.text(LICENCE)
                && !licence::has_virtual_media([name])
            {
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
        let Some((drive, link)) = self.drive_with(kind, INSERT).await? else { return Err(refused) };
        info!(bmc = self.link.address, reason = %refused, "the medium is inserted by HPE's own action");
        if let Some(eject) = drive.text(EJECT).filter(|_| is_occupied(&drive)) {
            self.machine.client.post(eject, &json!({})).await??;
        }
        self.machine.client.post(&link, &json!({"Image": url})).await??;
        let after = self.machine.client.get(&drive.path).await?;
        if is_occupied(&after) {
            return Ok(Changed::Yes);
        }
        Err(after.malformed(
            "the medium was accepted but is not inserted: can the iLO reach this controller's file server?",
        ))
    }

    async fn eject(&self, kind: MediaKind) -> Result<Changed, BmcError> {
        let refused = match self.media()?.eject(kind).await {
            Err(error @ (BmcError::Refused { .. } | BmcError::Unsupported { .. })) => error,
            other => return other,
        };
        let Some((_, link)) = self.drive_with(kind, EJECT).await? else { return Err(refused) };
        self.machine.client.post(&link, &json!({})).await??;
        Ok(Changed::Yes)
    }

    async fn has(&self, kind: MediaKind) -> Result<bool, BmcError> {
        self.media()?.has(kind).await
    }

    async fn slots(&self) -> Result<Vec<MediaSlot>, BmcError> {
        self.media()?.slots().await
    }
}

#[async_trait]
impl BootModeControl for Hpe {
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        let in_settings = self.setting("BootMode").await?.and_then(|word| mode_of(&word));
        match (in_settings, &self.standard.boot_mode) {
            (None, Some(standard)) => standard.mode().await,
            (mode, _) => Ok(mode),
        }
    }

    /// The mode is a setting of the firmware, and with UEFI comes another one.
    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError> {
        if self.setting("BootMode").await?.is_none() {
            return match &self.standard.boot_mode {
                Some(standard) => standard.set_mode(mode).await,
                None => Err(self.link.unsupported("set the boot mode")),
            };
        }
        let mut wanted = vec![("BootMode".to_owned(), json!(word_of(mode)))];
        if mode == BootMode::Uefi && self.setting(UEFI_OPTIMIZED).await?.is_some() {
            wanted.push((UEFI_OPTIMIZED.to_owned(), json!("Enabled")));
        }
        self.apply(&wanted).await
    }
}

#[async_trait]
impl BiosSettings for Hpe {
    async fn read(&self) -> Result<Vec<BiosSetting>, BmcError> {
        self.bios()?.read().await
    }

    /// What is changed during the self-test is lost.
    async fn apply(&self, wanted: &[(String, Value)]) -> Result<Changed, BmcError> {
        self.wait_for_post().await?;
        self.bios()?.apply(wanted).await
    }

    /// By the standard's action, else by asking for the manufacturer's values, which the firmware tells.
    async fn reset(&self) -> Result<Changed, BmcError> {
        self.wait_for_post().await?;
        match self.bios()?.reset().await {
            Err(BmcError::Unsupported { .. }) => self.ask_for_defaults().await,
            other => other,
        }
    }

    async fn outcome(&self, wanted: &[(String, Value)]) -> Result<Outcome, BmcError> {
        self.bios()?.outcome(wanted).await
    }
}

impl Hpe {
    fn media(&self) -> Result<&Arc<dyn VirtualMedia>, BmcError> {
        self.standard.virtual_media.as_ref().ok_or_else(|| self.link.unsupported("insert a medium"))
    }

    fn bios(&self) -> Result<&Arc<dyn BiosSettings>, BmcError> {
        self.standard.bios.as_ref().ok_or_else(|| self.link.unsupported("tell of settings of the firmware"))
    }

    /// A drive of that kind that has HPE's own action, and where it is posted to.
    async fn drive_with(
        &self,
        kind: MediaKind,
        action: &str,
    ) -> Result<Option<(Document, String)>, BmcError> {
        let words: &[&str] = match kind {
            MediaKind::Cd => &["CD", "DVD"],
            MediaKind::Floppy => &["Floppy", "USBStick"],
        };
        let system = self.machine.system().await?;
        for manager in self.machine.managers(&system).await? {
            let Some(list) = manager.link("/VirtualMedia") else { continue };
            for link in self.machine.client.get(list).await?.links("/Members") {
                let Some(drive) = self.machine.client.find(&link).await? else { continue };
                let is_it =
                    drive.texts("/MediaTypes").is_some_and(|types| types.iter().any(|t| words.contains(t)));
                if let Some(target) = drive.text(action).filter(|_| is_it).map(str::to_owned) {
                    return Ok(Some((drive, target)));
                }
            }
        }
        Ok(None)
    }

    async fn resource(&self) -> Result<Option<Document>, BmcError> {
        let system = self.machine.system().await?;
        match system.link("/Bios") {
            Some(link) => self.machine.client.find(link).await,
            None => Ok(None),
        }
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, BmcError> {
        let resource = self.resource().await?;
        Ok(resource.and_then(|bios| bios.text(&format!("/Attributes/{name}")).map(str::to_owned)))
    }

    async fn ask_for_defaults(&self) -> Result<Changed, BmcError> {
        let lacks = || {
            self.link
                .unsupported("reset settings of the firmware: it does not tell the manufacturer's values")
        };
        let bios = self.resource().await?.ok_or_else(lacks)?;
        let bases = BASE_CONFIGS.iter().find_map(|pointer| bios.link(pointer)).ok_or_else(lacks)?;
        let bases = self.machine.client.get(bases).await?;
        let listed = bases.value.get("BaseConfigs").and_then(Value::as_array).into_iter().flatten();
        let defaults = listed.filter_map(|base| base.get("default")?.as_object()).next().ok_or_else(lacks)?;
        let pending = bios.link(SETTINGS).unwrap_or(&bios.path).to_owned();
        self.machine.client.patch(&pending, &json!({"Attributes": defaults})).await??;
        Ok(Changed::Yes)
    }

    async fn wait_for_post(&self) -> Result<(), BmcError> {
        let pace = &self.link.pace;
        let until = Instant::now() + pace.post;
        loop {
            let system = self.machine.system().await?;
            if !matches!(system.text(POST_STATE), Some("InPost" | "InPostDiscoveryComplete" | "Reset")) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(BmcError::Timeout {
                    address: self.link.address.clone(),
                    what: "for the end of the machine's self-test".to_owned(),
                    seconds: pace.post.as_secs(),
                });
            }
            tokio::time::sleep(pace.poll_max).await;
        }
    }
}

fn is_occupied(drive: &Document) -> bool {
    drive.flag("/Inserted").unwrap_or_else(|| drive.text("/Image").is_some())
}

fn mode_of(word: &str) -> Option<BootMode> {
    match word {
        "Uefi" => Some(BootMode::Uefi),
        "LegacyBios" => Some(BootMode::Bios),
        _ => None,
    }
}

fn word_of(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Uefi => "Uefi",
        BootMode::Bios => "LegacyBios",
    }
}
