//! `network_data`: how the network of a deploy ramdisk is set up, in the form that Nova writes for instances.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value};

use super::Dictionary;

/// Most links, networks or services of one node.
const MAX_ITEMS: usize = 1000;
const LINKS: &[&str] = &["bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif", "phy"];
const BONDS: &[&str] =
    &["802.3ad", "balance-rr", "active-backup", "balance-xor", "broadcast", "balance-tlb", "balance-alb"];

/// What is wrong with it; nothing is right with an empty one either, which means that there is none.
pub fn check(data: &Dictionary) -> Result<(), String> {
    if data.is_empty() {
        return Ok(());
    }
    for (list, check) in [
        ("links", link as fn(&Map<String, Value>) -> Result<(), String>),
        ("networks", network),
        ("services", service),
    ] {
        each(data, list, check)?;
    }
    Ok(())
}

fn each(
    of: &Map<String, Value>,
    list: &str,
    check: fn(&Map<String, Value>) -> Result<(), String>,
) -> Result<(), String> {
    let items = of.get(list).ok_or_else(|| required(list))?;
    let items = items.as_array().ok_or_else(|| format!("'{list}' is not of type 'array'"))?;
    if items.len() > MAX_ITEMS {
        return Err(format!("'{list}' has more than {MAX_ITEMS} items"));
    }
    for (number, item) in items.iter().enumerate() {
        let problem = match item.as_object() {
            Some(item) => check(item).err(),
            None => Some("it is not of type 'object'".to_owned()),
        };
        if let Some(problem) = problem {
            return Err(format!("{list}/{number}: {problem}"));
        }
    }
    Ok(())
}

fn link(link: &Map<String, Value>) -> Result<(), String> {
    text(link, "id")?;
    optional_text(link, "vif_id")?;
    mtu(link)?;
    match text(link, "type")? {
        "bond" => {
            mac(link, "ethernet_mac_address")?;
            one_of(link, "bond_mode", BONDS)?;
            let links = link.get("bond_links").ok_or_else(|| required("bond_links"))?;
            match links.as_array() {
                Some(links) if links.iter().all(Value::is_string) => Ok(()),
                _ => Err("'bond_links' is not an array of strings".to_owned()),
            }
        }
        "vlan" => {
            mac(link, "vlan_mac_address")?;
            text(link, "vlan_link")?;
            let id = link.get("vlan_id").ok_or_else(|| required("vlan_id"))?;
            if id.is_i64() || id.is_u64() {
                Ok(())
            } else {
                Err("'vlan_id' is not of type 'integer'".to_owned())
            }
        }
        _ => {
            one_of(link, "type", LINKS)?;
            mac(link, "ethernet_mac_address")
        }
    }
}

fn network(network: &Map<String, Value>) -> Result<(), String> {
    for name in ["id", "link", "network_id"] {
        text(network, name)?;
    }
    let address: fn(&str) -> bool = match text(network, "type")? {
        "ipv4" | "ipv4_dhcp" => is_v4,
        "ipv6" | "ipv6_dhcp" | "ipv6_slaac" => is_v6,
        kind => return Err(format!("'type' is '{}', which is no type of network", shortened(kind))),
    };
    for name in ["ip_address", "netmask"] {
        optional_address(network, name, address)?;
    }
    let Some(routes) = network.get("routes") else { return Ok(()) };
    let routes = routes.as_array().ok_or("'routes' is not of type 'array'")?;
    for route in routes {
        let route = route.as_object().ok_or("a route is not of type 'object'")?;
        for name in ["gateway", "netmask", "network"] {
            text(route, name)?;
            optional_address(route, name, address)?;
        }
    }
    Ok(())
}

fn service(service: &Map<String, Value>) -> Result<(), String> {
    one_of(service, "type", &["dns"])?;
    text(service, "address")?;
    optional_address(service, "address", |text| is_v4(text) || is_v6(text))
}

// === values ===

fn required(name: &str) -> String {
    format!("'{name}' is a required property")
}

fn text<'a>(of: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    let value = of.get(name).ok_or_else(|| required(name))?;
    value.as_str().ok_or_else(|| format!("'{name}' is not of type 'string'"))
}

fn optional_text(of: &Map<String, Value>, name: &str) -> Result<(), String> {
    if of.contains_key(name) { text(of, name).map(drop) } else { Ok(()) }
}

fn one_of(of: &Map<String, Value>, name: &str, words: &[&str]) -> Result<(), String> {
    let word = text(of, name)?;
    if words.contains(&word) {
        return Ok(());
    }
    Err(format!("'{}' is not one of {}", shortened(word), words.join(", ")))
}

fn mac(of: &Map<String, Value>, name: &str) -> Result<(), String> {
    let address = text(of, name)?;
    let groups: Vec<&str> = address.split([':', '-']).collect();
    let is_group = |group: &&str| group.len() == 2 && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if groups.len() == 6 && groups.iter().all(is_group) {
        return Ok(());
    }
    Err(format!("'{name}' is '{}', which is no MAC address", shortened(address)))
}

fn mtu(link: &Map<String, Value>) -> Result<(), String> {
    match link.get("mtu") {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.as_f64().is_some_and(|mtu| (1.0..=65535.0).contains(&mtu)) => Ok(()),
        Some(_) => Err("'mtu' is not a number of 1 to 65535".to_owned()),
    }
}

fn optional_address(
    of: &Map<String, Value>,
    name: &str,
    is_right: impl Fn(&str) -> bool,
) -> Result<(), String> {
    match of.contains_key(name).then(|| text(of, name)).transpose()? {
        Some(address) if !is_right(address) => {
            Err(format!("'{name}' is '{}', which is no address of this network", shortened(address)))
        }
        _ => Ok(()),
    }
}

fn is_v4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

/// With or without the length of its prefix.
fn is_v6(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, "0"));
    let is_length = length.len() <= 3 && length.parse::<u8>().is_ok_and(|length| length <= 128);
    address.parse::<Ipv6Addr>().is_ok() && is_length
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(data: Value) -> Result<(), String> {
        check(data.as_object().unwrap())
    }

    fn with(list: &str, item: Value) -> Result<(), String> {
        let mut data = json!({"links": [], "networks": [], "services": []});
        data[list] = json!([item]);
        checked(data)
    }

    #[test]
    fn what_nova_writes_is_taken() {
        assert_eq!(checked(json!({})), Ok(()));
        let mac = "fa:16:3e:9c:bf:3d";
        let full = json!({
            "links": [
                {"id": "a", "type": "phy", "ethernet_mac_address": mac, "mtu": 1500, "vif_id": "v"},
                {"id": "b", "type": "bond", "ethernet_mac_address": "FA-16-3E-9C-BF-3D", "bond_mode": "802.3ad",
                 "bond_links": ["a"], "mtu": null},
                {"id": "c", "type": "vlan", "vlan_mac_address": mac, "vlan_link": "a", "vlan_id": 12},
            ],
            "networks": [
                {"id": "n", "link": "a", "network_id": "x", "type": "ipv4", "ip_address": "192.0.2.9",
                 "netmask": "255.255.255.0",
                 "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}]},
                {"id": "m", "link": "a", "network_id": "x", "type": "ipv6_slaac"},
                {"id": "o", "link": "a", "network_id": "x", "type": "ipv6", "ip_address": "2001:db8::9/64",
                 "netmask": "ffff:ffff:ffff:ffff::"},
            ],
            "services": [{"type": "dns", "address": "192.0.2.53"}, {"type": "dns", "address": "2001:db8::53"}],
        });
        assert_eq!(checked(full), Ok(()));
    }

    #[test]
    fn what_a_ramdisk_could_not_read_is_refused_with_its_place() {
        for (data, problem) in [
            (json!({"a": 1}), "'links' is a required property"),
            (json!({"links": []}), "'networks' is a required property"),
            (json!({"links": {}, "networks": [], "services": []}), "'links' is not of type 'array'"),
        ] {
            assert_eq!(checked(data).unwrap_err(), problem);
        }
        let mac = "fa:16:3e:9c:bf:3d";
        for (list, item, problem) in [
            ("links", json!(5), "links/0: it is not of type 'object'"),
            ("links", json!({"id": "a", "type": "phy"}), "links/0: 'ethernet_mac_address' is a required"),
            ("links", json!({"id": "a", "type": "phy", "ethernet_mac_address": "zz"}), "no MAC address"),
            (
                "links",
                json!({"id": "a", "type": "soup", "ethernet_mac_address": mac}),
                "'soup' is not one of",
            ),
            ("links", json!({"id": "a", "type": "phy", "ethernet_mac_address": mac, "mtu": 0}), "'mtu'"),
            (
                "links",
                json!({"id": "a", "type": "vlan", "vlan_mac_address": mac, "vlan_link": "b", "vlan_id": "1"}),
                "'vlan_id' is not of type 'integer'",
            ),
            (
                "networks",
                json!({"id": "a", "link": "b", "network_id": "c", "type": "ipx"}),
                "no type of network",
            ),
            (
                "networks",
                json!({"id": "a", "link": "b", "network_id": "c", "type": "ipv4", "ip_address": "2001:db8::1"}),
                "no address of this network",
            ),
            (
                "networks",
                json!({"id": "a", "link": "b", "network_id": "c", "type": "ipv4", "routes": [{"network": "0.0.0.0"}]}),
                "'gateway' is a required",
            ),
            ("services", json!({"type": "dns", "address": "ns.example"}), "no address of this network"),
        ] {
            let found = with(list, item.clone()).unwrap_err();
            assert!(found.contains(problem), "{item}: {found}");
        }
    }
}
