//! A config drive made of its parts: a FAT file system.
//!
//! Ironic makes an ISO 9660. A disk with sectors of 4096 bytes mounts no ISO, whose blocks have 2048; a FAT with sectors
//! of 4096 mounts from every disk, cloud-init and Ignition look for the label `config-2` on either, and the crate that
//! makes it is here already. The same parts make the same bytes: an agent may be given them twice.

use std::io::{self, Cursor, Write as _};

use bessemer_proto::config_drive::{LABEL, MAX_BYTES};
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use serde_json::{Map, Value};

use super::{ConfigDriveError, form::Parts};

const SECTOR_BYTES: u16 = 4096;
/// A folder's entry, its byte of attributes, and the value there that marks a piece of a long name.
const ENTRY_BYTES: usize = 32;
const ATTRIBUTES: usize = 11;
const LONG_NAME: u8 = 0x0f;
/// Boot sector, both FATs, the root folder and two more folders, with room to spare.
const OVERHEAD_BYTES: usize = 512 << 10;
/// Where operating systems look.
const FOLDERS: [&str; 2] = ["openstack", "latest"];

/// What `meta_data` says of the node when its author did not.
pub(super) struct Identity {
    pub(super) uuid: String,
    pub(super) name: Option<String>,
}

/// The image.
pub(super) fn image(parts: &Parts<'_>, identity: Option<&Identity>) -> Result<Vec<u8>, ConfigDriveError> {
    let files = files(parts, identity).map_err(|error| ConfigDriveError::Fat(error.into()))?;
    let sector = usize::from(SECTOR_BYTES);
    let content: usize = files.iter().map(|(_, content)| content.len().next_multiple_of(sector)).sum();
    let length = (content + OVERHEAD_BYTES).next_multiple_of(1 << 20);
    if length > MAX_BYTES {
        return Err(ConfigDriveError::TooLarge);
    }
    let mut bytes = vec![0; length];
    fill(&mut bytes, &files).map_err(ConfigDriveError::Fat)?;
    mend_folders(&mut bytes);
    Ok(bytes)
}

/// `fatfs` gives the entries `.` and `..` of a folder long names, before which they must not stand: takes these away.
fn mend_folders(bytes: &mut [u8]) {
    let sector = usize::from(SECTOR_BYTES);
    let word = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let (reserved, fats, root_entries, fat_sectors) = (word(14), usize::from(bytes[16]), word(17), word(22));
    let data = (reserved + fats * fat_sectors) * sector + root_entries * ENTRY_BYTES;
    // Made before all files, the folders have the first clusters.
    for folder in bytes[data..].chunks_exact_mut(sector).take(FOLDERS.len()) {
        let entries: Vec<[u8; ENTRY_BYTES]> = folder.as_chunks().0.to_vec();
        let is_dot = |entry: &[u8; ENTRY_BYTES]| {
            entry.starts_with(b".          ") || entry.starts_with(b"..         ")
        };
        let next = entries.iter().skip(1).map(Some).chain([None]);
        let kept = entries
            .iter()
            .zip(next)
            .filter(|(entry, next)| entry[ATTRIBUTES] != LONG_NAME || !next.is_some_and(is_dot));
        let mut mended: Vec<u8> = kept.flat_map(|(entry, _)| *entry).collect();
        mended.resize(sector, 0);
        folder.copy_from_slice(&mended);
    }
}

fn files(
    parts: &Parts<'_>,
    identity: Option<&Identity>,
) -> Result<Vec<(&'static str, Vec<u8>)>, serde_json::Error> {
    let mut files = vec![("meta_data.json", serde_json::to_vec(&meta_data(parts, identity))?)];
    if let Some(network_data) = parts.network_data {
        files.push(("network_data.json", serde_json::to_vec(network_data)?));
    }
    if let Some(vendor_data) = parts.vendor_data {
        files.push(("vendor_data2.json", serde_json::to_vec(vendor_data)?));
    }
    match parts.user_data {
        None => {}
        Some(Value::String(text)) => files.push(("user_data", text.clone().into_bytes())),
        Some(value) => files.push(("user_data", serde_json::to_vec(value)?)),
    }
    Ok(files)
}

fn meta_data(parts: &Parts<'_>, identity: Option<&Identity>) -> Map<String, Value> {
    let mut meta_data = parts.meta_data.cloned().unwrap_or_default();
    if let Some(identity) = identity {
        meta_data.entry("uuid").or_insert_with(|| identity.uuid.as_str().into());
        if let Some(name) = &identity.name {
            meta_data.entry("name").or_insert_with(|| name.as_str().into());
        }
    }
    meta_data
}

fn fill(bytes: &mut [u8], files: &[(&'static str, Vec<u8>)]) -> io::Result<()> {
    let mut label = [b' '; 11];
    for (to, from) in label.iter_mut().zip(LABEL.bytes()) {
        *to = from;
    }
    let geometry = FormatVolumeOptions::new()
        .bytes_per_sector(SECTOR_BYTES)
        .bytes_per_cluster(SECTOR_BYTES.into())
        .volume_label(label);
    format_volume(Cursor::new(&mut *bytes), geometry)?;
    let medium = FileSystem::new(Cursor::new(bytes), FsOptions::new())?;
    let mut folder = medium.root_dir();
    for name in FOLDERS {
        folder = folder.create_dir(name)?;
    }
    for (name, content) in files {
        let mut file = folder.create_file(name)?;
        file.write_all(content)?;
        file.flush()?;
    }
    drop(folder);
    medium.unmount()
}
