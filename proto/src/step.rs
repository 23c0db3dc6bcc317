//! Steps: their names, arguments and results. A step's arguments travel as JSON, so that a vendor's step needs
//! no change here; the built-in ones have these types at both ends.

use serde::{Deserialize, Serialize};

use crate::{
    digest::{Digest, DigestAlgorithm},
    inventory::Inventory,
    secret::Secret,
};

/// Names of the built-in steps.
pub mod names {
    /// Reports the machine's [`Inventory`](crate::inventory::Inventory).
    pub const INSPECT: &str = "inspect";
    /// Streams an image to a disk, verified.
    pub const WRITE_IMAGE: &str = "write_image";
    /// Makes the firmware boot the written disk.
    pub const SET_BOOT_ENTRY: &str = "set_boot_entry";
    /// Powers the machine off.
    pub const POWER_OFF: &str = "power_off";
    /// Restarts the machine.
    pub const REBOOT: &str = "reboot";
}

/// Arguments of steps that take none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoArguments {}

/// Result of `inspect`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InspectResult {
    /// What was found.
    pub inventory: Inventory,
}

/// Arguments of `write_image`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteImageArguments {
    /// Where the image is: `http://` or `https://`.
    pub url: url::Url,
    /// How the image is packed.
    #[serde(default)]
    pub format: ImageFormat,
    /// What the bytes at `url`, as served, must hash to.
    pub digest: DigestSource,
    /// CA certificates (PEM) that `url` and the checksum URL may be signed by, instead of the public ones.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// Value of an `Authorization` header for `url`.
    #[serde(default)]
    pub authorization: Option<Secret>,
    /// Ironic's root-device hints; empty means the smallest disk of at least 4 GiB.
    #[serde(default)]
    pub root_device: serde_json::Map<String, serde_json::Value>,
}

/// How an image is packed. The content decides; a declared format that does not match it is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// Whatever the content says.
    #[default]
    Auto,
    /// The bytes of the disk.
    Raw,
    /// A raw image, gzip (RFC 1952).
    Gzip,
    /// A raw image, Zstandard (RFC 8878).
    Zstd,
}

/// Where the expected digest comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DigestSource {
    /// The digest itself.
    Value(Digest),
    /// A checksum file (`SHA256SUMS` style, BSD style or one bare digest).
    Url {
        /// Where the checksum file is.
        url: url::Url,
        /// Which algorithm it holds; by length when absent.
        algorithm: Option<DigestAlgorithm>,
    },
}

/// Result of `write_image`: what was written where. Exists only for a verified write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WriteImageReceipt {
    /// The disk.
    pub device: WrittenDevice,
    /// Digest of the bytes as served: equal to the one asked for.
    pub digest: Digest,
    /// What the content turned out to be.
    pub format: ImageFormat,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes of the disk image.
    pub bytes_written: u64,
    /// Seconds from the start of the step until everything was flushed.
    pub seconds: f64,
    /// Seconds from the start of the step until the first byte was written.
    pub seconds_to_first_byte: f64,
    /// Largest resident memory of the agent so far, KiB.
    pub peak_memory_kib: u64,
    /// For each disk of the machine, why it was or was not chosen.
    pub choice: Vec<String>,
}

/// Identity of a written disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenDevice {
    /// Device path in the ramdisk.
    pub name: String,
    /// Serial number.
    pub serial: Option<String>,
    /// World wide name.
    pub wwn: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Size in bytes.
    pub size: u64,
}

/// Arguments of `set_boot_entry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetBootEntryArguments {
    /// The disk to boot, as `write_image` reported it.
    pub device: WrittenDevice,
    /// Label of the entry when the image names none.
    #[serde(default)]
    pub label: Option<String>,
}

/// Result of `set_boot_entry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBootEntryResult {
    /// What was done.
    pub method: BootEntryMethod,
    /// Loader inside the EFI system partition, with backslashes.
    pub loader: Option<String>,
    /// The entry, such as `Boot0003`.
    pub entry: Option<String>,
    /// Its label.
    pub label: Option<String>,
}

/// How the firmware will find the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootEntryMethod {
    /// A UEFI boot entry, first in `BootOrder`.
    UefiEntry,
    /// The firmware takes no entry; the disk has a loader at the removable path `\EFI\BOOT\BOOTX64.EFI`.
    RemovablePath,
    /// The machine booted in BIOS mode: the boot sector decides.
    Bios,
}
