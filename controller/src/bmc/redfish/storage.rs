//! Disks and RAID volumes.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use tracing::info;

use super::{
    Machine,
    collection::Unread,
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
            for store in self.stores(Unread::Fails).await? {
                let levels = self.levels(&store).await?;
                controllers.push(store.controller(levels));
            }
            Ok(controllers)
        };
        self.client.whole("its storage", look).await
    }

    async fn create(&self, volumes: &[NewVolume]) -> Result<Option<Job>, BmcError> {
        let stores = self.client.whole("its storage", self.stores(Unread::Fails)).await?;
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
        let (mut started, mut problem) = (Vec::new(), None);
        for volume in volumes {
            let call = Call { method: &Method::DELETE, link: &volume.id, body: None, if_match: None };
            match self.client.start(call).await? {
                Err(refusal) if refusal.status == 404 => {}
                Ok(one) => started.push(one),
                // The others are deleted all the same: half a deletion helps nobody.
                Err(refusal) => drop(problem.get_or_insert(refusal)),
            }
        }
        problem.map_or_else(|| Ok(job_of(started)), |refusal| Err(refusal.into()))
    }

    async fn progress(&self, job: &Job) -> Result<Outcome, BmcError> {
        self.client.job_progress(job).await
    }

    async fn needs_restart(&self, controllers: &[String]) -> Result<bool, BmcError> {
        let stores = self.client.whole("its storage", self.stores(Unread::Fails)).await?;
        let mut theirs = stores.iter().filter(|store| controllers.contains(&store.document.id()));
        Ok(theirs.any(|store| store.apply_time() == Some("OnReset")))
    }
}

impl Machine {
    /// All sets of disks of the system; `unread` is about the sets and their volumes, disks that cannot be read are left
    /// out.
    pub(super) async fn stores(&self, unread: Unread) -> Result<Vec<Store>, BmcError> {
        let system = self.system().await?;
        let Some(link) = system.link("/Storage") else { return Ok(Vec::new()) };
        let mut stores = Vec::new();
        for document in self.client.documents_or(link, unread).await? {
            let mut drives = Vec::new();
            for link in document.links("/Drives") {
                drives.extend(self.client.look(&link).await?);
            }
            let (mut collection, mut volumes) = (None, Vec::new());
            if let Some(link) = document.link("/Volumes") {
                collection = match unread {
                    Unread::LeftOut => self.client.look(link).await?,
                    Unread::Fails => self.client.find(link).await?,
                };
                if collection.is_some() {
                    volumes = self.client.documents_or(link, unread).await?;
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
            drives: self.drives.iter().map(|drive| self.drive(drive)).collect(),
            volumes: self.volumes.iter().map(|volume| self.volume(volume)).collect(),
        }
    }

    /// A disk is of a volume when either of the two says so: BMCs may leave out one of the links.
    fn drive(&self, document: &Document) -> PhysicalDrive {
        let mut drive = drive(document);
        for volume in &self.volumes {
            let links = |list: &str| volume.links(list).contains(&document.path);
            let is_spare = links("/Links/DedicatedSpareDrives");
            drive.is_spare |= is_spare;
            if (is_spare || links("/Links/Drives")) && !drive.volumes.contains(&volume.path) {
                drive.volumes.push(volume.path.clone());
            }
        }
        drive
    }

    fn volume(&self, document: &Document) -> Volume {
        let id_of =
            |link: String| self.drives.iter().find(|drive| drive.path == link).map_or(link, Document::id);
        let mut drives: Vec<_> = document.links("/Links/Drives").into_iter().map(id_of).collect();
        let of_it = |drive: &&Document| drive.links("/Links/Volumes").contains(&document.path);
        drives.extend(self.drives.iter().filter(of_it).map(Document::id));
        drives.sort();
        drives.dedup();
        Volume { drives, ..volume(document) }
    }

    /// Whether a volume like that is there already: the same name, level and disks.
    fn has(&self, wanted: &NewVolume) -> bool {
        let mut drives = wanted.drives.clone();
        drives.sort();
        self.volumes.iter().map(|document| self.volume(document)).any(|there| {
            Some(&there.name) == wanted.name.as_ref()
                && there.level.as_ref() == Some(&wanted.level)
                && there.drives == drives
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
        is_spare: document.text("/Status/State") == Some("StandbySpare")
            || document.text("/HotspareType").is_some_and(|kind| kind != "None"),
    }
}

/// A volume in our words, but for its disks. Its name is its path: ids are unique in one controller only.
pub(super) fn volume(document: &Document) -> Volume {
    let word = document.text("/RAIDType");
    let level = LEVELS.iter().find(|(known, _)| Some(*known) == word).or_else(|| {
        let old = document.text("/VolumeType");
        VOLUME_TYPES.iter().find(|(known, _)| Some(*known) == old)
    });
    // `None` is what disks that are handed through have (Volume 1.4).
    let is_array = match word {
        Some(word) => word != "None",
        None => level.is_some(),
    };
    let mut names = document.items("/Identifiers").filter_map(|identifier| {
        let format = identifier.get("DurableNameFormat")?.as_str()?;
        identifier.get("DurableName")?.as_str().filter(|_| matches!(format, "NAA" | "EUI"))
    });
    let wwn = names.find_map(wwn);
    Volume {
        id: document.path.clone(),
        name: document.shown("/DisplayName").or_else(|| document.shown("/Name")).unwrap_or_default(),
        level: level.map(|(_, level)| (*level).to_owned()),
        size: document
            .whole("/CapacityBytes")
            .or_else(|| document.whole("/Capacity/Data/AllocatedBytes"))
            .unwrap_or_default(),
        wwn,
        drives: Vec::new(),
        is_array: is_array && document.value.get("NVMeNamespaceProperties").is_none_or(Value::is_null),
    }
}

/// `naa.6005…`, `0x6005…`, `60:05:…` as udev and the agent write it; `None`: nobody can tell what it is.
fn wwn(name: &str) -> Option<String> {
    let name = name.trim().to_ascii_lowercase();
    let prefixes = ["naa.", "eui.", "wwn-0x", "0x"];
    let bare = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name);
    let digits: String = bare.chars().filter(|c| !matches!(c, ':' | '-' | ' ' | '.')).collect();
    let is_whole = matches!(digits.len(), 16 | 24 | 32) && digits.chars().all(|c| c.is_ascii_hexdigit());
    is_whole.then(|| format!("0x{digits}"))
}
