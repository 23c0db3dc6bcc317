//! Disks and RAID volumes.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use tracing::info;

use super::{
    Machine,
    document::Document,
    task::{Started, job_of},
    transport::Call,
};
use crate::bmc::{BmcError, Job, NewVolume, Outcome, PhysicalDrive, Raid, StorageController, Volume};

/// Redfish's and Ironic's words for levels.
const LEVELS: [(&str, &str); 7] = [
    ("RAID0", "0"),
    ("RAID1", "1"),
    ("RAID5", "5"),
    ("RAID6", "6"),
    ("RAID10", "1+0"),
    ("RAID50", "5+0"),
    ("RAID60", "6+0"),
];
/// What volumes were called before `RAIDType` came (Volume 1.3.1).
const VOLUME_TYPES: [(&str, &str); 5] = [
    ("NonRedundant", "0"),
    ("Mirrored", "1"),
    ("StripedWithParity", "5"),
    ("SpannedMirrors", "1+0"),
    ("SpannedStripesWithParity", "5+0"),
];

/// A set of disks with what is needed to change it.
pub(super) struct Store {
    pub(super) document: Document,
    pub(super) drives: Vec<Document>,
    pub(super) volumes: Vec<Document>,
    /// The collection of its volumes.
    collection: Option<Document>,
}

#[async_trait]
impl Raid for Machine {
    async fn controllers(&self) -> Result<Vec<StorageController>, BmcError> {
        let look = async {
            let mut controllers = Vec::new();
            for store in self.stores().await? {
                let levels = self.levels(&store).await?;
                controllers.push(store.controller(levels));
            }
            Ok(controllers)
        };
        self.client.whole("its storage", look).await
    }

    async fn create(&self, volumes: &[NewVolume]) -> Result<Option<Job>, BmcError> {
        let stores = self.stores().await?;
        let mut started = Vec::new();
        for wanted in volumes {
            let store = stores.iter().find(|store| store.document.id() == wanted.controller);
            let store = store.ok_or_else(|| self.cannot(wanted, "it has no such controller"))?;
            if store.has(wanted) {
                continue;
            }
            started.push(self.create_one(store, wanted).await?);
        }
        Ok(job_of(started))
    }

    async fn delete(&self, volumes: &[Volume]) -> Result<Option<Job>, BmcError> {
        let mut started = Vec::new();
        for volume in volumes {
            let call = Call { method: &Method::DELETE, link: &volume.id, body: None, if_match: None };
            match self.client.start(call).await? {
                Err(refusal) if refusal.status == 404 => {}
                result => started.push(result?),
            }
        }
        Ok(job_of(started))
    }

    async fn progress(&self, job: &Job) -> Result<Outcome, BmcError> {
        self.client.job_progress(job).await
    }

    async fn needs_restart(&self) -> Result<bool, BmcError> {
        Ok(self.stores().await?.iter().any(|store| store.apply_time() == Some("OnReset")))
    }
}

impl Machine {
    /// All sets of disks of the system.
    pub(super) async fn stores(&self) -> Result<Vec<Store>, BmcError> {
        let system = self.system().await?;
        let Some(link) = system.link("/Storage") else { return Ok(Vec::new()) };
        let mut stores = Vec::new();
        for document in self.client.documents(link).await? {
            let mut drives = Vec::new();
            for link in document.links("/Drives") {
                drives.extend(self.client.look(&link).await?);
            }
            let (mut collection, mut volumes) = (None, Vec::new());
            if let Some(link) = document.link("/Volumes") {
                collection = self.client.look(link).await?;
                if collection.is_some() {
                    volumes = self.client.documents(link).await?;
                }
            }
            stores.push(Store { document, drives, volumes, collection });
        }
        Ok(stores)
    }

    /// Levels in Ironic's words.
    async fn levels(&self, store: &Store) -> Result<Vec<String>, BmcError> {
        let ironic = |words: Vec<&str>| {
            let known = LEVELS.iter().filter(|(word, _)| words.contains(word));
            known.map(|(_, level)| (*level).to_owned()).collect::<Vec<_>>()
        };
        let mut controllers: Vec<_> = store.document.items("/StorageControllers").cloned().collect();
        if let Some(link) = store.document.link("/Controllers") {
            controllers.extend(self.client.documents(link).await?.into_iter().map(|one| one.value));
        }
        let supported = controllers.iter().filter_map(|one| one.get("SupportedRAIDTypes")?.as_array());
        let words: Vec<_> = supported.flatten().filter_map(Value::as_str).collect();
        if !words.is_empty() {
            return Ok(ironic(words));
        }
        let Some(collection) = &store.collection else { return Ok(Vec::new()) };
        if let Some(link) =
            collection.link("/@Redfish.CollectionCapabilities/Capabilities/0/CapabilitiesObject")
            && let Some(capabilities) = self.client.look(link).await?
            && let Some(words) = capabilities.texts("/RAIDType@Redfish.AllowableValues")
        {
            return Ok(ironic(words));
        }
        let takes = self.client.allows(&collection.path, &Method::POST).await? == Some(true);
        Ok(if takes { LEVELS.iter().map(|(_, level)| (*level).to_owned()).collect() } else { Vec::new() })
    }

    async fn create_one(&self, store: &Store, wanted: &NewVolume) -> Result<Started, BmcError> {
        let collection =
            store.collection.as_ref().ok_or_else(|| self.cannot(wanted, "the controller has no volumes"))?;
        let (word, _) = LEVELS
            .iter()
            .find(|(_, level)| *level == wanted.level)
            .ok_or_else(|| self.cannot(wanted, "Redfish has no such level"))?;
        let mut drives = Vec::new();
        for id in &wanted.drives {
            let drive = store.drives.iter().find(|drive| drive.id() == *id);
            let drive =
                drive.ok_or_else(|| self.cannot(wanted, &format!("the controller has no drive {id}")))?;
            drives.push(json!({"@odata.id": drive.path}));
        }
        let mut body = json!({"RAIDType": word, "Links": {"Drives": drives}});
        if let Some(size) = wanted.size {
            body["CapacityBytes"] = json!(size);
        }
        if let Some(name) = &wanted.name {
            body["Name"] = json!(name);
        }
        if let Some(time) = store.apply_time() {
            body["@Redfish.OperationApplyTime"] = json!(time);
        }
        let call = Call { method: &Method::POST, link: &collection.path, body: Some(&body), if_match: None };
        match self.client.start(call).await? {
            // BMCs of before `RAIDType`.
            Err(refusal) if refusal.messages.iter().any(|m| m.arguments.iter().any(|a| a == "RAIDType")) => {
                let old = VOLUME_TYPES.iter().find(|(_, level)| *level == wanted.level);
                let Some((word, _)) = old else { return Err(refusal.into()) };
                info!(bmc = self.client.transport.address, "the volume is asked for in the older way");
                body.as_object_mut().and_then(|body| body.remove("RAIDType"));
                body["VolumeType"] = json!(word);
                let call =
                    Call { method: &Method::POST, link: &collection.path, body: Some(&body), if_match: None };
                Ok(self.client.start(call).await??)
            }
            result => Ok(result?),
        }
    }

    fn cannot(&self, wanted: &NewVolume, why: &str) -> BmcError {
        let NewVolume { controller, level, .. } = wanted;
        self.client.unsupported(format!("make a RAID volume of level {level} on {controller}: {why}"))
    }
}

// === impl Store ===

impl Store {
    /// When the BMC makes volumes: at once, if it may be asked for that; `None` when it does not say.
    fn apply_time(&self) -> Option<&'static str> {
        let times = self.collection.as_ref()?.texts("/@Redfish.OperationApplyTimeSupport/SupportedValues")?;
        ["Immediate", "OnReset"].into_iter().find(|time| times.contains(time))
    }

    fn controller(&self, levels: Vec<String>) -> StorageController {
        let name = self.document.shown("/StorageControllers/0/Name").or_else(|| self.document.shown("/Name"));
        StorageController {
            id: self.document.id(),
            name: name.unwrap_or_default(),
            levels,
            drives: self.drives.iter().map(drive).collect(),
            volumes: self.volumes.iter().map(volume).collect(),
        }
    }

    /// Whether a volume like that is there already: the same name, level and disks.
    fn has(&self, wanted: &NewVolume) -> bool {
        self.volumes.iter().any(|document| {
            let Volume { name, level, .. } = volume(document);
            let mut own: Vec<_> = self
                .drives
                .iter()
                .filter(|drive| document.links("/Links/Drives").contains(&drive.path))
                .map(Document::id)
                .collect();
            let mut others = wanted.drives.clone();
            own.sort();
            others.sort();
            wanted.name.as_ref() == Some(&name) && level.as_ref() == Some(&wanted.level) && own == others
        })
    }
}

/// A disk in our words.
pub(super) fn drive(document: &Document) -> PhysicalDrive {
    let is_well = document.text("/Status/Health").is_none_or(|health| health == "OK");
    let is_there = document
        .text("/Status/State")
        .is_none_or(|state| matches!(state, "Enabled" | "StandbyOffline" | "StandbySpare"));
    PhysicalDrive {
        id: document.id(),
        size: document.whole("/CapacityBytes").unwrap_or_default(),
        disk_type: document
            .text("/MediaType")
            .map(str::to_ascii_lowercase)
            .filter(|kind| kind == "hdd" || kind == "ssd"),
        interface_type: document.text("/Protocol").map(str::to_ascii_lowercase).map(
            |protocol| match protocol.as_str() {
                "nvmeoverfabrics" | "pcie" => "nvme".to_owned(),
                _ => protocol.chars().take(16).collect(),
            },
        ),
        volumes: document.links("/Links/Volumes"),
        healthy: is_well && is_there,
    }
}

/// A volume in our words. Its name is its path: ids are unique in one controller only.
pub(super) fn volume(document: &Document) -> Volume {
    let word = document.text("/RAIDType");
    let level = LEVELS.iter().find(|(known, _)| Some(*known) == word).or_else(|| {
        let old = document.text("/VolumeType");
        VOLUME_TYPES.iter().find(|(known, _)| Some(*known) == old)
    });
    let names = document.items("/Identifiers").find_map(|identifier| {
        let format = identifier.get("DurableNameFormat")?.as_str()?;
        identifier.get("DurableName")?.as_str().filter(|_| matches!(format, "NAA" | "EUI"))
    });
    let wwn = names.map(|name| {
        let digits: String = name.chars().filter(char::is_ascii_hexdigit).take(32).collect();
        format!("0x{}", digits.to_ascii_lowercase())
    });
    Volume {
        id: document.path.clone(),
        name: document.shown("/DisplayName").or_else(|| document.shown("/Name")).unwrap_or_default(),
        level: level.map(|(_, level)| (*level).to_owned()),
        size: document
            .whole("/CapacityBytes")
            .or_else(|| document.whole("/Capacity/Data/AllocatedBytes"))
            .unwrap_or_default(),
        wwn,
    }
}
