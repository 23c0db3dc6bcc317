//! Settings of the firmware, and the boot mode, which is one of them. Changes go to a resource of pending settings and are
//! in force after the self-test of the next start.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Ris, href};
use crate::{
    bmc::{BiosSettings, BmcError, BootModeControl, Changed, Outcome, redfish::Document},
    node::{BootMode, hardware::BiosSetting},
};

const BIOS: &str = "/Oem/Hp/links/BIOS";
const MODE: &str = "/BootMode";
/// Settings are applied before this.
const POST_IS_OVER: [&str; 3] = ["FinishedPost", "InPostDiscoveryComplete", "PowerOff"];
/// What makes the boot mode.
pub(in crate::bmc::ilo) const OF_MODE: [&str; 2] = ["BootMode", "UefiOptimizedBoot"];
const MAX_SETTINGS: usize = 1024;
const MAX_TEXT: usize = 1024;
/// What describes the resource itself.
const NO_SETTINGS: [&str; 6] =
    ["Type", "Modified", "AttributeRegistry", "SettingsResult", "Name", "Description"];

#[async_trait]
impl BootModeControl for Ris {
    async fn mode(&self) -> Result<Option<BootMode>, BmcError> {
        Ok(mode_of(&self.bios("tell the boot mode").await?))
    }

    async fn set_mode(&self, mode: BootMode) -> Result<Changed, BmcError> {
        let bios = self.bios("set the boot mode").await?;
        let pending = self.pending(&bios).await?;
        if mode_of(&pending) == Some(mode) {
            return Ok(Changed::Already);
        }
        // Firmware takes the word for UEFI in lower case only.
        let body = match mode {
            BootMode::Uefi => json!({"BootMode": "uefi", "UefiOptimizedBoot": "Enabled"}),
            BootMode::Bios => json!({"BootMode": "LegacyBios"}),
        };
        self.wait_for_post().await?;
        self.client.patch(&pending.path, &body).await??;
        Ok(Changed::Yes)
    }
}

#[async_trait]
impl BiosSettings for Ris {
    async fn read(&self) -> Result<Vec<BiosSetting>, BmcError> {
        let bios = match self.bios("tell of settings of the firmware").await {
            Err(BmcError::Unsupported { .. }) => return Ok(Vec::new()),
            found => found?,
        };
        Ok(settings(&bios)
            .map(|(name, value)| BiosSetting { name, value: Some(value), ..BiosSetting::default() })
            .collect())
    }

    async fn apply(&self, wanted: &[(String, Value)]) -> Result<Changed, BmcError> {
        let bios = self.bios("change settings of the firmware").await?;
        if let Some((name, _)) =
            wanted.iter().find(|(name, _)| !settings(&bios).any(|(known, _)| known == *name))
        {
            let name: String = name.chars().take(64).collect();
            return Err(
                self.unsupported(format!("change settings of the firmware: there is no setting {name}"))
            );
        }
        let pending = self.pending(&bios).await?;
        let differing: Map<_, _> =
            wanted.iter().filter(|(name, value)| !is_so(&pending, name, value)).cloned().collect();
        if differing.is_empty() {
            return Ok(Changed::Already);
        }
        self.wait_for_post().await?;
        self.client.patch(&pending.path, &Value::Object(differing)).await??;
        Ok(Changed::Yes)
    }

    /// The manufacturer's values are told by the firmware. The boot mode stays: what is installed needs it.
    async fn reset(&self) -> Result<Changed, BmcError> {
        let bios = self.bios("reset settings of the firmware").await?;
        let defaults = self.defaults(&bios).await?.ok_or_else(|| {
            self.unsupported("reset settings of the firmware: it does not tell the manufacturer's values")
        })?;
        let pending = self.pending(&bios).await?;
        let differing: Map<_, _> =
            defaults.into_iter().filter(|(name, value)| !is_so(&pending, name, value)).collect();
        if differing.is_empty() {
            return Ok(Changed::Already);
        }
        self.wait_for_post().await?;
        self.client.patch(&pending.path, &Value::Object(differing)).await??;
        Ok(Changed::Yes)
    }

    async fn outcome(&self, wanted: &[(String, Value)]) -> Result<Outcome, BmcError> {
        let bios = self.bios("tell of settings of the firmware").await?;
        let defaults = match wanted.is_empty() {
            true => self.asked_defaults(&bios).await?,
            false => Vec::new(),
        };
        let all = wanted.iter().chain(&defaults);
        let open: Vec<_> =
            all.filter(|(name, value)| !is_so(&bios, name, value)).map(|(name, _)| &**name).collect();
        if open.is_empty() {
            return Ok(Outcome::Done);
        }
        // Between the start and the self-test the state is `Reset`, `Unknown` or nothing.
        let system = self.system().await?;
        let is_over = match system.value.pointer(super::POST_STATE) {
            Some(Value::String(state)) => POST_IS_OVER.contains(&state.as_str()),
            Some(_) => false,
            // Old firmware does not tell.
            None => true,
        };
        Ok(match is_over {
            true => Outcome::Failed(format!("not in force: {}", open.join(", "))),
            false => Outcome::Pending(None),
        })
    }
}

impl Ris {
    /// The manufacturer's values, but for the boot mode.
    async fn defaults(&self, bios: &Document) -> Result<Option<Map<String, Value>>, BmcError> {
        let bases = self.linked(bios, "/links/BaseConfigs").await?;
        Ok(bases.and_then(|bases| {
            let bases = bases.value.get("BaseConfigs")?.as_array()?;
            let mut defaults = bases.iter().find_map(|base| base.get("default")?.as_object())?.clone();
            defaults.retain(|name, _| !OF_MODE.contains(&name.as_str()));
            Some(defaults)
        }))
    }

    /// The manufacturer's values that are asked for from the next start.
    async fn asked_defaults(&self, bios: &Document) -> Result<Vec<(String, Value)>, BmcError> {
        let Some(defaults) = self.defaults(bios).await? else { return Ok(Vec::new()) };
        let pending = self.pending(bios).await?;
        Ok(defaults.into_iter().filter(|(name, value)| is_so(&pending, name, value)).collect())
    }

    /// Settings in force.
    pub(super) async fn bios(&self, what: &str) -> Result<Document, BmcError> {
        let system = self.system().await?;
        let found = self.linked(&system, BIOS).await?;
        found.ok_or_else(|| self.unsupported(format!("{what} by RIS: the machine is too old for it")))
    }

    /// Settings from the next start on: where they may be written.
    pub(super) async fn pending(&self, bios: &Document) -> Result<Document, BmcError> {
        match href(&bios.value, "/links/Settings") {
            Some(path) => self.client.get(path).await,
            // What has no second resource is written itself.
            None => Ok(bios.clone()),
        }
    }
}

fn mode_of(bios: &Document) -> Option<BootMode> {
    match bios.text(MODE)?.to_ascii_lowercase().as_str() {
        "uefi" => Some(BootMode::Uefi),
        "legacybios" => Some(BootMode::Bios),
        _ => None,
    }
}

fn settings(bios: &Document) -> impl Iterator<Item = (String, String)> {
    let all = bios.value.as_object().into_iter().flatten().take(MAX_SETTINGS);
    all.filter(|(name, _)| !name.starts_with('@') && !NO_SETTINGS.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((short(name), text_of(value)?)))
}

fn is_so(bios: &Document, name: &str, value: &Value) -> bool {
    let known = bios.value.get(name).and_then(text_of);
    known.is_some() && known == text_of(value)
}

/// Lists and objects are no settings.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(short(text)),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
