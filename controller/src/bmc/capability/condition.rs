//! How a machine is: health, sensors, log, lights; and interrupting it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Changed;
use crate::{
    bmc::{BmcError, quirks::Identity},
    node::words,
};

/// How a machine is, as its BMC sums it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Well.
    Ok,
    /// Something wants attention.
    Warning,
    /// Something is broken.
    Critical,
}

words!(Health { Ok = "OK", Warning = "Warning", Critical = "Critical" });

/// What a BMC says of its machine as a whole.
#[async_trait]
pub trait Overview: Send + Sync {
    /// Who made it; `None` when the BMC does not say.
    async fn vendor(&self) -> Result<Option<String>, BmcError>;
    /// What the BMC says of itself and its machine: rules about quirks match on it.
    async fn identity(&self) -> Result<Identity, BmcError> {
        Ok(Identity { vendor: self.vendor().await?, ..Identity::default() })
    }
    /// How it is; `None` when the BMC does not say.
    async fn health(&self) -> Result<Option<Health>, BmcError>;
}

/// Non-maskable interrupts.
#[async_trait]
pub trait Nmi: Send + Sync {
    /// Interrupts the running operating system, which usually dumps its memory.
    async fn inject(&self) -> Result<(), BmcError>;
}

/// What a light shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Light {
    /// On.
    On,
    /// Off.
    Off,
    /// Blinking.
    Blinking,
    /// The BMC does not say.
    Unknown,
}

words!(Light { On = "ON", Off = "OFF", Blinking = "BLINKING", Unknown = "UNKNOWN" });

/// Lights that help to find the machine.
#[async_trait]
pub trait Indicators: Send + Sync {
    /// All lights.
    async fn lights(&self) -> Result<Vec<Indicator>, BmcError>;
    /// What one of them shows.
    async fn light(&self, component: &str, id: &str) -> Result<Light, BmcError>;
    /// Changes one of them.
    async fn set_light(&self, component: &str, id: &str, light: Light) -> Result<(), BmcError>;
}

/// A light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicator {
    /// `system`, `chassis` or `disk`.
    pub component: &'static str,
    /// Unique within the component.
    pub id: String,
    /// What it can show.
    pub states: Vec<Light>,
    /// Whether it cannot be changed.
    pub read_only: bool,
}

/// What a sensor measures; Ironic's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SensorKind {
    /// Temperatures.
    Temperature,
    /// Fans.
    Fan,
    /// Power supplies and consumption.
    Power,
    /// Disks.
    Drive,
    /// Voltages.
    Voltage,
    /// Currents.
    Current,
}

impl SensorKind {
    /// Ironic's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Temperature => "Temperature",
            Self::Fan => "Fan",
            Self::Power => "Power",
            Self::Drive => "Drive",
            Self::Voltage => "Voltage",
            Self::Current => "Current",
        }
    }
}

/// One sensor, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensor {
    /// What it measures.
    pub kind: SensorKind,
    /// Unique within the kind: `0@Chassis1`.
    pub id: String,
    /// As people call it.
    pub name: String,
    /// Celsius, revolutions per minute, percent, volts, amperes, watts: see `unit`. `None`: it has none.
    pub reading: Option<f64>,
    /// `Celsius`, `RPM`, `Percent`, `Volts`, `Amps`, `Watts`; empty without a reading.
    pub unit: &'static str,
    /// `Enabled`, `Absent`, … as Redfish has them.
    pub state: Option<String>,
    /// How what it measures is.
    pub health: Option<Health>,
    /// What else Ironic's notifications carry, under Ironic's names (thresholds, model, serial number, …).
    pub more: BTreeMap<String, serde_json::Value>,
}

/// Sensors.
#[async_trait]
pub trait Sensors: Send + Sync {
    /// All that can be read now.
    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError>;
}

/// An entry of the machine's log of events (SEL, IML).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Unique in the log.
    pub id: String,
    /// When, if the BMC knows.
    pub at: Option<DateTime<Utc>>,
    /// How bad it is.
    pub severity: Option<String>,
    /// What happened.
    pub message: String,
}

/// The machine's own log of events.
#[async_trait]
pub trait SystemLog: Send + Sync {
    /// The newest entries, oldest first.
    async fn entries(&self, most: usize) -> Result<Vec<LogEntry>, BmcError>;
    /// Empties it.
    async fn clear(&self) -> Result<Changed, BmcError>;
}
