//! The settings of the firmware: `@Redfish.Settings` (DSP0266) and the attribute registry.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Machine, document::Document, messages};
use crate::{
    bmc::{BiosSettings, BmcError, Changed, Outcome},
    node::hardware::BiosSetting,
};

/// Real firmware has some hundreds of settings.
const MAX_SETTINGS: usize = 4096;
const MAX_TEXT: usize = 1024;
const MAX_WORDS: usize = 256;
const RESET: &str = "Bios.ResetBios";
/// Bios 1.2 and newer.
const RESET_PENDING: &str = "/ResetBiosToDefaultsPending";
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
            let described = described.map(setting).unwrap_or_default();
            // Passwords are nobody's business.
            let is_secret = described.attribute_type.as_deref() == Some("Password");
            BiosSetting { name: short(name), value: text_of(value).filter(|_| !is_secret), ..described }
        });
        Ok(settings.collect())
    }

    async fn apply(&self, wanted: &[(String, Value)]) -> Result<Changed, BmcError> {
        let known = self.read().await?;
        let refused = |problem| self.client.unsupported(format!("change its firmware's settings: {problem}"));
        let wanted = checked(&known, wanted).map_err(refused)?;
        let bios = self.bios("change its firmware's settings").await?;
        let pending = self.pending(&bios).await?;
        let asked_for =
            |name: &str, value: &Value| match pending.as_ref().and_then(|pending| pending.get(name)) {
                Some(asked) => text_of(asked) == text_of(value),
                None => is_in_force(&known, name, value),
            };
        let differing: Map<_, _> =
            wanted.into_iter().filter(|(name, value)| !asked_for(name, value)).collect();
        if differing.is_empty() {
            return Ok(Changed::Already);
        }
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
        if bios.flag(RESET_PENDING) == Some(true) {
            return Ok(Changed::Already);
        }
        let link = bios.action_target(RESET).ok_or_else(|| {
            self.client.unsupported("reset its firmware's settings: it has no ResetBios action")
        })?;
        self.client.post(link, &json!({})).await??;
        Ok(Changed::Yes)
    }

    async fn outcome(&self, wanted: &[(String, Value)]) -> Result<Outcome, BmcError> {
        if wanted.is_empty() {
            let bios = self.bios("tell of its firmware's settings").await?;
            let waits = bios.flag(RESET_PENDING) == Some(true);
            return Ok(if waits { Outcome::Pending(None) } else { Outcome::Done });
        }
        let known = self.read().await?;
        let wanted = checked(&known, wanted).unwrap_or_else(|_| wanted.to_vec());
        let open: Vec<_> = wanted.iter().filter(|(name, value)| !is_in_force(&known, name, value)).collect();
        if open.is_empty() {
            return Ok(Outcome::Done);
        }
        let bios = self.bios("tell of its firmware's settings").await?;
        let said = messages::listed(bios.value.pointer("/@Redfish.Settings/Messages"));
        if said.iter().any(|message| message.is_bad) {
            return Ok(Outcome::Failed(messages::sentence(said.iter().filter(|message| message.is_bad))));
        }
        let pending = self.pending(&bios).await?.unwrap_or_default();
        let waits = |(name, value): &&(String, Value)| {
            pending.get(name).is_some_and(|p| text_of(p) == text_of(value))
        };
        if open.iter().all(waits) {
            return Ok(Outcome::Pending(None));
        }
        let names: Vec<_> = open.iter().map(|(name, _)| short(name)).collect();
        Ok(Outcome::Failed(format!("not in force: {}", names.join(", "))))
    }
}

fn is_in_force(known: &[BiosSetting], name: &str, value: &Value) -> bool {
    known.iter().any(|setting| setting.name == name && setting.value == text_of(value))
}

/// The values in the types that the firmware knows, or why they cannot be asked for. A BMC that does not describe its
/// settings takes what it knows.
fn checked(known: &[BiosSetting], wanted: &[(String, Value)]) -> Result<Vec<(String, Value)>, String> {
    let mut checked = Vec::new();
    for (name, value) in wanted {
        let setting = known
            .iter()
            .find(|setting| setting.name == *name)
            .ok_or_else(|| format!("there is no setting {}", short(name)))?;
        if setting.read_only == Some(true) && setting.value != text_of(value) {
            return Err(format!("setting {name} can only be read"));
        }
        checked.push((name.clone(), typed(setting, value)?));
    }
    Ok(checked)
}

fn typed(setting: &BiosSetting, value: &Value) -> Result<Value, String> {
    let (name, text) = (&setting.name, text_of(value).unwrap_or_default());
    if let Some(words) = setting.allowable_values.as_ref().filter(|words| !words.is_empty())
        && !words.contains(&text)
    {
        return Err(format!("setting {name} cannot be {text}, only {}", words.join(", ")));
    }
    let outside = |number: i64, least: Option<i64>, most: Option<i64>| {
        least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most)
    };
    let range = |least: Option<i64>, most: Option<i64>| {
        let shown = |bound: Option<i64>| bound.map_or("any".to_owned(), |bound| bound.to_string());
        format!("from {} to {}", shown(least), shown(most))
    };
    match setting.attribute_type.as_deref() {
        Some("Integer") => {
            let number: i64 =
                text.parse().map_err(|_| format!("setting {name} is a whole number, not {text}"))?;
            let (least, most) = (setting.lower_bound, setting.upper_bound);
            if outside(number, least, most) {
                return Err(format!("setting {name} cannot be {number}, only {}", range(least, most)));
            }
            Ok(json!(number))
        }
        Some("Boolean") => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(json!(true)),
            "false" => Ok(json!(false)),
            _ => Err(format!("setting {name} is true or false, not {text}")),
        },
        Some("String" | "Password") => {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            let (least, most) = (setting.min_length, setting.max_length);
            if outside(length, least, most) {
                return Err(format!("setting {name} has {length} letters, not {}", range(least, most)));
            }
            Ok(json!(text))
        }
        _ => Ok(value.clone()),
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

    /// What is asked for from the next start.
    async fn pending(&self, bios: &Document) -> Result<Option<Map<String, Value>>, BmcError> {
        let Some(link) = bios.link(SETTINGS_OBJECT) else { return Ok(None) };
        let object = self.client.look(link).await?;
        Ok(object.and_then(|object| object.value.get("Attributes")?.as_object().cloned()))
    }

    /// The description of the settings; a BMC may keep it anywhere, and may not have it.
    async fn registry(&self, name: &str) -> Option<Document> {
        let root = self.client.root().await.ok()?;
        let all = self.client.members(root.link("/Registries")?).await.ok()?;
        let is_it = |link: &String| {
            link.trim_end_matches('/').rsplit('/').next().is_some_and(|last| name.starts_with(last))
        };
        let link = all.iter().find(|link| is_it(link))?;
        let file = self.client.look(link).await.ok()??;
        let is_english = |place: &&Value| {
            place.get("Language").and_then(Value::as_str).is_none_or(|l| l.starts_with("en"))
        };
        let place = file.items("/Location").find(is_english).or_else(|| file.value.pointer("/Location/0"))?;
        self.client.look(place.get("Uri")?.as_str()?).await.ok()?
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
