//! The parameters medium: a floppy of 1.44 MB with FAT12, one file on it.

use std::io::{self, Cursor, Write as _};

use bessemer_proto::boot_parameters::{FILE_NAME, MEDIUM_LABEL};
use bytes::Bytes;
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};

const SECTORS: u32 = 2880;
const SECTOR_BYTES: u16 = 512;

/// The medium's bytes.
pub(super) fn image(parameters: &str) -> io::Result<Bytes> {
    let mut bytes = vec![0_u8; SECTORS as usize * usize::from(SECTOR_BYTES)];
    let geometry = FormatVolumeOptions::new()
        .bytes_per_sector(SECTOR_BYTES)
        .bytes_per_cluster(u32::from(SECTOR_BYTES))
        .total_sectors(SECTORS)
        .fat_type(FatType::Fat12)
        .max_root_dir_entries(224)
        .media(0xf0)
        .sectors_per_track(18)
        .heads(2)
        .drive_num(0)
        .volume_label(label());
    format_volume(Cursor::new(&mut bytes[..]), geometry)?;
    let medium = FileSystem::new(Cursor::new(&mut bytes[..]), FsOptions::new())?;
    let mut file = medium.root_dir().create_file(FILE_NAME)?;
    file.write_all(parameters.as_bytes())?;
    file.flush()?;
    drop(file);
    medium.unmount()?;
    Ok(Bytes::from(bytes))
}

/// The label as FAT keeps it: eleven characters, filled with spaces.
fn label() -> [u8; 11] {
    let mut label = [b' '; 11];
    for (to, from) in label.iter_mut().zip(MEDIUM_LABEL.bytes()) {
        *to = from;
    }
    label
}
