//! What a build says about its result: `manifest.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Everything about one build.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Manifest {
    /// Version of Bessemer that built it.
    pub bessemer: String,
    /// Release of the kernel.
    pub kernel: String,
    /// What the boot loaders of the ISO tell the kernel.
    pub kernel_arguments: String,
    /// Name, size and digest of each file that was made.
    pub files: BTreeMap<String, Content>,
    /// The agent that is in the ramdisk.
    pub agent: Content,
    /// The kernel modules in the ramdisk: name and size.
    pub modules: BTreeMap<String, u64>,
    /// Modules that are loaded when the ramdisk starts.
    pub load: Vec<String>,
    /// Firmware that modules may ask for and that is not in the ramdisk, by module.
    pub firmware_not_included: BTreeMap<String, Vec<String>>,
    /// Where the ISO's parameters region is.
    pub region: RegionPlace,
}

/// Size and digest of a file.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Content {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// Where the parameters region is, in bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct RegionPlace {
    /// From the start of the ISO.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

impl Content {
    /// Measures bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(bytes)) }
    }
}
