//! What whole deploys need: the deploy ISO with the agent in it (`make ramdisk`) and a disk image (`make images`).

use std::path::{Path, PathBuf};

use super::HarnessError;

/// The deploy ISO: `BESSEMER_DEPLOY_ISO`, or `.cache/ramdisk/deploy.iso` in the repository.
pub fn deploy_iso() -> Result<PathBuf, HarnessError> {
    find("the deploy ISO", "BESSEMER_DEPLOY_ISO", "ramdisk/deploy.iso")
}

/// The bootable disk image of Debian: `BESSEMER_DEMO_IMAGE`, or `.cache/images/debian.raw` in the repository.
pub fn demo_image() -> Result<PathBuf, HarnessError> {
    find("the demo disk image", "BESSEMER_DEMO_IMAGE", "images/debian.raw")
}

fn find(what: &'static str, variable: &'static str, name: &str) -> Result<PathBuf, HarnessError> {
    let cache = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache").join(name);
    let path = std::env::var_os(variable).map_or_else(cache, PathBuf::from);
    path.canonicalize().map_err(|_| HarnessError::Artifact { what, path, variable })
}
