//! Settings of the firmware of iLO 5 and newer, and what depends on them: boot mode, Secure Boot, what inspection says of
//! the boot mode.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Hpe;
use crate::{
    bmc::{
        BiosSettings, BmcError, BootModeControl, Changed, Found, Inventory, KeyChange, Outcome, SecureBoot,
        ilo::ris::OF_MODE, redfish::Document,
    },
    node::{BootMode, hardware::BiosSetting},
};

const POST_STATE: &str = "/Oem/Hpe/PostState";
pub(super) const SETTINGS: &str = "/@Redfish.Settings/SettingsObject";
const BASE_CONFIGS: [&str; 2] = ["/Oem/Hpe/Links/BaseConfigs", "/Oem/Hpe/BaseConfigs"];
const BOOT_MODE: &str = "BootMode";
const UEFI_OPTIMIZED: &str = "UefiOptimizedBoot";

#[async_trait]
impl BootModeControl for Hpe {
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        let in_settings = self.setting(BOOT_MODE).await?.and_then(|word| mode_of(&word));
        match (in_settings, &self.standard.boot_mode) {
            (None, Some(standard)) => standard.mode().await,
            (mode, _) => Ok(mode),
        }
    }

    /// The mode is a setting of the firmware, and with UEFI comes another one.
    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError> {
        if self.setting(BOOT_MODE).await?.is_none() {
            return match &self.standard.boot_mode {
                Some(standard) => standard.set_mode(mode).await,
                None => Err(self.link.unsupported("set the boot mode")),
            };
        }
        let mut wanted = vec![(BOOT_MODE.to_owned(), json!(word_of(mode)))];
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

    /// By asking for the manufacturer's values, which the firmware tells: so the boot mode stays, which the standard's
    /// action would reset too. What is installed needs it.
    async fn reset(&self) -> Result<Changed, BmcError> {
        self.wait_for_post().await?;
        match self.ask_for_defaults().await? {
            Some(changed) => Ok(changed),
            None => self.bios()?.reset().await,
        }
    }

    async fn outcome(&self, wanted: &[(String, Value)]) -> Result<Outcome, BmcError> {
        self.bios()?.outcome(wanted).await
    }
}

#[async_trait]
impl SecureBoot for Hpe {
    async fn enabled(&self) -> Result<Option<bool>, BmcError> {
        self.secure_boot()?.enabled().await
    }

    async fn set_enabled(&self, enabled: bool) -> Result<Changed, BmcError> {
        if self.enabled().await? == Some(enabled) {
            return Ok(Changed::Already);
        }
        if enabled {
            self.only_in_uefi("turn Secure Boot on").await?;
        }
        self.wait_for_post().await?;
        self.secure_boot()?.set_enabled(enabled).await
    }

    async fn change_keys(&self, change: KeyChange) -> Result<Changed, BmcError> {
        self.only_in_uefi("change Secure Boot keys").await?;
        self.wait_for_post().await?;
        self.secure_boot()?.change_keys(change).await
    }
}

#[async_trait]
impl Inventory for Hpe {
    /// The boot override's mode is not the machine's here.
    async fn look(&self) -> Result<Found, BmcError> {
        let mut found = match &self.standard.inventory {
            Some(standard) => standard.look().await?,
            None => return Err(self.link.unsupported("tell what the machine is made of")),
        };
        if let Some(mode) = self.mode().await? {
            let word = mode.to_string();
            found.inventory.insert("boot".to_owned(), json!({"current_boot_mode": word}));
            found.capabilities.insert("boot_mode".to_owned(), word);
        }
        Ok(found)
    }
}

impl Hpe {
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

    /// `None`: the firmware does not tell the manufacturer's values.
    async fn ask_for_defaults(&self) -> Result<Option<Changed>, BmcError> {
        let client = &self.machine.client;
        let Some(bios) = self.resource().await? else { return Ok(None) };
        let Some(link) = BASE_CONFIGS.iter().find_map(|pointer| bios.link(pointer)) else { return Ok(None) };
        let Some(bases) = client.find(link).await? else { return Ok(None) };
        let listed = bases.value.get("BaseConfigs").and_then(Value::as_array).into_iter().flatten();
        let defaults = listed.filter_map(|base| base.get("default")?.as_object()).next();
        let Some(defaults) = defaults else { return Ok(None) };
        let pending = match bios.link(SETTINGS) {
            Some(link) => client.get(link).await?,
            None => bios.clone(),
        };
        let known = pending.value.get("Attributes");
        let differing: Map<_, _> = defaults
            .iter()
            .filter(|(name, value)| {
                !OF_MODE.contains(&name.as_str()) && known.and_then(|known| known.get(*name)) != Some(value)
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if differing.is_empty() {
            return Ok(Some(Changed::Already));
        }
        let body = json!({"Attributes": differing});
        match client.patch(&pending.path, &body).await? {
            // Some firmware takes all values at once by this only.
            Err(refusal) if refusal.status == StatusCode::METHOD_NOT_ALLOWED => {
                client.post(&pending.path, &body).await??;
            }
            other => other?,
        }
        Ok(Some(Changed::Yes))
    }

    /// The mode after the next self-test.
    async fn pending_mode(&self) -> Result<Option<BootMode>, BmcError> {
        let Some(link) = self.resource().await?.and_then(|bios| bios.link(SETTINGS).map(str::to_owned))
        else {
            return Ok(None);
        };
        let pending = self.machine.client.find(&link).await?;
        Ok(pending.and_then(|pending| mode_of(pending.text("/Attributes/BootMode")?)))
    }

    async fn only_in_uefi(&self, what: &str) -> Result<(), BmcError> {
        // A machine that will boot by UEFI may be told already. One that does not tell its mode is asked.
        let modes = [self.pending_mode().await?, self.mode().await?];
        if modes.contains(&Some(BootMode::Bios)) && !modes.contains(&Some(BootMode::Uefi)) {
            return Err(self
                .link
                .unsupported(format!("{what}: the machine boots by BIOS, and only UEFI has it")));
        }
        Ok(())
    }

    fn secure_boot(&self) -> Result<&Arc<dyn SecureBoot>, BmcError> {
        self.standard
            .secure_boot
            .as_ref()
            .ok_or_else(|| self.link.unsupported("do anything with Secure Boot"))
    }

    fn bios(&self) -> Result<&Arc<dyn BiosSettings>, BmcError> {
        self.standard.bios.as_ref().ok_or_else(|| self.link.unsupported("tell of settings of the firmware"))
    }

    pub(super) async fn wait_for_post(&self) -> Result<(), BmcError> {
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
