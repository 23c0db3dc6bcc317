//! The kernel's file systems.

use std::{fs, path::Path};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

const EFIVARS: &str = "/sys/firmware/efi/efivars";

struct Mount {
    kind: &'static str,
    at: &'static str,
    flags: MsFlags,
    data: Option<&'static str>,
}

/// Mounts what a process expects to be there. What is mounted already stays; failures are returned as sentences,
/// for there is no log yet.
pub(super) fn mount_all() -> Vec<String> {
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let mounts = [
        Mount { kind: "proc", at: "/proc", flags: strict, data: None },
        Mount { kind: "sysfs", at: "/sys", flags: strict, data: None },
        Mount { kind: "devtmpfs", at: "/dev", flags: MsFlags::MS_NOSUID, data: Some("mode=0755") },
        Mount { kind: "tmpfs", at: "/run", flags: strict, data: Some("mode=0755") },
        Mount { kind: "tmpfs", at: "/tmp", flags: strict, data: Some("mode=1777") },
    ];
    mounts.iter().filter_map(|mount| mount.mount().err()).collect()
}

/// Mounts the EFI variables, writable, when the machine booted by EFI. After the drivers: it may be a module.
pub(super) fn mount_efivars() {
    if !Path::new(EFIVARS).exists() {
        return;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match (Mount { kind: "efivarfs", at: EFIVARS, flags, data: None }).mount() {
        Ok(()) => tracing::debug!("EFI variables are mounted"),
        Err(error) => tracing::warn!(error, "EFI variables are not available"),
    }
}

impl Mount {
    fn mount(&self) -> Result<(), String> {
        fs::create_dir_all(self.at).map_err(|error| format!("making {} failed: {error}", self.at))?;
        match mount(Some(self.kind), self.at, Some(self.kind), self.flags, self.data) {
            Ok(()) | Err(Errno::EBUSY) => Ok(()),
            Err(error) => Err(format!("mounting {} on {} failed: {error}", self.kind, self.at)),
        }
    }
}
