//! What an inspection found, made into ports and properties: Ironic's default hooks `ramdisk-error`,
//! `validate-interfaces`, `ports` and `architecture`. Pure.

use serde_json::{Value, json};

use super::Dictionary;

/// Most network interfaces that are looked at.
const MAX_INTERFACES: usize = 64;

/// What the hooks say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Interfaces that ports are made for, if there is none yet.
    pub ports: Vec<FoundPort>,
    /// All valid interfaces: ports that exist learn from them whether they boot.
    pub all: Vec<FoundPort>,
    /// `properties.cpu_arch`.
    pub cpu_arch: Option<String>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPort {
    /// MAC address, lower case with colons.
    pub address: String,
    /// Whether the machine booted from it.
    pub pxe_enabled: bool,
    /// DHCP client id, as InfiniBand needs it.
    pub client_id: Option<String>,
}

/// Why what was found cannot be used; a sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

/// Runs the hooks. Adds `all_interfaces`, `valid_interfaces` and `macs` to `plugin_data`, as Ironic's hook does.
pub fn look(inventory: &Dictionary, plugin_data: &mut Dictionary) -> Result<Findings, Unusable> {
    match plugin_data.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(error) => {
            let error: String = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
            let error: String = error.chars().take(1024).collect();
            return Err(Unusable(format!("The ramdisk reported an error: {error}")));
        }
    }
    let interfaces = inventory.get("interfaces").and_then(Value::as_array);
    let interfaces = interfaces.ok_or_else(|| Unusable("no interfaces present in inventory".to_owned()))?;
    let pxe = pxe_mac(inventory);
    let (mut findings, mut all, mut valid, mut macs) =
        (Findings::default(), Dictionary::new(), Dictionary::new(), Vec::new());
    for interface in interfaces.iter().take(MAX_INTERFACES) {
        let text = |key: &str| interface.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(name), Some(address)) = (text("name"), text("mac_address").and_then(mac)) else { continue };
        let is_pxe = pxe.as_ref() == Some(&address);
        let ip = text("ipv4_address").or_else(|| text("ipv6_address"));
        let mut shown = interface.clone();
        shown["pxe_enabled"] = json!(is_pxe);
        all.insert(name.to_owned(), shown.clone());
        let client_id = text("client_id").map(str::to_owned);
        let port = FoundPort { address: address.clone(), pxe_enabled: is_pxe, client_id };
        findings.all.push(port.clone());
        if name == "lo" || ip.is_some_and(is_loopback) || (pxe.is_some() && !is_pxe) {
            continue;
        }
        valid.insert(name.to_owned(), shown);
        macs.push(address);
        findings.ports.push(port);
    }
    if findings.all.is_empty() {
        return Err(Unusable("no valid network interfaces".to_owned()));
    }
    if findings.ports.is_empty() {
        return Err(Unusable("no network interface is the one that the machine booted from".to_owned()));
    }
    plugin_data.insert("all_interfaces".to_owned(), all.into());
    plugin_data.insert("valid_interfaces".to_owned(), valid.into());
    plugin_data.insert("macs".to_owned(), json!(macs));
    let arch = inventory.get("cpu").and_then(|cpu| cpu.get("architecture")?.as_str());
    findings.cpu_arch = arch.filter(|arch| !arch.is_empty() && arch.len() <= 64).map(str::to_owned);
    if findings.cpu_arch.is_none() {
        return Err(Unusable("malformed or missing CPU architecture information".to_owned()));
    }
    Ok(findings)
}

/// The interface that booted; PXELINUX writes `01-aa-bb-…`.
fn pxe_mac(inventory: &Dictionary) -> Option<String> {
    let text = inventory.get("boot")?.get("pxe_interface")?.as_str()?;
    match text.split('-').count() {
        7 => mac(text.split_once('-')?.1),
        _ => mac(text),
    }
}

/// A MAC address, lower case with colons.
#[must_use]
pub fn mac(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase().replace('-', ":");
    let parts: Vec<&str> = text.split(':').collect();
    let is_good = parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
    is_good.then_some(text)
}

fn is_loopback(ip: &str) -> bool {
    let ip = ip.split('%').next().unwrap_or_default();
    ip.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(interfaces: Value, pxe: Value) -> Dictionary {
        let inventory = json!({
            "interfaces": interfaces, "cpu": {"architecture": "aarch64"}, "boot": {"pxe_interface": pxe},
        });
        inventory.as_object().cloned().unwrap()
    }

    fn nics() -> Value {
        json!([
            {"name": "lo", "mac_address": "00:00:00:00:00:00", "ipv4_address": "127.0.0.1"},
            {"name": "eth0", "mac_address": "52-54-00-00-00-0A", "ipv4_address": "192.0.2.9", "client_id": "ff:1"},
            {"name": "eth1", "mac_address": "52:54:00:00:00:0b"},
            {"name": "broken", "mac_address": "nonsense"}, {"mac_address": "52:54:00:00:00:0c"},
        ])
    }

    #[test]
    fn ports_are_those_that_booted_or_all_when_none_is_known() {
        let mut data = Dictionary::new();
        let found = look(&inventory(nics(), json!("01-52-54-00-00-00-0a")), &mut data).unwrap();
        let addresses = |ports: &[FoundPort]| ports.iter().map(|p| p.address.clone()).collect::<Vec<_>>();
        assert_eq!(addresses(&found.ports), ["52:54:00:00:00:0a"]);
        assert!(found.ports[0].pxe_enabled && found.ports[0].client_id.as_deref() == Some("ff:1"));
        assert_eq!(addresses(&found.all), ["00:00:00:00:00:00", "52:54:00:00:00:0a", "52:54:00:00:00:0b"]);
        assert_eq!(found.cpu_arch.as_deref(), Some("aarch64"));
        assert_eq!(data["macs"], json!(["52:54:00:00:00:0a"]));
        let found = look(&inventory(nics(), Value::Null), &mut Dictionary::new()).unwrap();
        assert_eq!(addresses(&found.ports), ["52:54:00:00:00:0a", "52:54:00:00:00:0b"]);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let sentence = |inventory: &Dictionary, data: Value| {
            look(inventory, &mut data.as_object().cloned().unwrap()).unwrap_err().0
        };
        assert!(sentence(&inventory(nics(), Value::Null), json!({"error": "no disk"})).contains("no disk"));
        assert!(sentence(&inventory(json!([]), Value::Null), json!({})).contains("no valid network"));
        assert!(sentence(&inventory(nics(), json!("52:54:00:00:00:ff")), json!({})).contains("booted from"));
        assert!(sentence(&Dictionary::new(), json!({})).contains("no interfaces"));
        let mut no_cpu = inventory(nics(), Value::Null);
        no_cpu.remove("cpu");
        assert!(sentence(&no_cpu, json!({"error": null})).contains("CPU architecture"));
    }
}
