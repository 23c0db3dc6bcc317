//! What the BMC of the simulated machine carries out: settings, firmware, volumes, an inspection.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use serde_json::{Value, json};
use url::Url;

use super::machine::Machine;
use crate::{
    bmc::{
        BiosSettings, BmcError, Changed, FirmwareInventory, FirmwareUpdate, Found, Inventory, Job, NewVolume,
        Outcome, PhysicalDrive, Raid, StorageController, Volume,
    },
    node::hardware::{BiosSetting, FirmwareComponent},
};

#[derive(Default)]
pub(super) struct Works {
    pub(super) bios: BTreeMap<String, Value>,
    pub(super) pending: BTreeMap<String, Value>,
    /// What the BMC says of an update, look by look; then it is done.
    pub(super) updates: VecDeque<Outcome>,
    /// Images that were taken.
    pub(super) flashed: Vec<String>,
    /// The BMC shows a task of an update.
    pub(super) has_task: bool,
    pub(super) versions: BTreeMap<String, String>,
    /// What the next image changes.
    pub(super) image: Option<(&'static str, &'static str)>,
    pub(super) volumes: Vec<Volume>,
    /// For so many looks no storage controller is shown.
    pub(super) unseen: u32,
    /// The same, once volumes were deleted.
    pub(super) unseen_after_deletion: u32,
    pub(super) asked_for: Vec<NewVolume>,
    /// Disks beside the first two.
    pub(super) more_disks: u8,
    /// Volumes are made and removed at the next start, and no job tells of it.
    pub(super) volumes_wait: bool,
    /// What is asked for is never made.
    pub(super) volumes_fail: bool,
    /// New volumes have no world wide name.
    pub(super) tells_no_wwn: bool,
    new_volumes: Vec<Volume>,
    old_volumes: Vec<String>,
    pub(super) found: Found,
    /// Found before it, look by look.
    pub(super) found_first: VecDeque<Found>,
    /// The machine must be on to be inspected.
    pub(super) needs_power: bool,
}

impl Works {
    /// The machine starts anew.
    pub(super) fn start(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.bios.extend(pending);
        self.change_volumes();
    }

    fn change_volumes(&mut self) {
        let old = std::mem::take(&mut self.old_volumes);
        self.volumes.retain(|volume| !old.contains(&volume.id));
        let new = std::mem::take(&mut self.new_volumes);
        self.volumes.extend(new.into_iter().filter(|_| !self.volumes_fail));
    }

    /// What became of a request about volumes.
    fn asked_about_volumes(&mut self) -> Option<Job> {
        if self.volumes_wait {
            return None;
        }
        self.change_volumes();
        Some(Job("volumes".into()))
    }
}

#[async_trait]
impl BiosSettings for Machine {
    async fn read(&self) -> Result<Vec<BiosSetting>, BmcError> {
        Ok(Vec::new())
    }

    async fn apply(&self, wanted: &[(String, Value)]) -> Result<Changed, BmcError> {
        let changed = {
            let mut state = self.lock();
            let works = &mut state.works;
            let asked = |name| works.pending.get(name).or(works.bios.get(name));
            let is_so = wanted.iter().all(|(name, value)| asked(name) == Some(value));
            works.pending.extend(wanted.iter().filter(|_| !is_so).cloned());
            if is_so { Changed::Already } else { Changed::Yes }
        };
        self.ask("apply settings").await?;
        Ok(changed)
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
        {
            let mut state = self.lock();
            state.works.flashed.push(component.to_owned());
            if let Some((component, version)) = state.works.image.take() {
                state.works.versions.insert(component.to_owned(), version.to_owned());
            }
        }
        self.ask("update").await?;
        Ok(Some(Job(component.into())))
    }

    async fn under_way(&self) -> Result<Option<Job>, BmcError> {
        Ok(self.lock().works.has_task.then(|| Job("task".into())))
    }

    async fn progress(&self, _job: &Job) -> Result<Outcome, BmcError> {
        self.ask("look at update").await?;
        Ok(self.lock().works.updates.pop_front().unwrap_or(Outcome::Done))
    }
}

#[async_trait]
impl FirmwareInventory for Machine {
    async fn components(&self) -> Result<Vec<FirmwareComponent>, BmcError> {
        let versions = self.lock().works.versions.clone();
        let component = |(component, version)| FirmwareComponent {
            component,
            current_version: Some(version),
            ..FirmwareComponent::default()
        };
        Ok(versions.into_iter().map(component).collect())
    }
}

#[async_trait]
impl Raid for Machine {
    async fn controllers(&self) -> Result<Vec<StorageController>, BmcError> {
        let mut state = self.lock();
        if state.works.unseen > 0 {
            state.works.unseen -= 1;
            return Ok(Vec::new());
        }
        let volumes = state.works.volumes.clone();
        let drive = |n: u8| {
            let id = format!("d{n}");
            let of = volumes.iter().filter(|volume| volume.drives.contains(&id));
            let volumes = of.map(|volume| volume.id.clone()).collect();
            PhysicalDrive { id, size: 500 << 30, volumes, healthy: true, ..PhysicalDrive::default() }
        };
        Ok(vec![StorageController {
            id: "raid".into(),
            levels: vec!["1".into()],
            drives: (0..2 + state.works.more_disks).map(drive).collect(),
            volumes: volumes.clone(),
            ..StorageController::default()
        }])
    }

    /// Slow is only the answer.
    async fn create(&self, volumes: &[NewVolume]) -> Result<Option<Job>, BmcError> {
        let job = {
            let mut state = self.lock();
            let works = &mut state.works;
            if volumes.iter().any(|new| works.new_volumes.iter().any(|old| old.drives == new.drives)) {
                return Err(refused("create volumes"));
            }
            for new in volumes {
                works.asked_for.push(new.clone());
                let n = works.asked_for.len();
                works.new_volumes.push(Volume {
                    id: format!("v{n}"),
                    name: new.name.clone().unwrap_or_default(),
                    level: Some(new.level.clone()),
                    size: new.size.unwrap_or(500 << 30),
                    wwn: (!works.tells_no_wwn).then(|| format!("0x600508b1001c000{n}")),
                    drives: new.drives.clone(),
                    is_array: true,
                });
            }
            works.asked_about_volumes()
        };
        self.ask("create volumes").await?;
        Ok(job)
    }

    async fn delete(&self, volumes: &[Volume]) -> Result<Option<Job>, BmcError> {
        let job = {
            let mut state = self.lock();
            if volumes.iter().any(|volume| state.works.old_volumes.contains(&volume.id)) {
                return Err(refused("delete volumes"));
            }
            state.works.old_volumes.extend(volumes.iter().map(|volume| volume.id.clone()));
            state.works.unseen = state.works.unseen_after_deletion;
            state.works.asked_about_volumes()
        };
        self.ask("delete volumes").await?;
        Ok(job)
    }

    async fn progress(&self, _job: &Job) -> Result<Outcome, BmcError> {
        Ok(Outcome::Done)
    }

    async fn needs_restart(&self, controllers: &[String]) -> Result<bool, BmcError> {
        Ok(controllers == ["raid"])
    }
}

#[async_trait]
impl Inventory for Machine {
    async fn look(&self) -> Result<Found, BmcError> {
        self.ask("inspect").await?;
        assert!(self.lock().on || !self.lock().works.needs_power, "the machine is off");
        let works = &mut self.lock().works;
        Ok(works.found_first.pop_front().unwrap_or_else(|| works.found.clone()))
    }

    fn needs_power(&self) -> bool {
        self.lock().works.needs_power
    }
}

/// Of what waits for the next start already.
fn refused(what: &str) -> BmcError {
    let message = "it is asked for already".into();
    BmcError::Refused { address: "bmc.test".into(), what: what.into(), status: 400, message }
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
