//! RAID volumes of Smart Array controllers, which the standard's `Storage` does not show on Gen10: `SmartStorageConfig` tells
//! of them as the last start found them, its settings object takes what the firmware does at the next one (HPE "iLO RESTful
//! API", "SmartStorage configuration").

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Hpe, settings::SETTINGS};
use crate::bmc::{
    BmcError, Job, NewVolume, Outcome, PhysicalDrive, Raid, StorageController, Volume, redfish::Document,
};

const CONFIGS: &str = "/Oem/Hpe/SmartStorageConfig";
const STORAGE: &str = "/Oem/Hpe/Links/SmartStorage";
const MESSAGES: &str = "/@Redfish.Settings/Messages";
/// HPE's and Ironic's words for levels.
const LEVELS: [(&str, &str); 7] = [
    ("Raid0", "0"),
    ("Raid1", "1"),
    ("Raid5", "5"),
    ("Raid6", "6"),
    ("Raid10", "1+0"),
    ("Raid50", "5+0"),
    ("Raid60", "6+0"),
];
/// With it the firmware deletes what it is told to and nothing else: volumes that are left out stay.
const GUARD: &str = "Permissive";
/// Jobs that are ours.
const JOB: &str = "smart-storage:";
/// Controllers of a machine.
const MAX_CONTROLLERS: usize = 16;
const MAX_TEXT: usize = 128;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A controller.
struct Array {
    config: Document,
    name: Option<String>,
    disks: Vec<Document>,
}

/// What was asked of a controller.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    /// Its configuration.
    path: String,
    /// As it was before.
    before: Vec<String>,
}

#[async_trait]
impl Raid for Hpe {
    /// The standard's, where it makes volumes.
    async fn controllers(&self) -> Result<Vec<StorageController>, BmcError> {
        let standard = match &self.standard.raid {
            Some(raid) => raid.controllers().await?,
            None => Vec::new(),
        };
        if standard.iter().any(|controller| !controller.levels.is_empty()) {
            return Ok(standard);
        }
        let arrays = self.arrays().await?;
        Ok(if arrays.is_empty() { standard } else { arrays.iter().map(Array::controller).collect() })
    }

    async fn create(&self, volumes: &[NewVolume]) -> Result<Option<Job>, BmcError> {
        let mut asked = Vec::new();
        for array in self.arrays().await? {
            let id = array.config.id();
            let new: Vec<_> = volumes.iter().filter(|new| new.controller == id).collect();
            if !new.is_empty() {
                asked.push((array.config, new.into_iter().map(wanted).collect::<Option<Vec<_>>>()));
            }
        }
        if asked.is_empty() {
            return self.raid()?.create(volumes).await;
        }
        let mut bodies = Vec::new();
        for (config, new) in asked {
            let new = new.ok_or_else(|| self.link.unsupported("make a RAID volume of that level"))?;
            bodies.push((config, new));
        }
        self.ask(bodies).await
    }

    async fn delete(&self, volumes: &[Volume]) -> Result<Option<Job>, BmcError> {
        let mut old: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (path, id) in volumes.iter().filter_map(|volume| volume.id.split_once('#')) {
            let delete = json!({"Actions": [{"Action": "LogicalDriveDelete"}], "VolumeUniqueIdentifier": id});
            old.entry(path).or_default().push(delete);
        }
        if old.is_empty() {
            return self.raid()?.delete(volumes).await;
        }
        let arrays = self.arrays().await?.into_iter();
        let bodies = arrays.filter_map(|array| Some((old.remove(&*array.config.path)?, array.config)));
        let bodies = bodies.map(|(drives, config)| (config, drives)).collect();
        self.ask(bodies).await
    }

    async fn progress(&self, job: &Job) -> Result<Outcome, BmcError> {
        let Some(text) = job.0.strip_prefix(JOB) else { return self.raid()?.progress(job).await };
        let asked: Vec<Asked> = serde_json::from_str(text).unwrap_or_default();
        for Asked { path, before } in asked {
            let config = self.machine.client.get(&path).await?;
            if stamp(&config) == before {
                return Ok(Outcome::NeedsRestart);
            }
            let said: Vec<_> = config.items(MESSAGES).filter_map(message).collect();
            if !said.is_empty() && !said.iter().any(|said| said.contains("Success")) {
                return Ok(Outcome::Failed(format!("{}: {}", config.id(), said.join("; "))));
            }
        }
        Ok(Outcome::Done)
    }

    async fn needs_restart(&self, controllers: &[String]) -> Result<bool, BmcError> {
        if self.arrays().await?.iter().any(|array| controllers.contains(&array.config.id())) {
            return Ok(true);
        }
        self.raid()?.needs_restart(controllers).await
    }
}

impl Hpe {
    fn raid(&self) -> Result<&dyn Raid, BmcError> {
        let raid = self.standard.raid.as_deref();
        raid.ok_or_else(|| self.link.unsupported("make RAID volumes: it shows no controller that does"))
    }

    /// Asks each controller; what it is asked for during the self-test is lost.
    async fn ask(&self, bodies: Vec<(Document, Vec<Value>)>) -> Result<Option<Job>, BmcError> {
        self.wait_for_post().await?;
        let (mut asked, mut problem) = (Vec::new(), None);
        for (config, drives) in bodies {
            let link = config.link(SETTINGS).unwrap_or(&config.path);
            let body = json!({"DataGuard": GUARD, "LogicalDrives": drives});
            match self.machine.client.put(link, &body).await? {
                Ok(()) => asked.push(Asked { before: stamp(&config), path: config.path }),
                Err(refusal) => drop(problem.get_or_insert(refusal)),
            }
        }
        if let Some(refusal) = problem {
            return Err(refusal.into());
        }
        Ok(serde_json::to_string(&asked).ok().map(|asked| Job(format!("{JOB}{asked}"))))
    }

    async fn arrays(&self) -> Result<Vec<Array>, BmcError> {
        self.machine.client.whole("its Smart Array controllers", self.read_arrays()).await
    }

    async fn read_arrays(&self) -> Result<Vec<Array>, BmcError> {
        let system = self.machine.system().await?;
        let mut configs = Vec::new();
        for link in system.links_or_link(CONFIGS).iter().take(MAX_CONTROLLERS) {
            configs.extend(self.machine.client.find(link).await?);
        }
        if configs.is_empty() {
            return Ok(Vec::new());
        }
        let hardware = self.hardware(&system).await?;
        let is_alone = configs.len() == 1 && hardware.len() == 1;
        let mut arrays = Vec::new();
        for config in configs {
            // Some firmware does not know its slot.
            let place = config.text("/Location");
            let own =
                hardware.iter().find(|own| is_alone || (place.is_some() && own.text("/Location") == place));
            let disks = match own.and_then(|own| own.link("/Links/PhysicalDrives")) {
                Some(link) => self.all(link).await?,
                None => Vec::new(),
            };
            let name = own.and_then(|own| own.shown("/Model"));
            arrays.push(Array { config, name, disks });
        }
        Ok(arrays)
    }

    /// The controllers as the iLO sees them: only there are their disks.
    async fn hardware(&self, system: &Document) -> Result<Vec<Document>, BmcError> {
        let Some(link) = system.link(STORAGE) else { return Ok(Vec::new()) };
        let Some(storage) = self.machine.client.find(link).await? else { return Ok(Vec::new()) };
        match storage.link("/Links/ArrayControllers") {
            Some(link) => self.all(link).await,
            None => Ok(Vec::new()),
        }
    }

    /// The members of a collection.
    async fn all(&self, link: &str) -> Result<Vec<Document>, BmcError> {
        let Some(list) = self.machine.client.find(link).await? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for link in list.links("/Members") {
            found.extend(self.machine.client.find(&link).await?);
        }
        Ok(found)
    }
}

// === impl Array ===

impl Array {
    fn controller(&self) -> StorageController {
        let volumes: Vec<_> = self.config.items("/LogicalDrives").map(|drive| self.volume(drive)).collect();
        let takes = self.config.link(SETTINGS).is_some();
        StorageController {
            id: self.config.id(),
            name: self.name.clone().or_else(|| self.config.shown("/Location")).unwrap_or_default(),
            levels: LEVELS.iter().filter(|_| takes).map(|(_, level)| (*level).to_owned()).collect(),
            drives: self.disks.iter().filter_map(|disk| self.disk(disk, &volumes)).collect(),
            volumes,
        }
    }

    fn volume(&self, drive: &Value) -> Volume {
        let text = |key: &str| drive.get(key).and_then(Value::as_str);
        let number = |key: &str| drive.get(key).and_then(Value::as_u64);
        let is_unique =
            |id: &&str| (16..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
        let unique = text("VolumeUniqueIdentifier").filter(is_unique);
        let word = text("Raid").unwrap_or_default();
        let blocks = number("CapacityBlocks").zip(number("BlockSizeBytes"));
        let size = blocks.map(|(blocks, size)| blocks.saturating_mul(size));
        let end = unique
            .map_or_else(|| format!("{}", number("LogicalDriveNumber").unwrap_or_default()), str::to_owned);
        Volume {
            id: format!("{}#{end}", self.config.path),
            name: short(text("LogicalDriveName").unwrap_or_default()),
            level: LEVELS.iter().find(|(known, _)| *known == word).map(|(_, level)| (*level).to_owned()),
            size: size
                .or_else(|| number("CapacityGiB").map(|gib| gib.saturating_mul(GIB)))
                .unwrap_or_default(),
            wwn: unique
                .filter(|id| matches!(id.len(), 16 | 32))
                .map(|id| format!("0x{}", id.to_ascii_lowercase())),
            drives: places(drive, "DataDrives"),
            // Without its identifier it cannot be named to the firmware.
            is_array: unique.is_some(),
        }
    }

    fn disk(&self, disk: &Document, volumes: &[Volume]) -> Option<PhysicalDrive> {
        let id = short(disk.text("/Location")?);
        let blocks = disk.whole("/CapacityLogicalBlocks").zip(disk.whole("/BlockSizeBytes"));
        let size = blocks.map(|(blocks, size)| blocks.saturating_mul(size));
        let size = size.or_else(|| disk.whole("/CapacityMiB").map(|mib| mib.saturating_mul(MIB)));
        let drives = self.config.items("/LogicalDrives").zip(volumes);
        let (mut of, mut is_spare) = (Vec::new(), disk.text("/DiskDriveUse") == Some("Spare"));
        for (drive, volume) in drives {
            let stands_by = places(drive, "SpareDrives").contains(&id);
            is_spare |= stands_by;
            if stands_by || volume.drives.contains(&id) {
                of.push(volume.id.clone());
            }
        }
        // A volume that was made since the last start is not told.
        let is_raw = disk.text("/DiskDriveUse").is_none_or(|usage| usage == "Raw");
        if of.is_empty() && !is_raw {
            of.push("not told".to_owned());
        }
        let word = |pointer: &str| disk.text(pointer).map(|word| short(word).to_ascii_lowercase());
        Some(PhysicalDrive {
            id,
            size: size.unwrap_or_default(),
            disk_type: word("/MediaType").filter(|kind| kind == "hdd" || kind == "ssd"),
            interface_type: word("/InterfaceType"),
            volumes: of,
            healthy: disk.text("/Status/Health").is_none_or(|health| health == "OK")
                && disk.text("/Status/State").is_none_or(|state| state == "Enabled"),
            is_spare,
        })
    }
}

/// A volume in HPE's words; `None`: it has no such level.
fn wanted(new: &NewVolume) -> Option<Value> {
    let (word, _) = LEVELS.iter().find(|(_, level)| *level == new.level)?;
    // -1: all there is.
    let size = new.size.map_or(json!(-1), |size| json!(size / GIB));
    let mut drive = json!({"Raid": word, "CapacityGiB": size, "DataDrives": new.drives});
    if let Some(name) = &new.name {
        drive["LogicalDriveName"] = json!(name);
    }
    Some(drive)
}

/// Changes when the firmware has looked at what it was asked for.
fn stamp(config: &Document) -> Vec<String> {
    let parts = ["/@odata.etag", "/@Redfish.Settings/ETag", "/@Redfish.Settings/Time"];
    let of = |pointer: &&str| short(config.text(pointer).unwrap_or_default());
    let said = config.items(MESSAGES).filter_map(message);
    parts.iter().map(of).chain(said).collect()
}

fn message(message: &Value) -> Option<String> {
    let arguments = message.get("MessageArgs").and_then(Value::as_array).into_iter().flatten();
    let words = message.get("MessageId").into_iter().chain(arguments).filter_map(Value::as_str);
    Some(words.take(8).map(short).collect::<Vec<_>>().join(" ")).filter(|words| !words.is_empty())
}

fn places(drive: &Value, key: &str) -> Vec<String> {
    let list = drive.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).take(256).map(short).collect()
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}
