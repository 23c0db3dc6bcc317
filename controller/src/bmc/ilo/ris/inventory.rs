//! What the machine is made of, with the capabilities that Ironic's iLO drivers found on Gen9.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{
    Ris,
    firmware::{ILO, ROM},
};
use crate::bmc::{BmcError, Found, Inventory, redfish::Document};

const MIB_PER_GIB: u64 = 1024;
/// Class and subclasses of PCI devices that show pictures.
const DISPLAY: u64 = 3;
const GPUS: [u64; 4] = [0, 1, 2, 128];
const SPEEDS: [u64; 5] = [4800, 5400, 7200, 10_000, 15_000];
/// Settings of the firmware, what they must begin with, and the capability that they mean.
const BY_SETTING: &[(&str, &str, &str)] = &[
    ("ProcVirtualization", "Enabled", "cpu_vt"),
    ("Sriov", "Enabled", "sriov_enabled"),
    ("NvDimmNMemFunctionality", "Enabled", "nvdimm_n"),
    ("TpmState", "Present", "trusted_boot"),
];

#[async_trait]
impl Inventory for Ris {
    async fn look(&self) -> Result<Found, BmcError> {
        self.wait_for_devices().await?;
        self.client.whole("what the machine is made of", self.all_found()).await
    }

    fn needs_power(&self) -> bool {
        true
    }
}

impl Ris {
    async fn all_found(&self) -> Result<Found, BmcError> {
        let (system, manager) = (self.system().await?, self.manager().await?);
        let drives = self.drives_of(&system).await?;
        let mut capabilities = self.capabilities(&system).await?;
        capabilities.extend(drives.capabilities());
        let ilo = ILO.iter().find_map(|pointer| manager.text(pointer)).map(short);
        capabilities.extend(ilo.map(|version| ("ilo_firmware_version".to_owned(), version)));
        let memory_mb = system.value.pointer("/Memory/TotalSystemMemoryGB").and_then(gib);
        let mut properties = Map::from_iter([("cpu_arch".to_owned(), json!("x86_64"))]);
        properties.extend(memory_mb.map(|mb| ("memory_mb".to_owned(), json!(mb))));
        let cpus = system.value.pointer("/Processors/Count").and_then(Value::as_u64);
        properties.extend(cpus.map(|cpus| ("cpus".to_owned(), json!(cpus))));
        let smallest = drives.volumes.iter().map(|(_, mib)| mib / MIB_PER_GIB).filter(|gib| *gib > 1).min();
        properties.extend(smallest.map(|gib| ("local_gb".to_owned(), json!(gib - 1))));
        let inventory = inventory(&system, memory_mb, cpus, &drives);
        Ok(Found { inventory, properties, capabilities, plugin_data: Map::new() })
    }
}

fn inventory(
    system: &Document,
    memory_mb: Option<u64>,
    cpus: Option<u64>,
    drives: &Drives,
) -> Map<String, Value> {
    let text = |pointer: &str| system.text(pointer).map(short);
    let macs = system.texts("/HostCorrelation/HostMACAddress").unwrap_or_default();
    let interfaces: Vec<_> = macs
        .iter()
        .map(|mac| mac.trim().to_ascii_lowercase().replace('-', ":"))
        .filter(|mac| mac.len() == 17 && mac.chars().all(|c| c == ':' || c.is_ascii_hexdigit()))
        .enumerate()
        .map(|(number, mac)| json!({"name": format!("Port {}", number + 1), "mac_address": mac}))
        .collect();
    let disks: Vec<_> =
        drives.volumes.iter().map(|(name, mib)| json!({"name": name, "size": mib * 1024 * 1024})).collect();
    let found = json!({
        "cpu": {"count": cpus, "model_name": text("/Processors/ProcessorFamily"), "architecture": "x86_64"},
        "memory": {"physical_mb": memory_mb.unwrap_or_default()},
        "disks": disks,
        "interfaces": interfaces,
        "system_vendor": {
            "manufacturer": text("/Manufacturer"), "product_name": text("/Model"),
            "serial_number": text("/SerialNumber"), "system_uuid": text("/UUID"),
        },
    });
    match found {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What the RAID controllers have.
#[derive(Default)]
struct Drives {
    has_controller: bool,
    /// Names and sizes in MiB of logical drives.
    volumes: Vec<(String, u64)>,
    levels: Vec<String>,
    /// `HDD` or `SSD`, and rotations.
    physical: Vec<(String, u64)>,
}

impl Drives {
    fn capabilities(&self) -> BTreeMap<String, String> {
        let mut found: Vec<String> = Vec::new();
        if self.has_controller {
            found.push("hardware_supports_raid".to_owned());
        }
        found.extend(self.levels.iter().map(|level| format!("logical_raid_level_{level}")));
        for (kind, rpm) in &self.physical {
            match kind.as_str() {
                "SSD" => found.push("has_ssd".to_owned()),
                "HDD" => found.push("has_rotational".to_owned()),
                _ => {}
            }
            if SPEEDS.contains(rpm) {
                found.push(format!("rotational_drive_{rpm}_rpm"));
            }
        }
        found.into_iter().map(|name| (name, "true".to_owned())).collect()
    }
}

impl Ris {
    async fn capabilities(&self, system: &Document) -> Result<BTreeMap<String, String>, BmcError> {
        let mut found = BTreeMap::new();
        let mut add = |name: &str, value: String| drop(found.insert(name.to_owned(), value));
        if let Some(model) = system.text("/Model") {
            add("server_model", short(model));
        }
        if let Some(rom) = system.text(ROM) {
            add("rom_firmware_version", short(rom));
        }
        add("pci_gpu_devices", self.gpus(system).await?.to_string());
        if self.linked(system, "/Oem/Hp/links/SecureBoot").await?.is_some() {
            add("secure_boot", "true".to_owned());
        }
        match system.value.pointer("/Oem/Hp/Bios/UefiClass").and_then(Value::as_u64) {
            Some(0) => add("boot_mode_bios", "true".to_owned()),
            Some(2) => {
                ["boot_mode_bios", "boot_mode_uefi"].into_iter().for_each(|name| add(name, "true".to_owned()))
            }
            Some(3) => add("boot_mode_uefi", "true".to_owned()),
            _ => {}
        }
        let bios = match self.bios("tell of settings of the firmware").await {
            Err(BmcError::Unsupported { .. }) => return Ok(found),
            bios => bios?,
        };
        let held = |(name, start, _): &&(&str, &str, &str)| {
            bios.value.get(*name).and_then(Value::as_str).is_some_and(|value| value.starts_with(start))
        };
        found.extend(
            BY_SETTING.iter().filter(held).map(|(_, _, name)| ((*name).to_owned(), "true".to_owned())),
        );
        if super::href(&bios.value, "/links/iScsi").is_some() {
            found.insert("iscsi_boot".to_owned(), "true".to_owned());
        }
        Ok(found)
    }

    async fn gpus(&self, system: &Document) -> Result<usize, BmcError> {
        let Some(list) = self.linked(system, "/Oem/Hp/links/PCIDevices").await? else { return Ok(0) };
        let items = list.value.get("Items").and_then(Value::as_array).into_iter().flatten().take(512);
        let number = |item: &Value, key: &str| item.get(key).and_then(Value::as_u64);
        let is_gpu = |item: &&Value| {
            number(item, "ClassCode") == Some(DISPLAY)
                && number(item, "SubclassCode").is_some_and(|subclass| GPUS.contains(&subclass))
        };
        Ok(items.filter(is_gpu).count())
    }

    async fn drives_of(&self, system: &Document) -> Result<Drives, BmcError> {
        let mut drives = Drives::default();
        let Some(storage) = self.linked(system, "/Oem/Hp/links/SmartStorage").await? else {
            return Ok(drives);
        };
        for controller in self.members(&storage, "/links/ArrayControllers").await? {
            drives.has_controller = true;
            for volume in self.members(&controller, "/links/LogicalDrives").await? {
                let size = volume.value.get("CapacityMiB").and_then(Value::as_u64).unwrap_or_default();
                let name = volume.text("/LogicalDriveName").unwrap_or("logical drive");
                drives.volumes.push((short(name), size));
                let level = volume.text("/Raid").unwrap_or_default();
                if !level.is_empty() && level.len() < 8 && level.chars().all(|c| c.is_ascii_alphanumeric()) {
                    drives.levels.push(level.to_owned());
                }
            }
            for drive in self.members(&controller, "/links/PhysicalDrives").await? {
                let rpm = drive.value.get("RotationalSpeedRpm").and_then(Value::as_u64).unwrap_or_default();
                drives.physical.push((short(drive.text("/MediaType").unwrap_or_default()), rpm));
            }
        }
        Ok(drives)
    }
}

fn gib(value: &Value) -> Option<u64> {
    let gib = value.as_u64().filter(|gib| (1..1_000_000).contains(gib))?;
    Some(gib * MIB_PER_GIB)
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect::<String>().trim().to_owned()
}
