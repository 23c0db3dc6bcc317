//! What boots next, and in which mode.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tracing::{debug, info};

use super::{Machine, client::Refusal, document::Document, system::quirks_of};
use crate::{
    bmc::{BmcError, BootDevice, BootModeControl, BootSource, Changed},
    node::BootMode,
};

const ENABLED: &str = "/Boot/BootSourceOverrideEnabled";
const TARGET: &str = "/Boot/BootSourceOverrideTarget";
const MODE: &str = "/Boot/BootSourceOverrideMode";
const ALLOWED: &str = "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues";
/// iLO refuses changes of the boot source while the machine is in its self-test.
const DURING_POST: &str = "UnableToModifyDuringSystemPOST";
const MAX_POST_WAITS: u32 = 6;

#[async_trait]
impl BootDevice for Machine {
    async fn boot_once(&self, source: BootSource) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        let target = self.target(&system, source)?;
        self.set_override(&system, target, "Once").await?.map_err(BmcError::from)
    }

    async fn boot_always(&self, source: BootSource) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        if source != BootSource::Disk {
            let target = self.target(&system, source)?;
            return self.set_override(&system, target, "Continuous").await?.map_err(BmcError::from);
        }
        let uefi = system.text(MODE) == Some("UEFI");
        if !(uefi && quirks_of(&system).no_persistent_disk_in_uefi)
            && let Ok(target) = self.target(&system, source)
        {
            match self.set_override(&system, target, "Continuous").await? {
                Ok(changed) => return Ok(changed),
                Err(refusal) => info!(
                    bmc = self.client.transport.address,
                    reason = %refusal.error,
                    "the BMC takes no persistent boot source: the firmware's boot order decides"
                ),
            }
        }
        self.clear_override().await
    }

    async fn current(&self) -> Result<Option<(BootSource, bool)>, BmcError> {
        let system = self.system().await?;
        let source = system.text(TARGET).and_then(source_of);
        Ok(match (system.text(ENABLED), source) {
            (Some("Once"), Some(source)) => Some((source, false)),
            (Some("Continuous"), Some(source)) => Some((source, true)),
            _ => None,
        })
    }

    async fn supported(&self) -> Result<Vec<BootSource>, BmcError> {
        let system = self.system().await?;
        Ok(BootSource::ALL.into_iter().filter(|source| self.target(&system, *source).is_ok()).collect())
    }
}

#[async_trait]
impl BootModeControl for Machine {
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        Ok(mode_of(&self.system().await?))
    }

    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        if mode_of(&system) == Some(mode) {
            return Ok(Changed::Already);
        }
        let word = match mode {
            BootMode::Uefi => "UEFI",
            BootMode::Bios => "Legacy",
        };
        let mut boot = Map::from_iter([("BootSourceOverrideMode".to_owned(), json!(word))]);
        if quirks_of(&system).full_boot_request {
            let current = |pointer| system.text(pointer).unwrap_or_default();
            boot.insert("BootSourceOverrideEnabled".to_owned(), json!(current(ENABLED)));
            boot.insert("BootSourceOverrideTarget".to_owned(), json!(current(TARGET)));
        }
        self.client.patch(&system.path, &json!({"Boot": boot})).await??;
        Ok(Changed::Yes)
    }
}

/// Redfish's words for a source, best first.
fn words_of(source: BootSource) -> &'static [&'static str] {
    match source {
        BootSource::Cd => &["Cd", "UsbCd"],
        BootSource::Disk => &["Hdd"],
        BootSource::Pxe => &["Pxe"],
        BootSource::Setup => &["BiosSetup"],
        BootSource::UefiHttp => &["UefiHttp"],
    }
}

fn source_of(word: &str) -> Option<BootSource> {
    BootSource::ALL.into_iter().find(|source| words_of(*source).contains(&word))
}

fn mode_of(system: &Document) -> Option<BootMode> {
    match system.text(MODE)? {
        "UEFI" => Some(BootMode::Uefi),
        "Legacy" => Some(BootMode::Bios),
        _ => None,
    }
}

impl Machine {
    /// The word this BMC knows for a source.
    fn target(&self, system: &Document, source: BootSource) -> Result<&'static str, BmcError> {
        let words = words_of(source);
        let Some(allowed) = system.texts(ALLOWED).filter(|list| !list.is_empty()) else {
            return Ok(words[0]);
        };
        let known = words.iter().find(|word| allowed.contains(word)).copied();
        known.ok_or_else(|| {
            self.client.unsupported(format!("boot from {}: it only offers {}", words[0], allowed.join(", ")))
        })
    }

    async fn set_override(
        &self,
        system: &Document,
        target: &str,
        enabled: &str,
    ) -> Result<Result<Changed, Refusal>, BmcError> {
        let same_duration = system.text(ENABLED) == Some(enabled);
        if same_duration && system.text(TARGET) == Some(target) {
            return Ok(Ok(Changed::Already));
        }
        let quirks = quirks_of(system);
        let mut boot = Map::from_iter([("BootSourceOverrideTarget".to_owned(), json!(target))]);
        // Some BMCs refuse a value that is in force already; others want all of them each time.
        if !same_duration || quirks.always_send_enabled || quirks.full_boot_request {
            boot.insert("BootSourceOverrideEnabled".to_owned(), json!(enabled));
        }
        if let (true, Some(mode)) = (quirks.full_boot_request, system.text(MODE)) {
            boot.insert("BootSourceOverrideMode".to_owned(), json!(mode));
        }
        let result = self.patch_boot(&system.path, &json!({"Boot": boot})).await?;
        Ok(result.map(|()| Changed::Yes))
    }

    /// The firmware's own boot order decides.
    async fn clear_override(&self) -> Result<Changed, BmcError> {
        let system = self.system().await?;
        if matches!(system.text(ENABLED), None | Some("Disabled")) {
            return Ok(Changed::Already);
        }
        self.patch_boot(&system.path, &json!({"Boot": {"BootSourceOverrideEnabled": "Disabled"}})).await??;
        Ok(Changed::Yes)
    }

    async fn patch_boot(&self, path: &str, body: &Value) -> Result<Result<(), Refusal>, BmcError> {
        let mut pause = self.client.transport.pace.poll_max;
        for _ in 0..MAX_POST_WAITS {
            match self.client.patch(path, body).await? {
                Err(refusal) if refusal.ids.iter().any(|id| id == DURING_POST) => {
                    debug!(bmc = self.client.transport.address, "the machine is in its self-test");
                }
                other => return Ok(other),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
        self.client.patch(path, body).await
    }
}
