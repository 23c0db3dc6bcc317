//! `[bmc]`.

use std::path::PathBuf;

use serde::Deserialize;

/// `[bmc]`: how BMCs are spoken with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder with rules about BMCs that differ from their standard, `*.toml`, which count after those of the program: see
    /// [bmc.md](bmc.md#quirks). Need not be there. A relative path starts at `state_dir`. Default `quirks`.
    pub quirks_dir: PathBuf,
    /// Seconds between looks whether that folder was changed; 0 means none, `bessemer bmc quirks --reload` then reads it
    /// again. Default 10.
    pub quirks_check_interval: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { quirks_dir: "quirks".into(), quirks_check_interval: 10 }
    }
}
