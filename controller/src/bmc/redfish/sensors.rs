//! Temperatures, fans, power, disks: from `Thermal` and `Power` (DSP0266 before 2020.4), else from the `Sensors` collection.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Machine,
    collection::Unread,
    document::{Document, shown},
};
use crate::bmc::{BmcError, Health, Sensor, SensorKind, Sensors};

/// Sensors of one machine.
const MAX_SENSORS: usize = 1024;

/// One list of sensors: where it is, what it measures, and Ironic's names for what its items have.
struct List {
    pointer: &'static str,
    kind: SensorKind,
    reading: &'static str,
    unit: &'static str,
    more: &'static [(&'static str, &'static str)],
}

const THERMAL: [List; 2] = [
    List {
        pointer: "/Temperatures",
        kind: SensorKind::Temperature,
        reading: "ReadingCelsius",
        unit: "Celsius",
        more: &[
            ("identity", "MemberId"),
            ("max_reading_range_temp", "MaxReadingRangeTemp"),
            ("min_reading_range_temp", "MinReadingRangeTemp"),
            ("upper_threshold_critical", "UpperThresholdCritical"),
            ("reading_celsius", "ReadingCelsius"),
            ("physical_context", "PhysicalContext"),
            ("sensor_number", "SensorNumber"),
        ],
    },
    List {
        pointer: "/Fans",
        kind: SensorKind::Fan,
        reading: "Reading",
        unit: "RPM",
        more: &[
            ("identity", "MemberId"),
            ("max_reading_range", "MaxReadingRange"),
            ("min_reading_range", "MinReadingRange"),
            ("reading", "Reading"),
            ("reading_units", "ReadingUnits"),
            ("serial_number", "SerialNumber"),
            ("physical_context", "PhysicalContext"),
        ],
    },
];

const POWER: [List; 3] = [
    List {
        pointer: "/PowerSupplies",
        kind: SensorKind::Power,
        reading: "LastPowerOutputWatts",
        unit: "Watts",
        more: &[
            ("power_capacity_watts", "PowerCapacityWatts"),
            ("line_input_voltage", "LineInputVoltage"),
            ("last_power_output_watts", "LastPowerOutputWatts"),
            ("serial_number", "SerialNumber"),
        ],
    },
    List {
        pointer: "/PowerControl",
        kind: SensorKind::Power,
        reading: "PowerConsumedWatts",
        unit: "Watts",
        more: &[("power_capacity_watts", "PowerCapacityWatts")],
    },
    List {
        pointer: "/Voltages",
        kind: SensorKind::Voltage,
        reading: "ReadingVolts",
        unit: "Volts",
        more: &[("sensor_number", "SensorNumber")],
    },
];

#[async_trait]
impl Sensors for Machine {
    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        self.client.whole("its sensors", self.all_sensors()).await
    }
}

impl Machine {
    async fn all_sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        let system = self.system().await?;
        let mut sensors = Vec::new();
        for link in system.links("/Links/Chassis") {
            let Some(chassis) = self.client.look(&link).await? else { continue };
            let found = self.sensors_of(&chassis).await?;
            sensors.extend(found);
        }
        for store in self.stores(Unread::LeftOut).await? {
            sensors.extend(store.drives.iter().map(|drive| disk(drive, &store.document.id())));
        }
        sensors.truncate(MAX_SENSORS);
        Ok(sensors)
    }

    async fn sensors_of(&self, chassis: &Document) -> Result<Vec<Sensor>, BmcError> {
        let mut sensors = Vec::new();
        for (property, lists) in [("/Thermal", &THERMAL[..]), ("/Power", &POWER[..])] {
            let Some(link) = chassis.link(property) else { continue };
            let Some(document) = self.client.look(link).await? else { continue };
            for list in lists {
                let items = document.items(list.pointer).enumerate();
                sensors.extend(items.filter_map(|(place, item)| listed(list, place, item, &chassis.id())));
            }
        }
        if sensors.is_empty()
            && let Some(link) = chassis.link("/Sensors")
        {
            let documents = self.client.documents(link).await?;
            sensors.extend(documents.iter().filter_map(|document| single(document, &chassis.id())));
        }
        Ok(sensors)
    }
}

fn state(item: &Value) -> Option<String> {
    shown(item.pointer("/Status/State")?)
}

fn health(item: &Value) -> Option<Health> {
    item.pointer("/Status/Health")?.as_str()?.parse().ok()
}

fn listed(list: &List, place: usize, item: &Value, chassis: &str) -> Option<Sensor> {
    let state = state(item);
    if !item.is_object() || state.as_deref() == Some("Absent") {
        return None;
    }
    let identity = item.get("MemberId").and_then(shown).unwrap_or_else(|| place.to_string());
    let names = ["Name", "FanName"].iter().find_map(|key| shown(item.get(key)?));
    let reading = item.get(list.reading).and_then(Value::as_f64);
    let unit = match item.get("ReadingUnits").and_then(Value::as_str) {
        Some("Percent") => "Percent",
        _ => list.unit,
    };
    let prefix = list.pointer.trim_start_matches('/');
    let id = match list.pointer {
        // Both are power: their numbers may be the same.
        "/PowerControl" => format!("{prefix}{identity}@{chassis}"),
        _ => format!("{identity}@{chassis}"),
    };
    let plain = |value: &&Value| !value.is_object() && !value.is_array() && !value.is_null();
    let more = list.more.iter().filter_map(|(name, key)| {
        let value = item.get(key).filter(plain)?;
        Some(((*name).to_owned(), shown(value).map_or_else(|| value.clone(), Value::from)))
    });
    Some(Sensor {
        kind: list.kind,
        name: names.unwrap_or_else(|| id.clone()),
        id,
        reading,
        unit: if reading.is_some() { unit } else { "" },
        state,
        health: health(item),
        more: more.collect(),
    })
}

/// A resource of the `Sensors` collection.
fn single(document: &Document, chassis: &str) -> Option<Sensor> {
    let (kind, unit) = match document.text("/ReadingType")? {
        "Temperature" => (SensorKind::Temperature, "Celsius"),
        "Rotational" => (SensorKind::Fan, "RPM"),
        "Percent" => (SensorKind::Fan, "Percent"),
        "Power" => (SensorKind::Power, "Watts"),
        "Voltage" => (SensorKind::Voltage, "Volts"),
        "Current" => (SensorKind::Current, "Amps"),
        _ => return None,
    };
    let context = document.text("/PhysicalContext");
    // Percents that are not of fans say nothing that we know a name for.
    if unit == "Percent" && context != Some("Fan") || state(&document.value).as_deref() == Some("Absent") {
        return None;
    }
    let reading = document.number("/Reading");
    let mut more = BTreeMap::new();
    for (name, pointer) in [
        ("physical_context", "/PhysicalContext"),
        ("upper_threshold_critical", "/Thresholds/UpperCritical/Reading"),
        ("lower_threshold_critical", "/Thresholds/LowerCritical/Reading"),
    ] {
        let value =
            document.shown(pointer).map(Value::from).or_else(|| document.number(pointer).map(Value::from));
        more.extend(value.map(|value| (name.to_owned(), value)));
    }
    Some(Sensor {
        kind,
        id: format!("{}@{chassis}", document.id()),
        name: document.shown("/Name").unwrap_or_else(|| document.id()),
        reading,
        unit: if reading.is_some() { unit } else { "" },
        state: state(&document.value),
        health: health(&document.value),
        more,
    })
}

/// A disk: no reading, but a health.
fn disk(document: &Document, store: &str) -> Sensor {
    let mut more = BTreeMap::new();
    for (name, pointer) in [("name", "/Name"), ("model", "/Model"), ("serial_number", "/SerialNumber")] {
        more.extend(document.shown(pointer).map(|text| (name.to_owned(), Value::from(text))));
    }
    more.extend(
        document.whole("/CapacityBytes").map(|bytes| ("capacity_bytes".to_owned(), Value::from(bytes))),
    );
    Sensor {
        kind: SensorKind::Drive,
        id: format!("{}@{store}", document.id()),
        name: document.shown("/Name").unwrap_or_else(|| document.id()),
        reading: None,
        unit: "",
        state: state(&document.value),
        health: health(&document.value),
        more,
    }
}
