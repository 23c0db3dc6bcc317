//! What the `inspect` step reports, in the JSON form of Ironic's inventory.

use serde::{Deserialize, Serialize};

/// Everything the agent found out about its machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Network interfaces, in name order.
    pub interfaces: Vec<NetworkInterface>,
    /// The processors.
    pub cpu: Cpu,
    /// Disks that an operating system could be written to, in name order.
    pub disks: Vec<Disk>,
    /// Memory.
    pub memory: Memory,
    /// What DMI says of the machine.
    pub system_vendor: SystemVendor,
    /// How the ramdisk was booted.
    pub boot: Boot,
    /// The ramdisk's host name.
    pub hostname: Option<String>,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// Kernel name, such as `eth0`.
    pub name: String,
    /// MAC address, lower case, with colons.
    pub mac_address: String,
    /// First IPv4 address.
    pub ipv4_address: Option<String>,
    /// First global IPv6 address.
    pub ipv6_address: Option<String>,
    /// Whether the link is up.
    pub has_carrier: bool,
    /// PCI vendor id, such as `0x8086`.
    pub vendor: Option<String>,
    /// PCI device id.
    pub product: Option<String>,
    /// Link speed in Mbit/s, when the driver knows it.
    pub speed_mbps: Option<u64>,
    /// PCI address, such as `0000:00:03.0`.
    pub pci_address: Option<String>,
    /// Kernel driver.
    pub driver: Option<String>,
}

/// The processors, taken together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Model name of the first processor.
    pub model_name: String,
    /// Frequency in MHz, as text.
    pub frequency: Option<String>,
    /// Logical processors.
    pub count: u32,
    /// Such as `x86_64`.
    pub architecture: String,
    /// Feature flags.
    pub flags: Vec<String>,
    /// Sockets in use.
    pub socket_count: u32,
}

/// One disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Device path, such as `/dev/sda`.
    pub name: String,
    /// Model.
    pub model: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// Whether it spins.
    pub rotational: bool,
    /// World wide name, such as `0x5000c500a1b2c3d4`.
    pub wwn: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Vendor.
    pub vendor: Option<String>,
    /// SCSI host:channel:target:lun.
    pub hctl: Option<String>,
    /// Path below `/dev/disk/by-path`.
    pub by_path: Option<String>,
    /// Logical sector size in bytes.
    pub logical_sectors: u32,
    /// Physical sector size in bytes.
    pub physical_sectors: u32,
    /// Transport: `nvme`, `sata`, `sas`, `usb`, `virtio`, …
    pub tran: Option<String>,
}

/// Memory sizes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes the kernel sees.
    pub total: u64,
    /// MiB installed, by DMI; the kernel's figure when DMI has none.
    pub physical_mb: u64,
}

/// DMI strings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SystemVendor {
    /// Product name.
    pub product_name: Option<String>,
    /// Serial number.
    pub serial_number: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Firmware.
    pub firmware: Firmware,
}

/// Firmware of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Firmware {
    /// Vendor.
    pub vendor: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Build date.
    pub build_date: Option<String>,
}

/// How the ramdisk was booted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// `uefi` or `bios`.
    pub current_boot_mode: String,
    /// Whether UEFI Secure Boot is on; absent when the firmware does not say.
    pub secure_boot: Option<bool>,
    /// MAC address that the machine booted from by network.
    pub pxe_interface: Option<String>,
}
