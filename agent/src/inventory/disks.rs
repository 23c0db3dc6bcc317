//! Disks that an operating system could be written to.

use bessemer_proto::inventory::Disk;

use crate::{
    disk::{self, BlockDevice, DiscoverError},
    steps::Roots,
};

pub(super) fn collect(roots: &Roots) -> Result<Vec<Disk>, DiscoverError> {
    let devices = disk::discover(roots)?;
    Ok(devices.into_iter().filter(|device| device.boot_medium.is_none()).map(disk).collect())
}

fn disk(device: BlockDevice) -> Disk {
    Disk {
        name: device.name(),
        serial: device.serial().map(str::to_owned),
        by_path: device.by_path.first().map(|name| format!("/dev/disk/by-path/{name}")),
        model: device.model,
        size: device.size,
        rotational: device.rotational,
        wwn: device.wwn.name,
        vendor: device.vendor,
        hctl: device.hctl,
        logical_sectors: device.logical_sector,
        physical_sectors: device.physical_sector,
        tran: device.tran,
    }
}
