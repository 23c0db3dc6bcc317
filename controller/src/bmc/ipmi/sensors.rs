//! Sensors (IPMI 2.0, section 35.14).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;

use super::{
    Machine,
    command::{self, GET_SENSOR_READING},
    sdr::{self, Described},
};
use crate::bmc::{BmcError, Health, Sensor, Sensors, queue};

/// All sensors of a slow BMC.
const WITHIN: Duration = Duration::from_secs(300);
/// BMCs whose records are remembered.
const MAX_KNOWN: usize = 4096;

const UNAVAILABLE: u8 = 0x20;
const SCANNING: u8 = 0x40;
/// Beyond critical and non-recoverable thresholds, below and above.
const CRITICAL: u8 = 0x02 | 0x04 | 0x10 | 0x20;
const NON_CRITICAL: u8 = 0x01 | 0x08;

/// The records of a BMC take a hundred times as long to read as what says that they did not change.
type Known = HashMap<String, ([u8; 14], Arc<Vec<Described>>)>;
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

#[async_trait]
impl Sensors for Machine {
    async fn sensors(&self) -> Result<Vec<Sensor>, BmcError> {
        queue::within(&self.client.address, "for its sensors", WITHIN, async {
            let mut sensors = Vec::new();
            for described in self.described().await?.iter() {
                sensors.push(self.read(described).await?);
            }
            Ok(sensors)
        })
        .await
    }
}

impl Machine {
    async fn described(&self) -> Result<Arc<Vec<Described>>, BmcError> {
        let generation = sdr::generation(&self.client).await?;
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, described)) = known().get(&self.client.address)
            && *of == generation
        {
            return Ok(Arc::clone(described));
        }
        let described = Arc::new(sdr::read(&self.client).await?);
        let mut known = known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(self.client.address.clone(), (generation, Arc::clone(&described)));
        Ok(described)
    }

    async fn read(&self, described: &Described) -> Result<Sensor, BmcError> {
        let command = command::Command { lun: described.lun, ..GET_SENSOR_READING };
        let (code, data) = self.client.exchange(&command, &[described.number]).await?;
        let reading = match (code, data.as_slice()) {
            (0, [raw, flags, rest @ ..]) if flags & UNAVAILABLE == 0 && flags & SCANNING != 0 => {
                described.value(*raw).map(|value| (value, rest.first().copied().unwrap_or_default()))
            }
            // What is not plugged in or switched off has no reading.
            _ => None,
        };
        let health = reading.map(|(_, beyond)| match beyond {
            beyond if beyond & CRITICAL != 0 => Health::Critical,
            beyond if beyond & NON_CRITICAL != 0 => Health::Warning,
            _ => Health::Ok,
        });
        let more: BTreeMap<_, _> =
            described.limits().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        Ok(Sensor {
            kind: described.kind,
            id: format!("{}.{}", described.lun, described.number),
            name: described.name.clone(),
            reading: reading.map(|(value, _)| value),
            unit: if reading.is_some() { described.unit } else { "" },
            state: Some(if reading.is_some() { "Enabled" } else { "Absent" }.to_owned()),
            health,
            more,
        })
    }
}
