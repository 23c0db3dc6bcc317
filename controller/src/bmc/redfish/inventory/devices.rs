//! Network interfaces, what their switches say, and PCI devices.

use serde_json::{Map, Value, json};

use super::{Found, insert, say};
use crate::bmc::{
    BmcError,
    redfish::{Machine, document::Document},
};

/// PCI devices looked at.
const MAX_DEVICES: usize = 64;

impl Machine {
    pub(super) async fn add_interfaces(
        &self,
        system: &Document,
        adapters: &[Document],
        found: &mut Found,
    ) -> Result<(), BmcError> {
        let mut documents = Vec::new();
        if let Some(link) = system.link("/EthernetInterfaces") {
            documents = self.client.documents(link).await?;
        }
        let mut interfaces: Vec<_> = documents.iter().filter_map(interface).collect();
        if interfaces.is_empty() {
            for adapter in adapters {
                let Some(link) = adapter.link("/NetworkDeviceFunctions") else { continue };
                let functions = self.client.documents(link).await?;
                interfaces.extend(functions.iter().filter_map(function));
            }
        }
        let fastest = interfaces.iter().filter_map(|one| one.get("speed_mbps")?.as_u64()).max();
        if let Some(gigabits) = fastest.map(|speed| speed / 1000).filter(|gigabits| *gigabits > 0) {
            say(&mut found.capabilities, "nic_capacity", format!("{gigabits}Gb"));
        }
        insert(&mut found.inventory, "interfaces", Value::Array(interfaces));
        Ok(())
    }

    /// What switches said of themselves to the ports (IEEE 802.1AB).
    pub(super) async fn add_lldp(&self, adapters: &[Document], found: &mut Found) -> Result<(), BmcError> {
        let mut heard = Map::new();
        for adapter in adapters {
            let link = adapter.link("/Ports").or_else(|| adapter.link("/NetworkPorts"));
            let Some(link) = link else { continue };
            for port in self.client.documents(link).await? {
                let said = lldp(&port);
                if !said.is_empty() {
                    heard.insert(format!("{}-{}", adapter.id(), port.id()), Value::Object(said));
                }
            }
        }
        insert(&mut found.plugin_data, "parsed_lldp", Value::Object(heard));
        Ok(())
    }

    pub(super) async fn add_pci_devices(&self, system: &Document, found: &mut Found) -> Result<(), BmcError> {
        let mut devices = Vec::new();
        for link in system.links_or_link("/PCIeDevices").iter().take(MAX_DEVICES) {
            let Some(device) = self.client.look(link).await? else { continue };
            let functions = match device.link("/PCIeFunctions") {
                Some(link) => self.client.documents(link).await?,
                None => Vec::new(),
            };
            devices.extend(functions.iter().filter_map(pci_device));
        }
        let gpus = devices.iter().filter(|device| is_graphics(device)).count();
        if gpus > 0 {
            say(&mut found.capabilities, "pci_gpu_devices", gpus);
        }
        insert(&mut found.inventory, "pci_devices", Value::Array(devices));
        Ok(())
    }
}

/// A MAC address in the usual form; one that is none, or nobody's, is left out.
fn mac(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
    let is_one = digits.len() == 12
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
        && digits.bytes().any(|b| b != b'0');
    let lower = digits.to_ascii_lowercase();
    let pairs = lower.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    is_one.then(|| pairs.collect::<Vec<_>>().join(":"))
}

fn interface(document: &Document) -> Option<Value> {
    let address =
        ["/PermanentMACAddress", "/MACAddress"].iter().find_map(|pointer| mac(document.text(pointer)?))?;
    let mut found = json!({"mac_address": address, "name": document.id()});
    if let Some(speed) = document.whole("/SpeedMbps") {
        found["speed_mbps"] = json!(speed);
    }
    Some(found)
}

fn function(document: &Document) -> Option<Value> {
    let pointers = ["/Ethernet/PermanentMACAddress", "/Ethernet/MACAddress"];
    let address = pointers.iter().find_map(|pointer| mac(document.text(pointer)?))?;
    Some(json!({"mac_address": address, "name": document.id()}))
}

fn lldp(port: &Document) -> Map<String, Value> {
    let names = [
        ("switch_chassis_id", "/Ethernet/LLDPReceive/ChassisId"),
        ("switch_port_id", "/Ethernet/LLDPReceive/PortId"),
        ("switch_system_name", "/Ethernet/LLDPReceive/SystemName"),
        ("switch_system_description", "/Ethernet/LLDPReceive/SystemDescription"),
    ];
    let mut said: Map<_, _> = names
        .iter()
        .filter_map(|(name, pointer)| Some(((*name).to_owned(), json!(port.shown(pointer)?))))
        .collect();
    let vlan = port.whole("/Ethernet/LLDPReceive/ManagementVlanId").filter(|vlan| (1..4095).contains(vlan));
    said.extend(vlan.map(|vlan| ("switch_port_management_vlan_id".to_owned(), json!(vlan))));
    said
}

fn pci_device(function: &Document) -> Option<Value> {
    let names = [
        ("class", "/ClassCode"),
        ("product_id", "/DeviceId"),
        ("vendor_id", "/VendorId"),
        ("subsystem_id", "/SubsystemId"),
        ("subsystem_vendor_id", "/SubsystemVendorId"),
        ("revision", "/RevisionId"),
    ];
    let known = names
        .iter()
        .filter_map(|(name, pointer)| Some(((*name).to_owned(), json!(function.shown(pointer)?))));
    let known: Map<_, _> = known.collect();
    (!known.is_empty()).then_some(Value::Object(known))
}

/// PCI class 3: display controllers.
fn is_graphics(device: &Value) -> bool {
    let class = device.get("class").and_then(Value::as_str).unwrap_or_default();
    class.trim_start_matches("0x").to_ascii_lowercase().starts_with("03")
}
