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
    /// Puts a config drive on the written disk.
    pub const WRITE_CONFIG_DRIVE: &str = "write_config_drive";
    /// Makes the firmware boot the written disk.
    pub const SET_BOOT_ENTRY: &str = "set_boot_entry";
    /// Powers the machine off.
    pub const POWER_OFF: &str = "power_off";
    /// Restarts the machine.
    pub const REBOOT: &str = "reboot";
}

/// Most range connections that `write_image` opens.
pub const MOST_CONNECTIONS: u8 = 8;

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
    /// Whether [`ImageFormat::Auto`] may turn out to be qcow2. Without it only an image that is declared
    /// [`ImageFormat::Qcow2`] is read as one, and one that begins like qcow2 is refused: who can write into a raw
    /// image could make it name other files or another size (CVE-2024-44082).
    #[serde(default)]
    pub allow_qcow2: bool,
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
    /// Proxies for `url`, the checksum file and the manifest.
    #[serde(default)]
    pub proxy: ProxyArguments,
    /// Most range connections to the image server, 1 to [`MOST_CONNECTIONS`]; chosen by the agent when absent.
    #[serde(default)]
    pub connections: Option<u8>,
    /// Digests of the image's ranges, so that only what the disk lacks is fetched.
    #[serde(default)]
    pub manifest: Option<ManifestSource>,
    /// Reads the disk back, past every cache of this machine, and compares.
    #[serde(default)]
    pub verify_readback: bool,
}

/// Proxies, as curl takes them. URLs may hold credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyArguments {
    /// For `http://` URLs.
    #[serde(default)]
    pub http: Option<Secret>,
    /// For `https://` URLs.
    #[serde(default)]
    pub https: Option<Secret>,
    /// Hosts, domains and networks that are asked directly, separated by commas.
    #[serde(default)]
    pub no_proxy: Option<String>,
}

/// Where an image's manifest is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestSource {
    /// `http://` or `https://`.
    pub url: url::Url,
    /// What the manifest's bytes must hash to. When the manifest also names the image's own digest, its ranges prove
    /// the image; else they only say what to fetch, and the whole disk is read back and hashed.
    #[serde(default)]
    pub digest: Option<Digest>,
}

/// How an image is packed. The content decides; a declared format that does not match it is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// Whatever the content says; qcow2 only with [`WriteImageArguments::allow_qcow2`].
    #[default]
    Auto,
    /// The bytes of the disk.
    Raw,
    /// A raw image, gzip (RFC 1952).
    Gzip,
    /// A raw image, xz (.xz file format 1.2).
    Xz,
    /// A raw image, Zstandard (RFC 8878).
    Zstd,
    /// A raw image, bzip2.
    Bzip2,
    /// A raw image, LZ4 frames (LZ4 frame format 1.6).
    Lz4,
    /// QEMU's copy-on-write image, version 2 or 3.
    Qcow2,
}

impl ImageFormat {
    /// The name in arguments and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Raw => "raw",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Qcow2 => "qcow2",
        }
    }
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
    /// What was proved: the digest that was asked for, of the bytes as served. Where only a manifest was given: the
    /// digest of the raw image that it names, or its own when it names none.
    pub digest: Digest,
    /// SHA-256 of the manifest, when there was one.
    #[serde(default)]
    pub manifest_digest: Option<Digest>,
    /// What the content turned out to be.
    pub format: ImageFormat,
    /// Bytes of the image as served that came; repeated ones count once, what the disk held already does not.
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
    /// How the write went, stage by stage.
    #[serde(default)]
    pub work: WriteWork,
}

/// What a write did, for receipts and benchmarks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WriteWork {
    /// The stages in the order that bytes pass them.
    pub stages: Vec<StageWork>,
    /// The stage that was busy longest: the one to speed up.
    pub bottleneck: Option<String>,
    /// Requests sent again after a failure.
    pub retries: u64,
    /// Most range connections used at once; 0 when the image came as one body.
    pub connections: u64,
    /// Bytes fetched from the image server, repeated ones included.
    pub bytes_fetched: u64,
    /// Bytes of the disk that were made zero by the device instead of being written.
    pub bytes_zeroed: u64,
    /// Bytes that the disk held already (only with a manifest).
    pub bytes_kept: u64,
    /// Ranges of the manifest that were proved one by one; 0 without a manifest.
    #[serde(default)]
    pub ranges: u64,
    /// Those of them that the disk held already.
    #[serde(default)]
    pub ranges_kept: u64,
    /// Bytes read back and compared.
    pub bytes_read_back: u64,
    /// How writes reached the device: `io_uring`, `pwrite` or `page cache`.
    pub writer: String,
}

/// One stage of a write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageWork {
    /// `fetch`, `digest`, `decode`, `content digest` (of a decoded image that has a manifest), `write`, `read back`.
    pub name: String,
    /// Bytes that passed.
    pub bytes: u64,
    /// Seconds of work; for `fetch`, seconds of waiting for the server.
    pub busy_seconds: f64,
    /// Seconds of waiting for other stages.
    pub waiting_seconds: f64,
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

/// Arguments of `write_config_drive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteConfigDriveArguments {
    /// The disk, as `write_image` reported it.
    pub device: WrittenDevice,
    /// Where the config drive is, unpacked: `http://` or `https://`. Whoever knows the URL can read it.
    pub url: Secret,
    /// What its bytes must hash to.
    pub digest: Digest,
    /// CA certificates (PEM) that `url` may be signed by, instead of the public ones.
    #[serde(default)]
    pub ca_pem: Option<String>,
}

/// Result of `write_config_drive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteConfigDriveResult {
    /// Device path of the disk in the ramdisk.
    pub device: String,
    /// Number of the partition.
    pub partition: u32,
    /// Its first byte.
    pub partition_offset: u64,
    /// Its bytes.
    pub partition_size: u64,
    /// Bytes of the config drive; zeros follow.
    pub bytes_written: u64,
    /// Whether the image came with the partition.
    pub reused: bool,
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
