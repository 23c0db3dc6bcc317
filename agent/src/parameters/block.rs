//! Which block devices may carry boot parameters.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::steps::Roots;

/// Devices looked at in one round.
const MAX_DEVICES: usize = 64;

/// A device that somebody may have inserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Device node.
    pub(super) node: PathBuf,
    /// Changes when another medium is inserted.
    pub(super) generation: String,
    /// A partition; looked at after all whole disks.
    pub(super) partition: bool,
}

/// Inserted media: whole disks first, partitions after them. A FAT image without partition table can look as if
/// it had a partition; the whole disk then wins.
pub(super) fn candidates(roots: &Roots) -> Vec<Candidate> {
    let Ok(entries) = fs::read_dir(roots.sys.join("class/block")) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| candidate(&entry.path(), entry.file_name().to_str()?, &roots.dev))
        .collect();
    found.sort_by(|a, b| (a.partition, &a.node).cmp(&(b.partition, &b.node)));
    found.truncate(MAX_DEVICES);
    found
}

fn candidate(entry: &Path, name: &str, dev: &Path) -> Option<Candidate> {
    let sys = fs::canonicalize(entry).ok()?;
    let partition = sys.join("partition").exists();
    let disk = if partition { sys.parent()?.to_owned() } else { sys.clone() };
    let size = text(&sys.join("size"));
    // A floppy has no size until it is opened; a card reader without card has none at all.
    let floppy = numbered(name, "fd");
    if !insertable(&disk, name) || (size == "0" && !floppy) {
        return None;
    }
    let generation = format!("{size} {}", text(&disk.join("diskseq")));
    Some(Candidate { node: dev.join(name), generation, partition })
}

/// Floppies, optical drives, removable disks, everything on USB.
fn insertable(disk: &Path, name: &str) -> bool {
    let on_usb = disk.components().any(|part| {
        part.as_os_str()
            .to_str()
            .and_then(|part| part.strip_prefix("usb"))
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    });
    numbered(name, "fd") || numbered(name, "sr") || on_usb || text(&disk.join("removable")) == "1"
}

/// `fd0` for `fd`, not `fdx`.
fn numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.bytes().next().is_some_and(|b| b.is_ascii_digit()))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
