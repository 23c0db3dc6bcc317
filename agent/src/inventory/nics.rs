//! Network interfaces that are hardware.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    path::Path,
};

use bessemer_proto::inventory::NetworkInterface;

use crate::{disk::sysfs, steps::Roots};

/// Addresses of each interface.
pub(super) type Addresses = BTreeMap<String, Vec<IpAddr>>;

/// Asks the kernel for the addresses of all interfaces.
pub(super) fn addresses() -> Addresses {
    let mut addresses = Addresses::new();
    for entry in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(storage) = entry.address else { continue };
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        let v6 = storage.as_sockaddr_in6().map(|address| IpAddr::from(address.ip()));
        if let Some(address) = v4.or(v6) {
            addresses.entry(entry.interface_name).or_default().push(address);
        }
    }
    addresses
}

/// The interfaces with a device behind them, in name order; no bridges, bonds, VLANs or tunnels.
pub(super) fn collect(roots: &Roots, addresses: &Addresses) -> Vec<NetworkInterface> {
    let folder = roots.sys.join("class/net");
    sysfs::names(&folder)
        .into_iter()
        .filter(|name| folder.join(name).join("device").exists())
        .map(|name| interface(&folder.join(&name), name.clone(), addresses.get(&name)))
        .collect()
}

fn interface(folder: &Path, name: String, addresses: Option<&Vec<IpAddr>>) -> NetworkInterface {
    let addresses = addresses.map(Vec::as_slice).unwrap_or_default();
    let of =
        |wanted: fn(&IpAddr) -> bool| addresses.iter().find(|address| wanted(address)).map(IpAddr::to_string);
    NetworkInterface {
        mac_address: sysfs::text(&folder.join("address")).unwrap_or_default().to_ascii_lowercase(),
        ipv4_address: of(IpAddr::is_ipv4),
        ipv6_address: of(|address| matches!(address, IpAddr::V6(v6) if is_global(v6))),
        has_carrier: sysfs::flag(&folder.join("carrier")),
        vendor: sysfs::text(&folder.join("device/vendor")),
        product: sysfs::text(&folder.join("device/device")),
        // Drivers say -1, or fail to read, when they do not know.
        speed_mbps: sysfs::number(&folder.join("speed")).filter(|speed| *speed > 0),
        pci_address: pci_address(folder),
        driver: sysfs::link_name(&folder.join("device/driver")),
        name,
    }
}

/// Neither link-local nor loopback nor multicast.
fn is_global(address: &Ipv6Addr) -> bool {
    !address.is_loopback() && !address.is_multicast() && !address.is_unicast_link_local()
}

/// The nearest PCI function above the interface.
fn pci_address(folder: &Path) -> Option<String> {
    let device = folder.join("device").canonicalize().ok()?;
    let name = device.iter().rev().filter_map(|part| part.to_str()).find(|part| is_pci_address(part))?;
    Some(name.to_owned())
}

/// `domain:bus:device.function`.
fn is_pci_address(name: &str) -> bool {
    let hexadecimal =
        |text: &str, length: usize| text.len() >= length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = name.split([':', '.']).collect();
    matches!(parts.as_slice(), [domain, bus, device, function]
        if hexadecimal(domain, 4) && hexadecimal(bus, 2) && hexadecimal(device, 2) && function.len() == 1
            && name.matches(':').count() == 2)
}
