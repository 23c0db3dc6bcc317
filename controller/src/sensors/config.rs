//! `[sensor_data]`, with Ironic's option names.

use std::time::Duration;

use serde::Deserialize;

use crate::bmc::SensorKind;

/// `[sensor_data]`: the sensors of machines, read from their BMCs for `/metrics` and for notifications.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether sensors are read at all. Default false.
    pub send_sensor_data: bool,
    /// Seconds between two readings of a machine. Default 600.
    pub interval: u32,
    /// How many BMCs are asked for their sensors at the same moment. Default 4.
    pub workers: u32,
    /// Seconds that one BMC may take. Default 300.
    pub wait_timeout: u32,
    /// Whether sensors of nodes without an instance are read, too. Default false.
    pub enable_for_undeployed_nodes: bool,
    /// Which kinds are kept: `Temperature`, `Fan`, `Power`, `Drive`, `Voltage`, `Current`, or `ALL`. Default `["ALL"]`.
    pub data_types: Vec<DataType>,
}

/// Kinds of sensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum DataType {
    /// This kind.
    One(SensorKind),
    /// Each kind.
    Every(All),
}

/// The word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum All {
    /// `ALL`, in either case as Ironic takes it.
    #[serde(rename = "ALL", alias = "All", alias = "all")]
    All,
}

/// What is wrong with `[sensor_data]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A number of zero.
    #[error("sensor_data.{0} must be at least 1")]
    Zero(&'static str),
    /// A filter that lets nothing through.
    #[error(
        "sensor_data.data_types is empty, so nothing would be kept: set [\"ALL\"], or send_sensor_data = false"
    )]
    Nothing,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            send_sensor_data: false,
            interval: 600,
            workers: 4,
            wait_timeout: 300,
            enable_for_undeployed_nodes: false,
            data_types: vec![DataType::Every(All::All)],
        }
    }
}

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let numbers =
            [("interval", self.interval), ("workers", self.workers), ("wait_timeout", self.wait_timeout)];
        if let Some((name, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
            return Err(ConfigError::Zero(name));
        }
        if self.data_types.is_empty() { Err(ConfigError::Nothing) } else { Ok(()) }
    }

    /// Whether sensors of that kind are kept.
    pub(crate) fn keeps(&self, kind: SensorKind) -> bool {
        self.data_types.iter().any(|one| match one {
            DataType::One(one) => *one == kind,
            DataType::Every(_) => true,
        })
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.into())
    }

    pub(crate) fn wait_timeout(&self) -> Duration {
        Duration::from_secs(self.wait_timeout.into())
    }
}
