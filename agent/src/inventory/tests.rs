use super::*;
use crate::test_support::machine::Machine;

#[test]
fn a_machine_that_tells_nothing_is_inspected_all_the_same() {
    let inventory = collect(&Machine::empty().roots).unwrap();
    assert!(inventory.disks.is_empty() && inventory.interfaces.is_empty());
    assert_eq!((inventory.memory.total, inventory.cpu.count, inventory.cpu.socket_count), (0, 0, 1));
    assert_eq!((inventory.boot.current_boot_mode.as_str(), inventory.boot.secure_boot), ("bios", None));
    assert_eq!(inventory.system_vendor, bessemer_proto::inventory::SystemVendor::default());
}

#[test]
fn a_real_machine_is_reported_in_ironics_form() {
    let machine = Machine::from_text(crate::disk::discover::tests::QEMU);
    let inventory = collect(&machine.roots).unwrap();
    assert_eq!(inventory.disks.len(), 7);
    assert_eq!(inventory.disks[2].by_path.as_deref(), Some("/dev/disk/by-path/pci-0000:00:1f.2-ata-3.0"));
    let nics: Vec<_> = inventory.interfaces.iter().map(|nic| nic.name.as_str()).collect();
    assert_eq!(nics, ["enp0s2", "enp0s3"]);
    let [virtio, intel] = &inventory.interfaces[..] else { panic!("{nics:?}") };
    assert_eq!((intel.vendor.as_deref(), intel.product.as_deref()), (Some("0x8086"), Some("0x10d3")));
    assert_eq!((intel.driver.as_deref(), intel.speed_mbps), (Some("e1000e"), Some(1000)));
    assert_eq!((intel.mac_address.as_str(), intel.has_carrier), ("52:54:00:12:34:57", true));
    assert_eq!(intel.pci_address.as_deref(), Some("0000:00:03.0"));
    assert_eq!((virtio.pci_address.as_deref(), virtio.speed_mbps), (Some("0000:00:02.0"), None));
    assert_eq!((virtio.driver.as_deref(), virtio.has_carrier), (Some("virtio_net"), false));
    assert_eq!((inventory.cpu.count, inventory.cpu.socket_count), (2, 2));
    assert_eq!(inventory.cpu.model_name, "QEMU Virtual CPU version 2.5+");
    assert_eq!(inventory.cpu.flags, ["fpu", "de", "pse", "lm"]);
    assert_eq!(inventory.cpu.frequency.as_deref(), Some("2445.404"));
    assert_eq!((inventory.memory.total, inventory.memory.physical_mb), (2_026_404 * 1024, 2048));
    let vendor = &inventory.system_vendor;
    assert_eq!((vendor.manufacturer.as_deref(), vendor.serial_number.as_deref()), (Some("QEMU"), None));
    assert_eq!(vendor.firmware.version.as_deref(), Some("1.16.2-debian-1.16.2-1"));
    assert_eq!((inventory.boot.current_boot_mode.as_str(), inventory.boot.secure_boot), ("uefi", Some(true)));
    assert_eq!(inventory.boot.pxe_interface.as_deref(), Some("52:54:00:12:34:57"));
    assert_eq!(inventory.hostname.as_deref(), Some("ramdisk"));
}

#[test]
fn addresses_go_to_their_interface_and_link_local_ones_are_left_out() {
    let machine = Machine::from_text(crate::disk::discover::tests::QEMU);
    let addresses = ["fe80::1", "192.0.2.7", "2001:db8::7", "192.0.2.8"].map(|text| text.parse().unwrap());
    let addresses = [("enp0s3".to_owned(), addresses.to_vec())].into_iter().collect();
    let nics = nics::collect(&machine.roots, &addresses);
    assert_eq!(nics[0].ipv4_address, None);
    assert_eq!(nics[1].ipv4_address.as_deref(), Some("192.0.2.7"));
    assert_eq!(nics[1].ipv6_address.as_deref(), Some("2001:db8::7"));
}

#[test]
fn the_kernel_of_this_machine_knows_its_loopback_address() {
    let addresses = nics::addresses();
    assert!(addresses.values().flatten().any(std::net::IpAddr::is_loopback), "{addresses:?}");
}
