//! Block devices: which there are, which one is meant, and a safe hold on it.
//!
//! [`discover`] reads sysfs alone, [`hints`] and [`choose`] pick the disk that the operator means, [`claim`]
//! refuses a disk in use and says why, [`target`] holds it, [`writer`] writes with several [`buffer`]s under way, [`gpt`]
//! reads and repairs partition tables, [`config_partition`] finds or makes room for a config drive. Nothing here knows
//! images or the network. All unsafe code of the crate is in [`ioctl`].

mod boot_medium;
pub mod buffer;
mod by_path;
pub mod choose;
pub mod claim;
pub mod config_partition;
pub(crate) mod discover;
pub mod gpt;
pub mod hints;
mod identity;
pub mod ioctl;
pub(crate) mod sysfs;
pub mod target;
pub mod writer;

use std::path::PathBuf;

pub use choose::{Choice, ChooseError, choose};
pub use claim::{ClaimError, claim, claim_path};
pub use discover::{DiscoverError, discover};
pub use hints::{HintError, Hints};
pub use target::{Left, Target, TargetError};

/// Smallest disk that is taken when no hint names one, as Ironic has it.
pub const SMALLEST_WITHOUT_HINT: u64 = 4 << 30;

/// A disk that an operating system could be written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDevice {
    /// Kernel name, such as `sda`.
    pub kernel_name: String,
    /// Device file, below the root of `/dev`.
    pub path: PathBuf,
    /// The canonical folder of the device in sysfs.
    pub sysfs: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// Model.
    pub model: Option<String>,
    /// Vendor.
    pub vendor: Option<String>,
    /// Serial numbers in every spelling that the field's tools print; the first is the one to show.
    pub serials: Vec<String>,
    /// World wide names.
    pub wwn: Wwn,
    /// Whether it spins.
    pub rotational: bool,
    /// SCSI host:channel:target:lun.
    pub hctl: Option<String>,
    /// Names below `/dev/disk/by-path`, as udev computes them; the first is the one to show.
    pub by_path: Vec<String>,
    /// Logical sector size in bytes.
    pub logical_sector: u32,
    /// Physical sector size in bytes.
    pub physical_sector: u32,
    /// Transport: `nvme`, `sata`, `sas`, `usb`, `virtio`, `fc`, `iscsi`, `mmc`.
    pub tran: Option<String>,
    /// Whether the kernel refuses writes.
    pub read_only: bool,
    /// Whether the medium can be taken out.
    pub removable: bool,
    /// Why the disk may not be written though it is there: it holds what this ramdisk booted from.
    pub boot_medium: Option<String>,
}

/// The world wide names of a disk, in the spelling of udev.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wwn {
    /// `ID_WWN`: the first eight bytes of an NAA name, or the namespace identifier of NVMe.
    pub name: Option<String>,
    /// `ID_WWN_VENDOR_EXTENSION`: the last eight bytes of a 16-byte NAA name.
    pub vendor_extension: Option<String>,
    /// `ID_WWN_WITH_EXTENSION`: the whole name.
    pub with_extension: Option<String>,
}

impl BlockDevice {
    /// The name operators use, such as `/dev/sda`; of a regular file its path.
    #[must_use]
    pub fn name(&self) -> String {
        match self.kernel_name.as_str() {
            "" => self.path.display().to_string(),
            name => format!("/dev/{name}"),
        }
    }

    /// The serial number to show.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        self.serials.first().map(String::as_str)
    }

    /// Every spelling of the world wide name.
    pub fn wwns(&self) -> impl Iterator<Item = &str> {
        [&self.wwn.name, &self.wwn.with_extension].into_iter().flatten().map(String::as_str)
    }

    /// One line for people: name, model, size, serial.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!("{} ({}", self.name(), human_size(self.size));
        for part in [self.model.as_deref(), self.serial().map(|_| "serial")].into_iter().flatten() {
            text.push_str(", ");
            text.push_str(part);
        }
        if let Some(serial) = self.serial() {
            text.push(' ');
            text.push_str(serial);
        }
        text.push(')');
        text
    }
}

/// Binary size for people.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        if bytes >= 1 << shift {
            // One decimal is enough for people; tenths in integers so that no float rounds up to the next unit.
            let tenths = (u128::from(bytes) * 10) >> shift;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} bytes")
}
