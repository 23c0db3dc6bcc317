//! Firmware: its settings and its versions.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Machine, auth::ROOT, document::Document};
use crate::{
    bmc::{BiosSettings, BmcError, Changed, FirmwareInventory, Outcome},
    node::hardware::{BiosSetting, FirmwareComponent},
};

/// Real firmware has some hundreds of settings.
const MAX_SETTINGS: usize = 4096;
const MAX_TEXT: usize = 1024;
const MAX_WORDS: usize = 256;
const RESET: &str = "Bios.ResetBios";
const SETTINGS_OBJECT: &str = "/@Redfish.Settings/SettingsObject";

#[async_trait]
impl BiosSettings for Machine {
    async fn read(&self) -> Result<Vec<BiosSetting>, BmcError> {
        let system = self.system().await?;
        let Some(link) = system.link("/Bios") else { return Ok(Vec::new()) };
        let Some(bios) = self.client.find(link).await? else { return Ok(Vec::new()) };
        let Some(attributes) = bios.value.get("Attributes").and_then(Value::as_object) else {
            return Ok(Vec::new());
        };
        let registry = match bios.text("/AttributeRegistry") {
            Some(name) => self.registry(name).await,
            None => None,
        };
        let described = registry.as_ref().map(entries).unwrap_or_default();
        let settings = attributes.iter().take(MAX_SETTINGS).map(|(name, value)| {
            let described = described.get(name.as_str()).copied();
            BiosSetting {
                name: short(name),
                value: text_of(value),
                ..described.map(setting).unwrap_or_default()
            }
        });
        Ok(settings.collect())
    }

    async fn apply(&self, wanted: &[(String, Value)]) -> Result<Changed, BmcError> {
        let known = self.read().await?;
        check(&known, wanted).map_err(|problem| {
            self.client.unsupported(format!("change its firmware's settings: {problem}"))
        })?;
        let differing: serde_json::Map<_, _> =
            wanted.iter().filter(|(name, value)| !is_in_force(&known, name, value)).cloned().collect();
        if differing.is_empty() {
            return Ok(Changed::Already);
        }
        let bios = self.bios("change its firmware's settings").await?;
        let path = bios.link(SETTINGS_OBJECT).unwrap_or(&bios.path).to_owned();
        let mut body = json!({"Attributes": differing});
        let times = bios.texts("/@Redfish.Settings/SupportedApplyTimes").unwrap_or_default();
        if times.contains(&"OnReset") {
            body["@Redfish.SettingsApplyTime"] = json!({"ApplyTime": "OnReset"});
        }
        self.client.patch(&path, &body).await??;
        Ok(Changed::Yes)
    }

    async fn reset(&self) -> Result<Changed, BmcError> {
        let bios = self.bios("reset its firmware's settings").await?;
        let link = bios.action_target(RESET).ok_or_else(|| {
            self.client.unsupported("reset its firmware's settings: it has no ResetBios action")
        })?;
        self.client.post(link, &json!({})).await??;
        Ok(Changed::Yes)
    }

    async fn outcome(&self, wanted: &[(String, Value)]) -> Result<Outcome, BmcError> {
        let known = self.read().await?;
        let open: Vec<_> = wanted
            .iter()
            .filter(|(name, value)| !is_in_force(&known, name, value))
            .map(|(name, _)| name.as_str())
            .collect();
        Ok(if open.is_empty() {
            Outcome::Done
        } else {
            Outcome::Failed(format!("not in force: {}", open.join(", ")))
        })
    }
}

fn is_in_force(known: &[BiosSetting], name: &str, value: &Value) -> bool {
    known.iter().any(|setting| setting.name == name && setting.value == text_of(value))
}

/// Why values cannot be asked for; a BMC that does not describe its settings takes what it knows.
fn check(known: &[BiosSetting], wanted: &[(String, Value)]) -> Result<(), String> {
    for (name, value) in wanted {
        let setting = known
            .iter()
            .find(|setting| setting.name == *name)
            .ok_or_else(|| format!("there is no setting {}", short(name)))?;
        if setting.read_only == Some(true) && setting.value != text_of(value) {
            return Err(format!("setting {name} can only be read"));
        }
        let text = text_of(value).unwrap_or_default();
        if let Some(words) = setting.allowable_values.as_ref().filter(|words| !words.is_empty())
            && !words.contains(&text)
        {
            return Err(format!("setting {name} cannot be {text}, only {}", words.join(", ")));
        }
    }
    Ok(())
}

#[async_trait]
impl FirmwareInventory for Machine {
    async fn components(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        let system = self.system().await?;
        let mut components = Vec::new();
        if let Some(version) = system.text("/BiosVersion") {
            components.push(FirmwareComponent {
                component: "bios".to_owned(),
                current_version: Some(short(version)),
                ..FirmwareComponent::default()
            });
        }
        let managers = self.managers(&system).await?;
        if let Some((manager, version)) =
            managers.iter().find_map(|manager| Some((manager, manager.text("/FirmwareVersion")?)))
        {
            components.push(FirmwareComponent {
                component: "bmc".to_owned(),
                current_version: Some(short(version)),
                model: manager.text("/Model").map(short),
                ..FirmwareComponent::default()
            });
        }
        Ok(components)
    }
}

impl Machine {
    async fn bios(&self, what: &str) -> Result<Document, BmcError> {
        let system = self.system().await?;
        let found = match system.link("/Bios") {
            Some(link) => self.client.find(link).await?,
            None => None,
        };
        found.ok_or_else(|| self.client.unsupported(format!("{what}: the system has no Bios resource")))
    }

    /// The description of the settings; a BMC may keep it anywhere, and may not have it.
    async fn registry(&self, name: &str) -> Option<Document> {
        let root = self.client.get(ROOT).await.ok()?;
        let all = self.client.find(root.link("/Registries")?).await.ok()??;
        let is_it = |link: &String| link.rsplit('/').next().is_some_and(|last| name.starts_with(last));
        let link = all.links("/Members").into_iter().find(is_it)?;
        let file = self.client.find(&link).await.ok()??;
        let uri = file.value.pointer("/Location/0/Uri")?.as_str()?;
        self.client.find(uri).await.ok()?
    }
}

fn entries(registry: &Document) -> HashMap<&str, &Value> {
    let list = registry.value.pointer("/RegistryEntries/Attributes").and_then(Value::as_array);
    let entries = list.into_iter().flatten().take(MAX_SETTINGS);
    entries.filter_map(|entry| Some((entry.get("AttributeName")?.as_str()?, entry))).collect()
}

fn setting(entry: &Value) -> BiosSetting {
    let number = |key: &str| entry.get(key).and_then(Value::as_i64);
    let flag = |key: &str| entry.get(key).and_then(Value::as_bool);
    let words = entry.get("Value").and_then(Value::as_array).map(|values| {
        let names = values.iter().filter_map(|value| value.get("ValueName")?.as_str());
        names.take(MAX_WORDS).map(short).collect()
    });
    BiosSetting {
        attribute_type: entry.get("Type").and_then(Value::as_str).map(short),
        allowable_values: words,
        lower_bound: number("LowerBound"),
        upper_bound: number("UpperBound"),
        min_length: number("MinLength"),
        max_length: number("MaxLength"),
        read_only: flag("ReadOnly"),
        reset_required: flag("ResetRequired"),
        unique: flag("IsSystemUniqueProperty"),
        ..BiosSetting::default()
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(short(text)),
        other => Some(short(&other.to_string())),
    }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
