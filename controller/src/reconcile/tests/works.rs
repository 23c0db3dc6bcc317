//! What the BMC of the simulated machine carries out: settings, firmware, volumes, an inspection.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use serde_json::{Value, json};
use url::Url;

use super::machine::Machine;
use crate::{
    bmc::{
        BiosSettings, BmcError, Changed, FirmwareUpdate, Found, Inventory, Job, NewVolume, Outcome,
        PhysicalDrive, Raid, StorageController, Volume,
    },
    node::hardware::BiosSetting,
};

#[derive(Default)]
pub(super) struct Works {
    pub(super) bios: BTreeMap<String, Value>,
    pub(super) pending: BTreeMap<String, Value>,
    /// What the BMC says of an update, look by look; then it is done.
    pub(super) updates: VecDeque<Outcome>,
    pub(super) volumes: Vec<Volume>,
    pub(super) asked_for: Vec<NewVolume>,
    pub(super) found: Found,
    /// The machine must be on to be inspected.
    pub(super) needs_power: bool,
}

impl Works {
    /// The machine starts anew.
    pub(super) fn start(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.bios.extend(pending);
    }
}

#[async_trait]
impl BiosSettings for Machine {
    async fn read(&self) -> Result<Vec<BiosSetting>, BmcError> {
        Ok(Vec::new())
    }

    async fn apply(&self, wanted: &[(String, Value)]) -> Result<Changed, BmcError> {
        self.ask("apply settings").await?;
        let mut state = self.lock();
        if wanted.iter().all(|(name, value)| state.works.bios.get(name) == Some(value)) {
            return Ok(Changed::Already);
        }
        state.works.pending.extend(wanted.iter().cloned());
        Ok(Changed::Yes)
    }

    async fn reset(&self) -> Result<Changed, BmcError> {
        self.ask("reset settings").await?;
        self.lock().works.bios.clear();
        Ok(Changed::Yes)
    }

    async fn outcome(&self, wanted: &[(String, Value)]) -> Result<Outcome, BmcError> {
        self.ask("look at settings").await?;
        let state = self.lock();
        let is_so = wanted.iter().all(|(name, value)| state.works.bios.get(name) == Some(value));
        Ok(if is_so { Outcome::Done } else { Outcome::Failed("attribute refused".into()) })
    }
}

#[async_trait]
impl FirmwareUpdate for Machine {
    async fn update(&self, component: &str, _url: &Url) -> Result<Option<Job>, BmcError> {
        self.ask("update").await?;
        Ok(Some(Job(component.into())))
    }

    async fn progress(&self, _job: &Job) -> Result<Outcome, BmcError> {
        self.ask("look at update").await?;
        Ok(self.lock().works.updates.pop_front().unwrap_or(Outcome::Done))
    }
}

#[async_trait]
impl Raid for Machine {
    async fn controllers(&self) -> Result<Vec<StorageController>, BmcError> {
        let volumes = self.lock().works.volumes.clone();
        let names: Vec<_> = volumes.iter().map(|volume| volume.id.clone()).collect();
        let drive = |n: u8| PhysicalDrive {
            id: format!("d{n}"),
            size: 500 << 30,
            volumes: names.clone(),
            healthy: true,
            ..PhysicalDrive::default()
        };
        Ok(vec![StorageController {
            id: "raid".into(),
            levels: vec!["1".into()],
            drives: (0..2).map(drive).collect(),
            volumes,
            ..StorageController::default()
        }])
    }

    async fn create(&self, volumes: &[NewVolume]) -> Result<Option<Job>, BmcError> {
        self.ask("create volumes").await?;
        let mut state = self.lock();
        state.works.asked_for.extend(volumes.iter().cloned());
        let made = volumes.iter().enumerate().map(|(n, new)| Volume {
            id: format!("v{n}"),
            name: new.name.clone().unwrap_or_default(),
            level: Some(new.level.clone()),
            size: new.size.unwrap_or(500 << 30),
            wwn: Some("0x600508b1001c".into()),
        });
        let made: Vec<_> = made.collect();
        state.works.volumes.extend(made);
        Ok(Some(Job("volumes".into())))
    }

    async fn delete(&self, _volumes: &[Volume]) -> Result<Option<Job>, BmcError> {
        self.ask("delete volumes").await?;
        self.lock().works.volumes.clear();
        Ok(None)
    }

    async fn progress(&self, _job: &Job) -> Result<Outcome, BmcError> {
        Ok(Outcome::Done)
    }

    async fn needs_restart(&self) -> Result<bool, BmcError> {
        Ok(true)
    }
}

#[async_trait]
impl Inventory for Machine {
    async fn look(&self) -> Result<Found, BmcError> {
        self.ask("inspect").await?;
        assert!(self.lock().on || !self.lock().works.needs_power, "the machine is off");
        Ok(self.lock().works.found.clone())
    }

    fn needs_power(&self) -> bool {
        self.lock().works.needs_power
    }
}

/// What an inspection finds.
pub(super) fn found() -> Found {
    let inventory = json!({
        "interfaces": [{"name": "NIC 1", "mac_address": "52:54:00:00:00:0A"}],
        "cpu": {"architecture": "x86_64", "count": 8}, "memory": {"physical_mb": 4096}, "disks": [],
    });
    Found {
        inventory: inventory.as_object().cloned().unwrap(),
        properties: json!({"memory_mb": 4096, "cpus": 8, "local_gb": 99}).as_object().cloned().unwrap(),
        capabilities: BTreeMap::from([
            ("boot_mode".into(), "bios".into()),
            ("server_model".into(), "DL360".into()),
        ]),
        ..Found::default()
    }
}
