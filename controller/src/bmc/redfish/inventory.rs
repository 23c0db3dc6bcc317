//! What a machine is made of, in the JSON form of Ironic's inventory. What a BMC does not tell is left out.

mod devices;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{
    Machine,
    collection::Unread,
    document::Document,
    storage::{Store, drive, volume},
};
use crate::{
    bmc::{BmcError, BootModeControl as _, Found, Inventory},
    node::{BootMode, Dictionary},
};

const MIB_PER_GIB: f64 = 1024.0;
const GIB: u64 = 1024 * 1024 * 1024;
/// Smaller disks are no root disks.
const LEAST_DISK: u64 = 4 * GIB;

#[async_trait]
impl Inventory for Machine {
    async fn look(&self) -> Result<Found, BmcError> {
        self.client.whole("what the machine is made of", self.all_found()).await
    }
}

impl Machine {
    async fn all_found(&self) -> Result<Found, BmcError> {
        let system = self.system().await?;
        let mut found = Found::default();
        self.add_processors(&system, &mut found).await?;
        add_memory(&system, &mut found);
        add_vendor(&system, &mut found);
        let stores = self.stores(Unread::LeftOut).await?;
        add_storage(&stores, &mut found);
        let adapters = self.network_adapters(&system).await?;
        self.add_interfaces(&system, &adapters, &mut found).await?;
        self.add_lldp(&adapters, &mut found).await?;
        self.add_pci_devices(&system, &mut found).await?;
        if let Some(mode) = self.mode().await? {
            let word = match mode {
                BootMode::Uefi => "uefi",
                BootMode::Bios => "bios",
            };
            found.inventory.insert("boot".to_owned(), json!({"current_boot_mode": word}));
            say(&mut found.capabilities, "boot_mode", word);
        }
        // That it can; whether it is on is a matter of each look.
        if self.has_secure_boot().await? {
            say(&mut found.capabilities, "secure_boot", true);
        }
        Ok(found)
    }

    async fn add_processors(&self, system: &Document, found: &mut Found) -> Result<(), BmcError> {
        let mut processors = Vec::new();
        if let Some(link) = system.link("/Processors") {
            processors = self.client.documents(link).await?;
        }
        processors.retain(|one| {
            one.text("/ProcessorType").is_none_or(|kind| kind == "CPU")
                && one.text("/Status/State") != Some("Absent")
        });
        let sum = |pointer: &str| processors.iter().filter_map(|one| one.whole(pointer)).sum::<u64>();
        let summary = |pointer: &str| system.whole(pointer).unwrap_or_default();
        let counts = [
            sum("/TotalThreads"),
            summary("/ProcessorSummary/LogicalProcessorCount"),
            sum("/TotalCores"),
            summary("/ProcessorSummary/Count"),
        ];
        let mut cpu = Map::new();
        if let Some(count) = counts.into_iter().find(|count| *count > 0) {
            cpu.insert("count".to_owned(), json!(count));
            found.properties.insert("cpus".to_owned(), json!(count));
        }
        let first = processors.first();
        let text = |pointer: &str| first.and_then(|one| one.shown(pointer));
        let model = text("/Model").or_else(|| system.shown("/ProcessorSummary/Model"));
        cpu.extend(model.map(|model| ("model_name".to_owned(), json!(model))));
        let speed = first.and_then(|one| one.whole("/MaxSpeedMHz"));
        cpu.extend(speed.map(|speed| ("frequency".to_owned(), json!(speed))));
        let architecture = text("/InstructionSet").or_else(|| text("/ProcessorArchitecture"));
        if let Some(word) = architecture.as_deref().and_then(architecture_of) {
            cpu.insert("architecture".to_owned(), json!(word));
            found.properties.insert("cpu_arch".to_owned(), json!(word));
        }
        insert(&mut found.inventory, "cpu", Value::Object(cpu));
        Ok(())
    }
}

/// The kernel's word for an architecture.
fn architecture_of(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "x86-64" => Some("x86_64"),
        "x86" => Some("i686"),
        "arm-a64" => Some("aarch64"),
        "arm-a32" | "arm" => Some("armv7l"),
        "powerisa" | "power" => Some("ppc64le"),
        "rv64" => Some("riscv64"),
        _ => None,
    }
}

fn say(capabilities: &mut BTreeMap<String, String>, name: &str, value: impl ToString) {
    capabilities.insert(name.to_owned(), value.to_string());
}

/// Leaves out what is empty.
fn insert(inventory: &mut Dictionary, name: &str, value: Value) {
    let is_empty = match &value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => value.is_null(),
    };
    if !is_empty {
        inventory.insert(name.to_owned(), value);
    }
}

fn add_memory(system: &Document, found: &mut Found) {
    let gib = system.number("/MemorySummary/TotalSystemMemoryGiB").filter(|gib| (0.0..=1e9).contains(gib));
    let Some(mib) =
        gib.and_then(|gib| super::document::whole(&json!(gib * MIB_PER_GIB))).filter(|mib| *mib > 0)
    else {
        return;
    };
    insert(&mut found.inventory, "memory", json!({"physical_mb": mib}));
    found.properties.insert("memory_mb".to_owned(), json!(mib));
}

fn add_vendor(system: &Document, found: &mut Found) {
    let names = [
        ("product_name", "/Model"),
        ("serial_number", "/SerialNumber"),
        ("manufacturer", "/Manufacturer"),
        ("system_uuid", "/UUID"),
    ];
    let known =
        names.iter().filter_map(|(name, pointer)| Some(((*name).to_owned(), json!(system.shown(pointer)?))));
    insert(&mut found.inventory, "system_vendor", Value::Object(known.collect()));
    if let Some(model) = system.shown("/Model") {
        say(&mut found.capabilities, "server_model", model);
    }
    if let Some(version) = system.shown("/BiosVersion") {
        say(&mut found.capabilities, "rom_firmware_version", version);
    }
}

fn add_storage(stores: &[Store], found: &mut Found) {
    let (mut disks, mut sizes, mut controllers) = (Vec::new(), Vec::new(), Vec::new());
    for store in stores {
        let volumes: Vec<_> = store.volumes.iter().map(volume).collect();
        for one in &volumes {
            disks.push(json!({"name": one.name, "size": one.size}));
            sizes.push(one.size);
        }
        for document in &store.drives {
            let one = drive(document);
            if volumes.is_empty() {
                disks.push(json!({"name": document.shown("/Name").unwrap_or_else(|| one.id.clone()), "size": one.size}));
                sizes.push(one.size);
            }
            add_disk_kind(&one.disk_type, &one.interface_type, document, &mut found.capabilities);
        }
        controllers.push(json!({
            "id": store.document.id(),
            "name": store.document.shown("/Name"),
            "storage_controllers": names_of(&store.document, "/StorageControllers"),
            "drives": store.drives.iter().map(Document::id).collect::<Vec<_>>(),
        }));
    }
    insert(&mut found.inventory, "disks", Value::Array(disks));
    insert(&mut found.inventory, "storage_controllers", Value::Array(controllers));
    // One GiB less, as Ironic has it: partitions are rounded.
    if let Some(least) = sizes.into_iter().filter(|size| *size >= LEAST_DISK).min() {
        found.properties.insert("local_gb".to_owned(), json!(least / GIB - 1));
    }
}

fn add_disk_kind(
    disk_type: &Option<String>,
    interface: &Option<String>,
    document: &Document,
    capabilities: &mut BTreeMap<String, String>,
) {
    match (disk_type.as_deref(), interface.as_deref()) {
        (Some("ssd"), Some("nvme")) => say(capabilities, "has_nvme_ssd", true),
        (Some("ssd"), _) => say(capabilities, "has_ssd", true),
        (Some("hdd"), _) => {
            say(capabilities, "has_rotational", true);
            if let Some(speed @ (4800 | 5400 | 7200 | 10_000 | 15_000)) = document.whole("/RotationSpeedRPM")
            {
                say(capabilities, &format!("rotational_drive_{speed}_rpm"), true);
            }
        }
        _ => {}
    }
}

fn names_of(document: &Document, pointer: &str) -> Vec<String> {
    document.items(pointer).filter_map(|item| super::document::shown(item.get("Name")?)).collect()
}
