//! What the machine is made of, with the properties that Ironic's iLO drivers found.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Ribcl,
    health::{ilo_version, rom_version, short},
    xml::Element,
};
use crate::bmc::{BmcError, Found, Inventory};

const MAX_ITEMS: usize = 256;
const MIB_PER_GIB: u64 = 1024;

#[async_trait]
impl Inventory for Ribcl {
    async fn look(&self) -> Result<Found, BmcError> {
        let health = self.health_data().await?;
        let product = self.client.product().await?;
        Ok(found(&health, &product))
    }

    /// The firmware tells the iLO of memory and disks when the machine starts.
    fn needs_power(&self) -> bool {
        true
    }
}

fn found(health: &Element, product: &str) -> Found {
    let memory_mb = memory_mb(health);
    let processors = processors(health);
    let cpus = u64::try_from(processors.len()).unwrap_or_default().max(1);
    let threads: u64 = processors.iter().map(|(_, threads)| *threads).sum();
    let disks = disks(health);
    let mut properties = serde_json::Map::new();
    properties.insert("cpu_arch".to_owned(), json!("x86_64"));
    if memory_mb > 0 {
        properties.insert("memory_mb".to_owned(), json!(memory_mb));
    }
    if threads > 0 {
        properties.insert("cpus".to_owned(), json!(threads));
    }
    // One GiB less, as Ironic does: partitions need some room.
    if let Some(smallest) = disks.iter().map(|(_, gib)| *gib).filter(|gib| *gib > 1).min() {
        properties.insert("local_gb".to_owned(), json!(smallest - 1));
    }
    let model = processors.first().map(|(name, _)| name.as_str());
    let interfaces: Vec<_> =
        interfaces(health).into_iter().map(|(name, mac)| json!({"name": name, "mac_address": mac})).collect();
    let disks: Vec<_> = disks
        .iter()
        .map(|(name, gib)| json!({"name": name, "size": gib * MIB_PER_GIB * 1024 * 1024}))
        .collect();
    let inventory = json!({
        "cpu": {"count": if threads > 0 { threads } else { cpus }, "model_name": model, "architecture": "x86_64"},
        "memory": {"physical_mb": memory_mb},
        "disks": disks,
        "interfaces": interfaces,
        "system_vendor": {"manufacturer": "HPE", "product_name": short(product)},
    });
    Found {
        inventory: match inventory {
            Value::Object(map) => map,
            _ => serde_json::Map::new(),
        },
        properties,
        capabilities: capabilities(health, product),
        plugin_data: serde_json::Map::new(),
    }
}

fn capabilities(health: &Element, product: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([("server_model".to_owned(), short(product))]);
    found.extend(ilo_version(health).map(|version| ("ilo_firmware_version".to_owned(), version)));
    found.extend(rom_version(health).map(|version| ("rom_firmware_version".to_owned(), version)));
    let sensors = health.child("TEMPERATURE").into_iter().flat_map(|group| group.children_of("TEMP"));
    let labels = sensors.take(MAX_ITEMS).filter_map(|sensor| sensor.value(&["LABEL"]));
    let gpus = labels.filter(|label| label.contains("GPU")).count();
    found.insert("pci_gpu_devices".to_owned(), gpus.to_string());
    found
}

/// The sum over processors; machines of Gen7 tell of single modules.
fn memory_mb(health: &Element) -> u64 {
    let Some(memory) = health.child("MEMORY") else { return 0 };
    let summaries = memory.children_of("MEMORY_DETAILS_SUMMARY").flat_map(|summary| &summary.children);
    let summed: u64 =
        summaries.take(MAX_ITEMS).filter_map(|cpu| mib(cpu.value(&["TOTAL_MEMORY_SIZE"])?)).sum();
    if summed > 0 {
        return summed;
    }
    let modules = memory.children_of("MEMORY_COMPONENTS").flat_map(|part| &part.children);
    let sizes = modules.take(MAX_ITEMS).filter_map(|module| {
        module.value(&["MEMORY_SIZE"]).or_else(|| module.child("MEMORY_SIZE")?.attribute("VALUE"))
    });
    sizes.filter_map(mib).sum()
}

/// `16 GB`, `16384 MB`; `None` for `N/A` and `Not Installed`.
fn mib(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let factor = match words.next()?.to_ascii_uppercase().as_str() {
        "MB" | "MIB" => 1,
        "GB" | "GIB" => MIB_PER_GIB,
        "TB" | "TIB" => MIB_PER_GIB * 1024,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Names and numbers of threads: `4/4 cores; 8 threads`.
fn processors(health: &Element) -> Vec<(String, u64)> {
    let all = health.child("PROCESSORS").into_iter().flat_map(|group| group.children_of("PROCESSOR"));
    let one = |processor: &Element| {
        let technology = processor.value(&["EXECUTION_TECHNOLOGY"])?;
        let threads = technology.split([';', ',']).find_map(|part| part.trim().strip_suffix("threads"))?;
        let threads = threads.trim().parse().ok().filter(|threads| *threads <= 4096)?;
        Some((short(processor.value(&["NAME"]).unwrap_or_default()), threads))
    };
    all.take(MAX_ITEMS).filter_map(one).collect()
}

/// Logical drives with their sizes in GiB.
fn disks(health: &Element) -> Vec<(String, u64)> {
    let controllers =
        health.child("STORAGE").into_iter().flat_map(|storage| storage.children_of("CONTROLLER"));
    let drives = controllers.flat_map(|controller| {
        let name = short(controller.value(&["LABEL"]).unwrap_or("Controller"));
        controller.children_of("LOGICAL_DRIVE").map(move |drive| (name.clone(), drive))
    });
    let sized = drives.take(MAX_ITEMS).filter_map(|(controller, drive)| {
        let label = drive.value(&["LABEL"]).unwrap_or("?");
        Some((
            format!("{controller} logical drive {}", short(label)),
            mib(drive.value(&["CAPACITY"])?)? / MIB_PER_GIB,
        ))
    });
    sized.collect()
}

/// Embedded network ports with their addresses.
fn interfaces(health: &Element) -> Vec<(String, String)> {
    let nics = health.child("NIC_INFORMATION").into_iter().flat_map(|group| group.children_of("NIC"));
    let embedded = nics.take(MAX_ITEMS).filter(|nic| {
        nic.value(&["LOCATION"]).is_some_and(|place| place.to_ascii_lowercase().contains("embedded"))
    });
    embedded
        .filter_map(|nic| Some((short(nic.value(&["NETWORK_PORT"])?), mac(nic.value(&["MAC_ADDRESS"])?)?)))
        .collect()
}

/// A MAC address in the usual form.
fn mac(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase().replace('-', ":");
    let parts: Vec<_> = text.split(':').collect();
    let is_one = parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))
        && parts.iter().any(|part| *part != "00");
    is_one.then_some(text)
}
