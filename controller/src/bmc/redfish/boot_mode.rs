//! UEFI or BIOS: by the boot override's mode, else by the firmware's settings.

use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    Machine,
    boot::{ENABLED, MODE, Place, TARGET},
    document::Document,
};
use crate::{
    bmc::{BiosSettings as _, BmcError, BootModeControl, Changed},
    node::{BootMode, hardware::BiosSetting},
};

const ALLOWED: &str = "/Boot/BootSourceOverrideMode@Redfish.AllowableValues";
/// The setting's name at most firmware that has one.
const ATTRIBUTE: &str = "BootMode";

#[async_trait]
impl BootModeControl for Machine {
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        let system = self.system().await?;
        if let Some(mode) = mode_of(&system) {
            return Ok(Some(mode));
        }
        let Some(link) = system.link("/Bios") else { return Ok(None) };
        let bios = self.client.look(link).await?;
        Ok(bios.and_then(|bios| bios.text("/Attributes/BootMode").and_then(meant)))
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
        let offered = system.texts(ALLOWED).filter(|words| !words.is_empty());
        if offered.is_some_and(|words| !words.contains(&word)) {
            return self.set_by_setting(mode).await?.ok_or_else(|| {
                self.client
                    .unsupported(format!("boot in {word} mode: its BootSourceOverrideMode cannot be that"))
            });
        }
        let mut boot = Map::from_iter([("BootSourceOverrideMode".to_owned(), json!(word))]);
        let Place { at, quirks } = self.boot_place().await?;
        if quirks.full_boot_request {
            let current = |pointer| at.text(pointer).unwrap_or_default();
            boot.insert("BootSourceOverrideEnabled".to_owned(), json!(current(ENABLED)));
            boot.insert("BootSourceOverrideTarget".to_owned(), json!(current(TARGET)));
        }
        let Err(refusal) = self.client.patch(&at.path, &json!({"Boot": boot})).await? else {
            return Ok(Changed::Yes);
        };
        let unable = matches!(refusal.status, StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED);
        let changed = if unable { self.set_by_setting(mode).await? } else { None };
        changed.ok_or_else(|| refusal.into())
    }
}

impl Machine {
    /// By the firmware's setting; `None` when it has none that can be that.
    async fn set_by_setting(&self, mode: BootMode) -> Result<Option<Changed>, BmcError> {
        let settings = self.read().await?;
        let setting = settings.iter().find(|setting| setting.name == ATTRIBUTE);
        match setting.and_then(|setting| word_for(setting, mode)) {
            Some(word) => {
                Ok(Some(self.apply(&[(ATTRIBUTE.to_owned(), Value::String(word.to_owned()))]).await?))
            }
            None => Ok(None),
        }
    }
}

fn word_for(setting: &BiosSetting, mode: BootMode) -> Option<&str> {
    let words = setting.allowable_values.as_ref()?.iter().map(String::as_str);
    words.into_iter().find(|word| meant(word) == Some(mode))
}

fn mode_of(system: &Document) -> Option<BootMode> {
    meant(system.text(MODE)?)
}

fn meant(word: &str) -> Option<BootMode> {
    match word.to_ascii_lowercase().as_str() {
        "uefi" => Some(BootMode::Uefi),
        "legacy" | "bios" | "legacybios" | "legacymode" => Some(BootMode::Bios),
        _ => None,
    }
}
