//! Finds disks in sysfs. No udev is needed and no device is opened, except small USB media, to see whether the
//! ramdisk booted from them.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{BlockDevice, boot_medium, by_path, identity, sysfs};
use crate::steps::Roots;

/// Kernel names of what is no disk to install on.
const SKIPPED: [&str; 10] = ["ram", "loop", "fd", "sr", "zram", "dm-", "md", "nbd", "mtdblock", "drbd"];

/// Sysfs counts sizes in these, whatever the device's sectors are.
const SYSFS_SECTOR: u64 = 512;

/// Why no disk could be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {}: is sysfs mounted?", path.display())]
pub struct DiscoverError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The disks of this machine, in name order (`sda`, `sdb`, …, `sdaa`).
pub fn discover(roots: &Roots) -> Result<Vec<BlockDevice>, DiscoverError> {
    let folder = roots.sys.join("block");
    let entries =
        std::fs::read_dir(&folder).map_err(|source| DiscoverError { path: folder.clone(), source })?;
    let mut devices: Vec<BlockDevice> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_disk_name(name))
        .filter_map(|name| device(roots, &name))
        .collect();
    devices.sort_by(|a, b| name_key(&a.kernel_name).cmp(&name_key(&b.kernel_name)));
    Ok(devices)
}

/// The block device with this kernel name, whatever it is.
pub(crate) fn named(roots: &Roots, name: &str) -> Option<BlockDevice> {
    device(roots, name)
}

fn is_disk_name(name: &str) -> bool {
    // The boot and replay-protected areas of an eMMC are disks of their own to the kernel.
    let mmc_area = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    !mmc_area && !SKIPPED.iter().any(|prefix| name.starts_with(prefix))
}

/// `sdb` comes before `sdaa`: letters first, then length, then text.
fn name_key(name: &str) -> (&str, usize, &str) {
    (name.get(..2).unwrap_or(name), name.len(), name)
}

fn device(roots: &Roots, name: &str) -> Option<BlockDevice> {
    let sysfs = roots.sys.join("block").join(name).canonicalize().ok()?;
    // A path of a multipath NVMe namespace cannot be opened; the namespace itself is listed besides.
    if sysfs::flag(&sysfs.join("hidden")) {
        return None;
    }
    let size = sysfs::number(&sysfs.join("size"))?.checked_mul(SYSFS_SECTOR)?;
    if size == 0 {
        return None;
    }
    let queue = |attribute: &str| sysfs::number(&sysfs.join("queue").join(attribute));
    let sector = |attribute| queue(attribute).and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(512);
    let place = Place::of(&sysfs);
    let mut device = BlockDevice {
        kernel_name: name.to_owned(),
        path: roots.dev.join(name),
        size,
        model: sysfs::text(&sysfs.join("device/model")).or_else(|| sysfs::text(&sysfs.join("device/name"))),
        vendor: vendor(&sysfs, place),
        serials: identity::serials(&sysfs, place),
        wwn: identity::wwn(&sysfs, place),
        rotational: queue("rotational") == Some(1),
        hctl: hctl(&sysfs),
        by_path: by_path::names(roots, &sysfs),
        logical_sector: sector("logical_block_size"),
        physical_sector: sector("physical_block_size"),
        tran: place.tran().map(str::to_owned),
        read_only: sysfs::flag(&sysfs.join("ro")),
        removable: sysfs::flag(&sysfs.join("removable")),
        boot_medium: None,
        sysfs,
    };
    device.boot_medium = boot_medium::reason(&device);
    Some(device)
}

fn vendor(sysfs: &Path, place: Place) -> Option<String> {
    match place {
        // A virtio disk has the number of the virtio vendor there; lsblk and Ironic show it too.
        Place::Scsi(_) | Place::Virtio => sysfs::text(&sysfs.join("device/vendor")),
        Place::Nvme | Place::Mmc | Place::Other => None,
    }
}

fn hctl(sysfs: &Path) -> Option<String> {
    if let Some(name) = sysfs::names(&sysfs.join("device/scsi_device")).into_iter().next() {
        return Some(name);
    }
    let name = sysfs.join("device").canonicalize().ok()?.file_name()?.to_str()?.to_owned();
    is_hctl(&name).then_some(name)
}

/// Whether `name` is a SCSI address of four numbers.
pub(super) fn is_hctl(name: &str) -> bool {
    let mut parts = 0;
    name.split(':').all(|part| {
        parts += 1;
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
    }) && parts == 4
}

/// Where in the tree of devices a disk hangs: which subsystem gives it its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nvme,
    Virtio,
    Mmc,
    Scsi(ScsiTransport),
    Other,
}

/// What carries SCSI commands to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScsiTransport {
    Ata,
    Usb,
    Sas,
    FibreChannel,
    Iscsi,
    Other,
}

impl Place {
    fn of(sysfs: &Path) -> Self {
        let name = sysfs.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("nvme") {
            return Self::Nvme;
        }
        if name.starts_with("mmcblk") {
            return Self::Mmc;
        }
        let parts: Vec<&str> = sysfs.iter().filter_map(|part| part.to_str()).collect();
        if !parts.iter().any(|part| is_hctl(part)) {
            let virtio = parts.iter().any(|part| numbered(part, "virtio"));
            return if virtio { Self::Virtio } else { Self::Other };
        }
        let has = |prefix: &str| parts.iter().any(|part| part.starts_with(prefix));
        Self::Scsi(if parts.iter().any(|part| numbered(part, "ata")) {
            ScsiTransport::Ata
        } else if parts.iter().any(|part| numbered(part, "usb")) {
            ScsiTransport::Usb
        } else if has("end_device-") {
            ScsiTransport::Sas
        } else if has("rport-") {
            ScsiTransport::FibreChannel
        } else if parts.iter().any(|part| numbered(part, "session")) {
            ScsiTransport::Iscsi
        } else {
            ScsiTransport::Other
        })
    }

    fn tran(self) -> Option<&'static str> {
        match self {
            Self::Nvme => Some("nvme"),
            Self::Virtio => Some("virtio"),
            Self::Mmc => Some("mmc"),
            Self::Scsi(ScsiTransport::Ata) => Some("sata"),
            Self::Scsi(ScsiTransport::Usb) => Some("usb"),
            Self::Scsi(ScsiTransport::Sas) => Some("sas"),
            Self::Scsi(ScsiTransport::FibreChannel) => Some("fc"),
            Self::Scsi(ScsiTransport::Iscsi) => Some("iscsi"),
            Self::Scsi(ScsiTransport::Other) | Self::Other => None,
        }
    }
}

/// Whether `part` is `prefix` and a number, such as `ata3`.
pub(super) fn numbered(part: &str, prefix: &str) -> bool {
    part.strip_prefix(prefix)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
#[path = "discover_tests.rs"]
pub(crate) mod tests;
