//! BIOS attributes: current ones, those of the next start, and the registry that says what they may be.

use serde_json::{Map, Value, json};

use super::{
    Bmc, SYSTEM,
    documents::{Document, Documents},
    error::RedfishError,
    hardware::resource,
};
use crate::lab::BootMode;

pub(super) const BIOS: &str = "/redfish/v1/Systems/1/Bios";
pub(super) const SETTINGS: &str = "/redfish/v1/Systems/1/Bios/Settings";
const REGISTRY: &str = "LabBiosAttributeRegistry.v1_0_0";

/// Names and values, the first one is the default.
const CHOICES: [(&str, &[&str]); 5] = [
    ("BootMode", &["Uefi", "LegacyBios"]),
    ("ProcVirtualization", &["Enabled", "Disabled"]),
    ("Sriov", &["Enabled", "Disabled"]),
    ("PowerProfile", &["Balanced", "Performance", "Custom"]),
    ("QuietBoot", &["Disabled", "Enabled"]),
];
const TEXT: &str = "AdminName";

pub(super) fn defaults(mode: BootMode) -> Map<String, Value> {
    let first = |(name, values): &(&str, &[&str])| ((*name).to_owned(), json!(values.first()));
    let mut all: Map<String, Value> = CHOICES.iter().map(first).collect();
    all.insert(TEXT.into(), "".into());
    if mode == BootMode::Legacy {
        all.insert("BootMode".into(), "LegacyBios".into());
    }
    all
}

pub(super) fn fill(documents: &Documents, mode: BootMode) {
    let action = |name: &str| format!("{BIOS}/Actions/Bios.{name}");
    let body = json!({
        "AttributeRegistry": REGISTRY,
        "Attributes": defaults(mode),
        "@Redfish.Settings": {
            "@odata.type": "#Settings.v1_5_0.Settings",
            "SettingsObject": { "@odata.id": SETTINGS },
            "SupportedApplyTimes": ["OnReset"],
        },
        "Actions": { "#Bios.ResetBios": { "target": action("ResetBios") } },
    });
    documents.put(Document::new(resource(BIOS, "Bios.v1_3_0", "BIOS", body)));
    let body = json!({ "AttributeRegistry": REGISTRY, "Attributes": {} });
    let body = resource(SETTINGS, "Bios.v1_3_0", "BIOS Settings", body);
    documents.put(Document::new(body).writable(&["Attributes", "@Redfish.SettingsApplyTime"]));
    registry(documents);
}

fn registry(documents: &Documents) {
    let files = "/redfish/v1/Registries";
    documents.put(Document::new(json!({
        "@odata.id": files,
        "@odata.type": "#MessageRegistryFileCollection.MessageRegistryFileCollection",
        "Name": "Registries",
    })));
    let path = format!("{files}/{REGISTRY}");
    let body = json!({
        "Registry": REGISTRY, "Languages": ["en"],
        "Location": [{ "Language": "en", "Uri": format!("/redfish/v1/RegistryStore/{REGISTRY}.json") }],
    });
    documents.put(Document::new(resource(
        &path,
        "MessageRegistryFile.v1_1_5",
        "BIOS Attribute Registry",
        body,
    )));
    let choice = |(name, values): &(&str, &[&str])| {
        let values: Vec<Value> =
            values.iter().map(|v| json!({ "ValueName": v, "ValueDisplayName": v })).collect();
        json!({
            "AttributeName": name, "Type": "Enumeration", "DisplayName": name, "ReadOnly": false,
            "ResetRequired": true, "Value": values, "DefaultValue": values.first().map(|v| &v["ValueName"]),
        })
    };
    let mut attributes: Vec<Value> = CHOICES.iter().map(choice).collect();
    attributes.push(json!({
        "AttributeName": TEXT, "Type": "String", "DisplayName": TEXT, "ReadOnly": false, "ResetRequired": true,
        "MinLength": 0, "MaxLength": 32,
    }));
    documents.put(Document::new(json!({
        "@odata.id": format!("/redfish/v1/RegistryStore/{REGISTRY}.json"),
        "@odata.type": "#AttributeRegistry.v1_5_0.AttributeRegistry",
        "Id": REGISTRY, "Name": "BIOS Attribute Registry", "Language": "en", "OwningEntity": "Bessemer",
        "RegistryVersion": "1.0.0", "RegistryEntries": { "Attributes": attributes },
    })));
}

/// Refuses attributes that are unknown or cannot have the value.
pub(super) fn check(attributes: &Map<String, Value>) -> Result<(), RedfishError> {
    for (name, value) in attributes {
        let known = CHOICES.iter().find(|(known, _)| known == name);
        match (known, value) {
            (Some((_, values)), Value::String(text)) if values.contains(&text.as_str()) => {}
            (None, Value::String(text)) if name == TEXT && text.len() <= 32 => {}
            (None, _) if name != TEXT => return Err(RedfishError::unknown_property(name)),
            (_, other) => return Err(RedfishError::bad_value(name, other)),
        }
    }
    Ok(())
}

/// What a change of attributes means for the next start.
pub(super) async fn prepare(bmc: &Bmc, attributes: &Map<String, Value>) -> Result<(), RedfishError> {
    bmc.state().bios_since = Some(bmc.handle.status().starts);
    let mode = match attributes.get("BootMode").and_then(Value::as_str) {
        Some("LegacyBios") => BootMode::Legacy,
        Some(_) => BootMode::Uefi,
        None => return Ok(()),
    };
    Ok(bmc.handle.boot(None, Some(mode)).await?)
}

/// The settings become current when the machine has started since.
pub(super) fn settle(bmc: &Bmc) {
    let starts = bmc.handle.status().starts;
    let due = bmc.state().bios_since.is_some_and(|since| starts > since);
    if !due {
        return;
    }
    bmc.state().bios_since = None;
    let mut changed = Map::new();
    bmc.documents.change(SETTINGS, |body| {
        if let Some(Value::Object(attributes)) = body.get_mut("Attributes") {
            changed = std::mem::take(attributes);
        }
    });
    bmc.documents.change(BIOS, |body| {
        super::disguise::merge(body, json!({ "Attributes": changed }), false);
    });
    tracing::info!(system = SYSTEM, "BIOS settings are applied");
}
