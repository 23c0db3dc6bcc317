use std::os::unix::fs::FileExt;

use bessemer_proto::boot_parameters::region::{DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, Region};

use super::*;
use crate::test_support::machine::Machine;

pub(crate) const QEMU: &str = include_str!("../../tests/fixtures/qemu-q35.txt");
const STORAGE: &str = include_str!("../../tests/fixtures/storage-server.txt");

fn found(machine: &Machine) -> Vec<BlockDevice> {
    discover(&machine.roots).unwrap()
}

fn by_name<'a>(devices: &'a [BlockDevice], name: &str) -> &'a BlockDevice {
    devices.iter().find(|device| device.kernel_name == name).unwrap()
}

/// What udev and lsblk said on that machine: name, model, serial, WWN, transport, address, links by path.
const EXPECTED: &str = "\
nvme0n1|QEMU NVMe Ctrl|NVME0001|nvme.1b36-4e564d4530303031-51454d55204e564d65204374726c-00000001|nvme||pci-0000:00:06.0-nvme-1
sda|QEMU HARDDISK|VSCSI0001|0x5000c500a1b2c3d4||0:0:0:3|pci-0000:00:05.0-scsi-0:0:0:3
sdb|FastDisk|SATA0001|0x5000c500deadbeef|sata|3:0:0:0|pci-0000:00:1f.2-ata-3.0 pci-0000:00:1f.2-ata-3
sdc|QEMU HARDDISK|USB0001||usb|7:0:0:0|pci-0000:00:07.0-usb-0:1:1.0-scsi-0:0:0:0
sdd|QEMU HARDDISK|SAS0001|0x5000c50011112222|sas|8:0:0:0|pci-0000:00:08.0-sas-phy1-lun-0
vda||VBLK0001||virtio||pci-0000:00:04.0 virtio-pci-0000:00:04.0
vdb||||virtio||pci-0000:01:00.0 virtio-pci-0000:01:00.0
";

#[test]
fn disks_of_a_real_kernel_have_the_names_that_udev_and_lsblk_give_them() {
    let machine = Machine::from_text(QEMU);
    let devices = found(&machine);
    let mut told = String::new();
    for device in &devices {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        assert_eq!(device.wwn.name, device.wwn.with_extension);
        assert_eq!(device.size, if device.kernel_name == "vda" { 5 << 30 } else { 64 << 20 });
        assert_eq!((device.logical_sector, device.read_only), (512, false));
        assert_eq!(device.rotational, device.kernel_name != "nvme0n1");
        let fields = [
            device.kernel_name.clone(),
            text(&device.model),
            device.serial().unwrap_or_default().to_owned(),
            text(&device.wwn.name),
            text(&device.tran),
            text(&device.hctl),
            device.by_path.join(" "),
        ];
        told.push_str(&fields.join("|"));
        told.push('\n');
    }
    assert_eq!(told, EXPECTED);
    // udev's ID_SERIAL_SHORT of a SCSI disk works as a hint, too.
    assert!(by_name(&devices, "sda").serials.contains(&"5000c500a1b2c3d4".to_owned()));
    assert!(by_name(&devices, "sdc").removable);
}

#[test]
fn what_is_no_disk_is_skipped_and_the_rest_is_named_by_its_place() {
    let machine = Machine::from_text(STORAGE);
    let devices = found(&machine);
    let names: Vec<&str> = devices.iter().map(|device| device.kernel_name.as_str()).collect();
    assert_eq!(names, ["mmcblk0", "nvme0n1", "sda", "sdb", "sdc", "sdd", "sdaa"]);
    let path = |name| by_name(&devices, name).by_path.first().map(String::as_str);
    assert_eq!(path("sda"), Some("pci-0000:02:00.0-sas-exp0x500304801f3f7e3f-phy4-lun-0"));
    assert_eq!(path("sdaa"), Some("pci-0000:02:00.0-sas-0x5000c500aaaa0005-lun-0"));
    assert_eq!(path("sdb"), Some("pci-0000:03:00.0-fc-0x50060160bb20261b-lun-0x012c000000000000"));
    assert_eq!(path("sdc"), Some("pci-0000:04:00.0-ata-1.3.0"));
    assert_eq!(path("sdd"), Some("pci-0000:05:00.0-scsi-1:2:1:0"));
    assert_eq!(path("nvme0n1"), None);
    let sda = by_name(&devices, "sda");
    assert_eq!(sda.wwn.name.as_deref(), Some("0x600508b1001c9de5"));
    assert_eq!(sda.wwn.vendor_extension.as_deref(), Some("0xec8a6e2f1a1b2c3d"));
    assert_eq!(sda.wwn.with_extension.as_deref(), Some("0x600508b1001c9de5ec8a6e2f1a1b2c3d"));
    let nvme = by_name(&devices, "nvme0n1");
    assert_eq!((nvme.serial(), nvme.wwn.name.as_deref()), (Some("S4EVNX0R"), Some("eui.0025385b71b00e2c")));
    let mmc = by_name(&devices, "mmcblk0");
    assert_eq!((mmc.model.as_deref(), mmc.tran.as_deref()), (Some("DF4032"), Some("mmc")));
}

#[test]
fn the_medium_we_booted_from_is_no_candidate() {
    let machine = Machine::from_text(QEMU);
    let medium = |bytes: &[(u64, &[u8])]| {
        let file = std::fs::File::create(machine.roots.dev.join("sdc")).unwrap();
        file.set_len(1 << 20).unwrap();
        for (at, bytes) in bytes {
            file.write_all_at(bytes, *at).unwrap();
        }
        by_name(&found(&machine), "sdc").boot_medium.clone().unwrap_or_default()
    };
    assert_eq!(medium(&[]), "");
    assert!(medium(&[(43, b"IR-VFD-DEV ")]).contains("boot parameters"));
    assert!(medium(&[(71, b"ir-vfd-dev ")]).contains("boot parameters"));
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    descriptor[..6].copy_from_slice(b"\x01CD001");
    assert!(medium(&[(DESCRIPTOR_OFFSET, &descriptor)]).contains("small USB medium"));
    let region = bessemer_proto::boot_parameters::region::REGION_BYTES as u64;
    Region { offset: 1 << 16, length: region }.write_pointer(&mut descriptor);
    assert!(medium(&[(DESCRIPTOR_OFFSET, &descriptor)]).contains("deploy ISO"));
    // The same on a disk that is not USB is old content and goes.
    std::fs::copy(machine.roots.dev.join("sdc"), machine.roots.dev.join("sdb")).unwrap();
    assert_eq!(by_name(&found(&machine), "sdb").boot_medium, None);
}

#[test]
fn a_machine_without_sysfs_is_an_error_that_says_so() {
    let mut machine = Machine::empty();
    machine.roots.sys = "/nonexistent".into();
    assert!(discover(&machine.roots).unwrap_err().to_string().contains("is sysfs mounted"));
}
