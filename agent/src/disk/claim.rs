//! Takes a disk for writing, or says who uses it.

use std::{
    collections::BTreeSet,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use super::{BlockDevice, Target, TargetError, discover, sysfs};
use crate::steps::Roots;

/// Why a disk must not be written.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Part of it is mounted.
    #[error("{device} is in use: {part} is mounted on {on}; unmount it first")]
    Mounted {
        /// The disk.
        device: String,
        /// The disk or its partition.
        part: String,
        /// Mount point.
        on: String,
    },
    /// A device is built on it.
    #[error(
        "{device} is in use: {part} is part of {holder} (software RAID, LVM or encryption); stop {holder} first"
    )]
    Held {
        /// The disk.
        device: String,
        /// The disk or its partition.
        part: String,
        /// The device on top.
        holder: String,
    },
    /// The kernel swaps to it.
    #[error("{device} is in use: {part} is swap space; run swapoff first")]
    Swap {
        /// The disk.
        device: String,
        /// The disk or its partition.
        part: String,
    },
    /// It cannot be written.
    #[error("{device} is read-only: check its write protection")]
    ReadOnly {
        /// The disk.
        device: String,
    },
    /// It holds what the ramdisk booted from.
    #[error("{device} must not be written: {reason}")]
    BootMedium {
        /// The disk.
        device: String,
        /// What it holds.
        reason: String,
    },
    /// Somebody holds it whom neither mounts nor sysfs name.
    #[error("{device} is in use by another program: stop what has it open")]
    Busy {
        /// The disk.
        device: String,
        /// The kernel's word.
        #[source]
        source: TargetError,
    },
    /// It is no whole disk.
    #[error("{device} is a partition or no disk at all: name the whole disk, such as /dev/sda")]
    NoDisk {
        /// What was named.
        device: String,
    },
    /// It could not be opened.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// The disk itself or one of its partitions.
struct Part {
    name: String,
    /// `major:minor`.
    number: Option<String>,
    sysfs: PathBuf,
}

/// Opens the disk exclusively, unless it is in use; the error then says by whom.
pub fn claim(device: &BlockDevice, roots: &Roots) -> Result<Target, ClaimError> {
    let name = device.name();
    if let Some(reason) = &device.boot_medium {
        return Err(ClaimError::BootMedium { device: name, reason: reason.clone() });
    }
    if device.read_only {
        return Err(ClaimError::ReadOnly { device: name });
    }
    let parts = parts(device);
    check_mounts(&name, &parts, &roots.proc)?;
    for part in &parts {
        if let Some(holder) = sysfs::names(&part.sysfs.join("holders")).into_iter().next() {
            return Err(ClaimError::Held { device: name, part: part.name.clone(), holder });
        }
    }
    check_swaps(&name, &parts, &roots.proc)?;
    open(&device.path, name)
}

fn open(path: &Path, device: String) -> Result<Target, ClaimError> {
    Target::open(path).map_err(|source| match source {
        TargetError::Open { source: ref reason, .. } if reason.kind() == std::io::ErrorKind::ResourceBusy => {
            ClaimError::Busy { device, source }
        }
        source => ClaimError::Target(source),
    })
}

/// The same for a path that somebody named: a disk, any other block device that is no partition, or a regular file,
/// which is made when it is not there. Says whether it was.
pub fn claim_path(path: &Path, roots: &Roots) -> Result<(BlockDevice, Target, bool), ClaimError> {
    let failed = |source: std::io::Error| TargetError::Open { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_block_device() => {
            let real = path.canonicalize().map_err(failed)?;
            let name = real.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let device = discover::named(roots, name)
                .ok_or(ClaimError::NoDisk { device: path.display().to_string() })?;
            let target = claim(&device, roots)?;
            Ok((device, target, false))
        }
        Ok(_) => file(path).map(|(device, target)| (device, target, false)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.starts_with(&roots.dev) => {
            std::fs::File::create_new(path).map_err(failed)?;
            let (device, target) = file(path).inspect_err(|_| {
                std::fs::remove_file(path).ok();
            })?;
            Ok((device, target, true))
        }
        Err(error) => Err(failed(error).into()),
    }
}

fn file(path: &Path) -> Result<(BlockDevice, Target), ClaimError> {
    let target = open(path, path.display().to_string())?;
    let device = BlockDevice {
        path: path.to_owned(),
        size: target.size(),
        logical_sector: target.sector(),
        ..BlockDevice::default()
    };
    Ok((device, target))
}

fn parts(device: &BlockDevice) -> Vec<Part> {
    let part = |name: &str, sysfs: PathBuf| Part {
        name: format!("/dev/{name}"),
        number: sysfs::text(&sysfs.join("dev")),
        sysfs,
    };
    let mut parts = vec![part(&device.kernel_name, device.sysfs.clone())];
    for name in sysfs::names(&device.sysfs) {
        let folder = device.sysfs.join(&name);
        if folder.join("partition").is_file() {
            parts.push(part(&name, folder));
        }
    }
    parts
}

fn check_mounts(device: &str, parts: &[Part], proc: &Path) -> Result<(), ClaimError> {
    let table = sysfs::text(&proc.join("self/mountinfo")).unwrap_or_default();
    for line in table.lines() {
        // proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, …, "-", type, source, options.
        let mut fields = line.split(' ');
        let (Some(number), Some(on)) = (fields.nth(2), fields.nth(1)) else { continue };
        // Btrfs mounts have a number of no device; their source names it.
        let source = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').nth(1)).unwrap_or_default();
        let hit = parts.iter().find(|part| part.number.as_deref() == Some(number) || part.name == source);
        if let Some(part) = hit {
            return Err(ClaimError::Mounted {
                device: device.to_owned(),
                part: part.name.clone(),
                on: on.to_owned(),
            });
        }
    }
    Ok(())
}

fn check_swaps(device: &str, parts: &[Part], proc: &Path) -> Result<(), ClaimError> {
    let table = sysfs::text(&proc.join("swaps")).unwrap_or_default();
    let swaps: BTreeSet<&str> =
        table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    match parts.iter().find(|part| swaps.contains(part.name.as_str())) {
        Some(part) => Err(ClaimError::Swap { device: device.to_owned(), part: part.name.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
