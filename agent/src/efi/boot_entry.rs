//! Makes the firmware boot a disk: one entry, first in order, no stale duplicates.

use std::{collections::BTreeSet, fs::File, io};

use bessemer_proto::step::{BootEntryMethod, SetBootEntryResult};

use super::{
    esp, load_option,
    loader::{self, Loader},
    variables::{VariableError, Variables, entry_name},
};
use crate::disk::gpt::Partition;

/// The label when neither the image nor the controller gives one.
const DEFAULT_LABEL: &str = "Bessemer";
/// Firmware menus cut longer ones.
const LONGEST_LABEL: usize = 64;

/// Why the firmware was not told.
#[derive(Debug, thiserror::Error)]
pub enum BootEntryError {
    /// The disk has no place for loaders.
    #[error(
        "{device} has no GPT with an EFI system partition: the image cannot boot on a machine in UEFI mode; use a UEFI image or set the machine to BIOS mode"
    )]
    NoEsp {
        /// The disk.
        device: String,
    },
    /// The ESP is not readable.
    #[error("the EFI system partition of {device} is not a readable FAT file system")]
    Esp {
        /// The disk.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is nothing to start.
    #[error(
        "the EFI system partition of {device} has no boot loader for this processor: neither in a vendor's folder nor at the removable path"
    )]
    NoLoader {
        /// The disk.
        device: String,
    },
    /// No entry and no copy.
    #[error(
        "the firmware takes no boot entry and {loader} of {device} cannot be put at the removable path: set a boot entry in the firmware's menu"
    )]
    Removable {
        /// The disk.
        device: String,
        /// The loader.
        loader: String,
        /// Why the copy failed, when it did.
        #[source]
        source: Option<io::Error>,
    },
}

/// The disk to boot.
pub struct BootDisk<'a> {
    /// Its name in messages.
    pub name: String,
    /// Open for reading and writing.
    pub file: &'a File,
    /// Its EFI system partition.
    pub esp: Partition,
}

/// What is on the machine besides the disk to boot.
pub struct Firmware<'a> {
    /// Its variables.
    pub variables: &'a Variables,
    /// GUIDs of all partitions of the machine; `None` when some disk could not be read, so that nothing is taken for
    /// vanished.
    pub partitions: Option<BTreeSet<[u8; 16]>>,
}

/// Creates the entry, or ensures the removable path when the firmware takes none. `warn` hears why.
pub fn set(
    disk: &BootDisk<'_>,
    firmware: &Firmware<'_>,
    label: Option<&str>,
    warn: &mut dyn FnMut(String),
) -> Result<SetBootEntryResult, BootEntryError> {
    let esp_error = |source| BootEntryError::Esp { device: disk.name.clone(), source };
    let fat = esp::open(disk.file, &disk.esp).map_err(esp_error)?;
    let loader = loader::find(&fat)
        .map_err(esp_error)?
        .ok_or_else(|| BootEntryError::NoLoader { device: disk.name.clone() })?;
    let label = clean_label(loader.label.as_deref().or(label).unwrap_or(DEFAULT_LABEL));
    let option = load_option::encode(&label, &disk.esp, &loader.firmware_path(), &loader.options);
    match put_first(firmware, &label, &disk.esp, &option, warn) {
        Ok(number) => {
            return Ok(SetBootEntryResult {
                method: BootEntryMethod::UefiEntry,
                loader: Some(loader.firmware_path()),
                entry: Some(entry_name(number)),
                label: Some(label),
            });
        }
        Err(error) => warn(format!(
            "no boot entry could be made, the removable path is used instead: {:#}",
            anyhow::Error::from(error)
        )),
    }
    removable(disk, fat, &loader)
}

fn removable(
    disk: &BootDisk<'_>,
    fat: esp::Fat<'_>,
    loader: &Loader,
) -> Result<SetBootEntryResult, BootEntryError> {
    let error = |source| BootEntryError::Removable {
        device: disk.name.clone(),
        loader: loader.firmware_path(),
        source,
    };
    let there = loader::ensure_removable(&fat, loader).map_err(|source| error(Some(source)))?;
    fat.unmount().and_then(|()| disk.file.sync_all()).map_err(|source| error(Some(source)))?;
    if !there {
        return Err(error(None));
    }
    let path = loader::removable_path();
    Ok(SetBootEntryResult {
        method: BootEntryMethod::RemovablePath,
        loader: Some(Loader { path, label: None, options: String::new() }.firmware_path()),
        entry: None,
        label: None,
    })
}

/// Writes the entry unless it is there, removes stale ones, puts it first.
fn put_first(
    firmware: &Firmware<'_>,
    label: &str,
    esp: &Partition,
    option: &[u8],
    warn: &mut dyn FnMut(String),
) -> Result<u16, VariableError> {
    let variables = firmware.variables;
    let numbers = variables.entries()?;
    let order = variables.boot_order()?;
    let mut ours = None;
    let mut stale = Vec::new();
    for number in &numbers {
        let Some(bytes) = variables.read(&entry_name(*number))? else { continue };
        if bytes == option && ours.is_none() {
            ours = Some(*number);
        } else if is_stale(&bytes, firmware, label, esp) {
            stale.push(*number);
        }
    }
    let mut removed = BTreeSet::new();
    for number in stale {
        match variables.remove_entry(number) {
            Ok(()) => {
                removed.insert(number);
            }
            Err(error) => warn(format!("{:#}", anyhow::Error::from(error))),
        }
    }
    let (number, new) = match ours {
        Some(number) => (number, false),
        None => {
            let taken = |number: &u16| numbers.contains(number) && !removed.contains(number);
            let free = (0..=u16::MAX).find(|number| !taken(number)).ok_or(VariableError::Full)?;
            variables.write_entry(free, option)?;
            (free, true)
        }
    };
    let rest = order.into_iter().filter(|other| *other != number && !removed.contains(other));
    let order: Vec<u16> = [number].into_iter().chain(rest).collect();
    if let Err(error) = variables.set_boot_order(&order) {
        // An entry that is in no order only fills the firmware's memory.
        if new && let Err(error) = variables.remove_entry(number) {
            warn(format!("{:#}", anyhow::Error::from(error)));
        }
        return Err(error);
    }
    Ok(number)
}

/// An entry of the same label for this partition or for one that is gone.
fn is_stale(option: &[u8], firmware: &Firmware<'_>, label: &str, esp: &Partition) -> bool {
    let Some(existing) = load_option::parse(option) else { return false };
    let Some(partition) = existing.partition else { return false };
    let vanished = firmware.partitions.as_ref().is_some_and(|known| !known.contains(&partition));
    existing.label == label && (partition == esp.guid || vanished)
}

/// A label that every firmware shows: no control characters, not too long.
fn clean_label(label: &str) -> String {
    let label: String = label.chars().filter(|c| !c.is_control()).take(LONGEST_LABEL).collect();
    if label.trim().is_empty() { DEFAULT_LABEL.to_owned() } else { label }
}

#[cfg(test)]
#[path = "boot_entry_tests.rs"]
mod tests;
