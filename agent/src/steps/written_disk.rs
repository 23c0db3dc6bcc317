//! Finds the disk that `write_image` wrote, for the steps after it.

use bessemer_proto::step::WrittenDevice;

use crate::disk::BlockDevice;

/// The disk that was written: by serial number and world wide name when it has them, else by name and size.
pub(super) fn find<'a>(
    devices: &'a [BlockDevice],
    wanted: &WrittenDevice,
) -> anyhow::Result<&'a BlockDevice> {
    let same = |device: &&BlockDevice| {
        let serial = wanted.serial.as_ref().map(|serial| device.serials.contains(serial));
        let wwn = wanted.wwn.as_ref().map(|wwn| device.wwns().any(|known| known == wwn));
        match (serial, wwn) {
            (None, None) => device.name() == wanted.name && device.size == wanted.size,
            (serial, wwn) => serial.unwrap_or(true) && wwn.unwrap_or(true),
        }
    };
    let matching: Vec<&BlockDevice> = devices.iter().filter(same).collect();
    // Two disks may claim the same serial number; the name then decides.
    let named = matching.iter().find(|device| device.name() == wanted.name);
    match (matching.as_slice(), named) {
        ([only], _) => Ok(*only),
        (_, Some(named)) => Ok(*named),
        _ => {
            let there: Vec<String> = devices.iter().map(BlockDevice::describe).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            anyhow::bail!(
                "the written disk {} (serial {}, WWN {}) is not there any more; the machine's disks are: {there}",
                wanted.name,
                wanted.serial.as_deref().unwrap_or("none"),
                wanted.wwn.as_deref().unwrap_or("none"),
            )
        }
    }
}
