//! Serial numbers and world wide names, as udev and `lsblk` print them.

use std::path::Path;

use super::{
    Wwn,
    discover::{Place, ScsiTransport},
    sysfs,
};

/// Header of a vital product data page (SPC-4, 7.8): peripheral, page code, length of what follows.
const VPD_HEADER: usize = 4;
/// Designator type NAA (SPC-4, table 511).
const DESIGNATOR_NAA: u8 = 3;
/// Designator type EUI-64.
const DESIGNATOR_EUI64: u8 = 2;

/// The serial numbers of the disk, the one to show first. Any of them may be in a hint: `lsblk` prints one or
/// the other depending on its version.
pub(super) fn serials(sysfs: &Path, place: Place) -> Vec<String> {
    let mut serials = Vec::new();
    match place {
        Place::Nvme | Place::Mmc => serials.extend(sysfs::text(&sysfs.join("device/serial"))),
        Place::Virtio => serials.extend(sysfs::text(&sysfs.join("serial"))),
        Place::Scsi(transport) => {
            serials.extend(page(sysfs, "vpd_pg80").and_then(|page| ascii(&page)));
            serials.extend(sysfs::text(&sysfs.join("serial")));
            if transport == ScsiTransport::Usb {
                serials.extend(usb_serial(sysfs));
            } else if let Some(name) = scsi_name(sysfs) {
                // udev's ID_SERIAL_SHORT of a SCSI disk is its NAA name.
                serials.push(name.hexadecimal().to_owned());
            }
        }
        Place::Other => serials.extend(sysfs::text(&sysfs.join("serial"))),
    }
    let mut seen = Vec::new();
    serials.retain(|serial| {
        let new = !seen.contains(serial);
        seen.push(serial.clone());
        new
    });
    serials
}

/// The world wide names of the disk.
pub(super) fn wwn(sysfs: &Path, place: Place) -> Wwn {
    match place {
        Place::Nvme => {
            let name = sysfs::text(&sysfs.join("wwid"));
            Wwn { with_extension: name.clone(), name, vendor_extension: None }
        }
        Place::Scsi(_) => scsi_name(sysfs).map(|name| name.into_wwn()).unwrap_or_default(),
        Place::Virtio | Place::Mmc | Place::Other => Wwn::default(),
    }
}

/// A name in hexadecimal, lower case, as the SCSI device gives it.
struct ScsiName(String);

impl ScsiName {
    fn parse(text: &str) -> Option<Self> {
        let good = matches!(text.len(), 16 | 24 | 32) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| Self(text.to_ascii_lowercase()))
    }

    fn hexadecimal(&self) -> &str {
        &self.0
    }

    fn into_wwn(self) -> Wwn {
        let (first, rest) = self.0.split_at(16);
        Wwn {
            name: Some(format!("0x{first}")),
            vendor_extension: (!rest.is_empty()).then(|| format!("0x{rest}")),
            with_extension: Some(format!("0x{}", self.0)),
        }
    }
}

fn scsi_name(sysfs: &Path) -> Option<ScsiName> {
    let from_wwid = sysfs::text(&sysfs.join("device/wwid"))
        .and_then(|wwid| ScsiName::parse(wwid.strip_prefix("naa.").or(wwid.strip_prefix("eui."))?));
    from_wwid.or_else(|| designator(&page(sysfs, "vpd_pg83")?))
}

/// The payload of a vital product data page.
fn page(sysfs: &Path, name: &str) -> Option<Vec<u8>> {
    let page = sysfs::bytes(&sysfs.join("device").join(name))?;
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let payload = page.get(VPD_HEADER..)?;
    Some(payload.get(..length).unwrap_or(payload).to_vec())
}

fn ascii(bytes: &[u8]) -> Option<String> {
    let text: String = bytes
        .iter()
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .map(|b| char::from(*b))
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The NAA name of the logical unit in page 0x83, else its EUI-64.
fn designator(payload: &[u8]) -> Option<ScsiName> {
    let mut rest = payload;
    let mut eui = None;
    while let [_, association_and_kind, _, length, tail @ ..] = rest {
        let value = tail.get(..usize::from(*length))?;
        let of_unit = association_and_kind & 0x30 == 0;
        match association_and_kind & 0x0f {
            DESIGNATOR_NAA if of_unit => return ScsiName::parse(&hex::encode(value)),
            DESIGNATOR_EUI64 if of_unit && eui.is_none() => eui = ScsiName::parse(&hex::encode(value)),
            _ => {}
        }
        rest = tail.get(usize::from(*length)..)?;
    }
    eui
}

/// The serial number of the USB device that the disk is part of.
fn usb_serial(sysfs: &Path) -> Option<String> {
    let device = sysfs.ancestors().find(|folder| folder.join("idVendor").is_file())?;
    sysfs::text(&device.join("serial"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_83_gives_the_naa_name_of_the_unit_not_of_the_port() {
        let mut page = vec![0x61, 0x93, 0x00, 0x08];
        page.extend([0x50, 0, 0, 0, 0, 0, 0, 0x99]);
        page.extend([0x01, 0x03, 0x00, 0x10]);
        page.extend([0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let wwn = designator(&page).unwrap().into_wwn();
        assert_eq!(wwn.name.as_deref(), Some("0x6001020304050607"));
        assert_eq!(wwn.vendor_extension.as_deref(), Some("0x08090a0b0c0d0e0f"));
        assert_eq!(wwn.with_extension.as_deref(), Some("0x600102030405060708090a0b0c0d0e0f"));
    }

    #[test]
    fn broken_pages_give_no_name_and_no_panic() {
        assert!(designator(&[]).is_none());
        assert!(designator(&[0x01, 0x03, 0x00, 0x10, 0x60]).is_none());
        assert!(designator(&[0x01, 0x03, 0x00, 0x00]).is_none());
        assert!(ScsiName::parse("5000c500a1b2c3dg").is_none());
    }
}
