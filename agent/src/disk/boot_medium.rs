//! Recognizes the USB media that a BMC presents and the stick that the ramdisk booted from: they hold our
//! parameters or the deploy ISO and must never be written.

use std::{
    fs::File,
    os::unix::fs::{FileExt, FileTypeExt},
};

use bessemer_proto::boot_parameters::{
    MEDIUM_LABEL,
    region::{DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, Region},
};

use super::BlockDevice;

/// Virtual media are smaller; a USB disk of this size that merely once held some ISO is a candidate.
const LARGEST_VIRTUAL_MEDIUM: u64 = 4 << 30;
/// Where FAT12/16 and FAT32 keep their label.
const FAT_LABELS: [u64; 2] = [43, 71];

/// Why the disk may not be written; `None` for an ordinary disk. Only USB disks are opened.
pub(super) fn reason(device: &BlockDevice) -> Option<String> {
    if device.tran.as_deref() != Some("usb") {
        return None;
    }
    let file = File::open(&device.path).ok()?;
    let kind = file.metadata().ok()?.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return None;
    }
    let holds = |at: u64, expected: &[u8]| {
        let mut bytes = vec![0; expected.len()];
        file.read_exact_at(&mut bytes, at).is_ok() && bytes.eq_ignore_ascii_case(expected)
    };
    if FAT_LABELS.iter().any(|at| holds(*at, MEDIUM_LABEL.as_bytes())) {
        return Some("it is the USB medium with the boot parameters".to_owned());
    }
    if !holds(DESCRIPTOR_OFFSET + 1, b"CD001") {
        return None;
    }
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    file.read_exact_at(&mut descriptor, DESCRIPTOR_OFFSET).ok()?;
    if Region::from_descriptor(&descriptor).is_ok() {
        return Some("it is the USB medium with the deploy ISO".to_owned());
    }
    (device.size < LARGEST_VIRTUAL_MEDIUM)
        .then(|| "it is a small USB medium with an ISO, such as a BMC's virtual CD".to_owned())
}
