//! How the machine is: `GET_EMBEDDED_HEALTH` tells of everything at once.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Ribcl,
    request::{Class, Command},
    xml::Element,
};
use crate::{
    bmc::{BmcError, FirmwareInventory, Health, Overview, Sensor, SensorKind, Sensors},
    node::hardware::FirmwareComponent,
};

const MAX_ITEMS: usize = 256;
const MAX_TEXT: usize = 128;
/// In names of firmware, in lower case: the system ROM.
const ROM: &str = "proliant system rom";
/// What the iLO calls itself.
const ILO: &str = "ilo";

#[async_trait]
impl Overview for Ribcl {
    async fn vendor(&self) -> Result<Option<String>, BmcError> {
        // Nobody else makes iLOs; Gen9 and older were sold as HP, which Ironic's inspection calls HPE as well.
        Ok(Some("HPE".to_owned()))
    }

    /// The worst of what is told at a glance.
    async fn health(&self) -> Result<Option<Health>, BmcError> {
        let health = self.health_data().await?;
        let Some(glance) = health.child("HEALTH_AT_A_GLANCE") else { return Ok(None) };
        let words = glance.children.iter().filter_map(|part| part.attribute("STATUS")).filter_map(health_of);
        Ok(words.max_by_key(|health| match health {
            Health::Ok => 0,
            Health::Warning => 1,
            Health::Critical => 2,
        }))
    }
}

#[async_trait]
impl Sensors for Ribcl {
    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        let health = self.health_data().await?;
        let below = |group: &'static str, item: &'static str| {
            health.child(group).into_iter().flat_map(move |group| group.children_of(item)).take(MAX_ITEMS)
        };
        let mut found: Vec<_> = below("TEMPERATURE", "TEMP").filter_map(temperature).collect();
        found.extend(below("FANS", "FAN").filter_map(fan));
        found.extend(below("POWER_SUPPLIES", "SUPPLY").filter_map(supply));
        found.extend(self.consumption().await?);
        Ok(found)
    }
}

#[async_trait]
impl FirmwareInventory for Ribcl {
    async fn components(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        let health = self.health_data().await?;
        let component = |name: &str, version: Option<String>| FirmwareComponent {
            component: name.to_owned(),
            current_version: version,
            ..FirmwareComponent::default()
        };
        Ok(["bios", "bmc"]
            .into_iter()
            .zip([rom_version(&health), ilo_version(&health)])
            .filter(|(_, version)| version.is_some())
            .map(|(name, version)| component(name, version))
            .collect())
    }
}

impl Ribcl {
    pub(super) async fn health_data(&self) -> Result<Element, BmcError> {
        self.client.ask(&Command::read(Class::Server, "GET_EMBEDDED_HEALTH")).await
    }

    /// What the machine takes now. Machines without a meter say so by refusing.
    async fn consumption(&self) -> Result<Option<Sensor>, BmcError> {
        let Ok(data) = self.client.try_ask(&Command::read(Class::Server, "GET_POWER_READINGS")).await? else {
            return Ok(None);
        };
        let reading = data.value(&["PRESENT_POWER_READING"]).and_then(number);
        Ok(reading.map(|watts| Sensor {
            kind: SensorKind::Power,
            id: "Power Meter".to_owned(),
            name: "Power Meter".to_owned(),
            reading: Some(watts),
            unit: "Watts",
            state: Some("Enabled".to_owned()),
            health: None,
            more: BTreeMap::new(),
        }))
    }
}

/// The version of the system ROM.
pub(super) fn rom_version(health: &Element) -> Option<String> {
    firmware(health, |name| name.contains(ROM) && !name.contains("redundant") && !name.contains("backup"))
}

/// The version of the iLO's own firmware.
pub(super) fn ilo_version(health: &Element) -> Option<String> {
    firmware(health, |name| name == ILO || name.starts_with("ilo "))
}

fn firmware(health: &Element, is_it: impl Fn(&str) -> bool) -> Option<String> {
    let items = health.child("FIRMWARE_INFORMATION")?.children.iter().take(MAX_ITEMS);
    items
        .filter(|item| item.value(&["FIRMWARE_NAME"]).is_some_and(|name| is_it(&name.to_ascii_lowercase())))
        .find_map(|item| item.value(&["FIRMWARE_VERSION"]))
        .map(short)
}

fn temperature(item: &Element) -> Option<Sensor> {
    let reading = item.child("CURRENTREADING");
    let threshold = |name: &str| item.value(&[name]).and_then(number).map(|number| json!(number));
    let named = [
        ("UpperThresholdNonCritical", threshold("CAUTION")),
        ("UpperThresholdCritical", threshold("CRITICAL")),
    ];
    let more = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let mut sensor = sensor(SensorKind::Temperature, item, reading, "Celsius")?;
    sensor.more = more.collect();
    if let Some(place) = item.value(&["LOCATION"]) {
        sensor.more.insert("physical_context".to_owned(), Value::from(short(place)));
    }
    Some(sensor)
}

fn fan(item: &Element) -> Option<Sensor> {
    sensor(SensorKind::Fan, item, item.child("SPEED"), "Percent")
}

fn supply(item: &Element) -> Option<Sensor> {
    sensor(SensorKind::Power, item, None, "")
}

fn sensor(kind: SensorKind, item: &Element, reading: Option<&Element>, unit: &'static str) -> Option<Sensor> {
    let name = short(item.value(&["LABEL"])?);
    let status = item.value(&["STATUS"]).unwrap_or_default();
    let is_absent = status.is_empty() || status.to_ascii_lowercase().contains("not ") || status == "N/A";
    let reading = reading.and_then(|reading| number(reading.attribute("VALUE")?)).filter(|_| !is_absent);
    Some(Sensor {
        kind,
        id: name.clone(),
        name,
        reading,
        unit: if reading.is_some() { unit } else { "" },
        state: Some(if is_absent { "Absent" } else { "Enabled" }.to_owned()),
        health: health_of(status),
        more: BTreeMap::new(),
    })
}

fn health_of(status: &str) -> Option<Health> {
    match status.to_ascii_lowercase().as_str() {
        "ok" | "good, in use" => Some(Health::Ok),
        "degraded" | "warning" | "caution" => Some(Health::Warning),
        "failed" | "critical" | "fault" => Some(Health::Critical),
        _ => None,
    }
}

/// The number at the start of `"21"`, `"27 Watts"`; `None` for `N/A`.
fn number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok().filter(|number: &f64| number.is_finite())
}

pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect::<String>().trim().to_owned()
}
