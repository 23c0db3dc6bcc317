//! The parameters file on a FAT medium, read in user space: nothing is mounted.

use std::io::{self, Read, Seek, SeekFrom};

use bessemer_proto::boot_parameters::{FILE_NAME, MAX_BYTES, MEDIUM_LABEL};
use fatfs::{FileSystem, FsOptions};

use super::medium::{Budget, read_bounded};

/// Bytes that may be read in all to find one small file.
const BUDGET: u64 = 16 * 1024 * 1024;
const SECTOR: usize = 512;

/// The content of the parameters file; `None` when the medium is no FAT medium with our label.
pub(super) fn read(mut medium: impl Read + Seek) -> io::Result<Option<Vec<u8>>> {
    medium.seek(SeekFrom::Start(0))?;
    let mut sector = [0; SECTOR];
    match medium.read_exact(&mut sector) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    if !looks_like_fat(&sector) {
        return Ok(None);
    }
    medium.seek(SeekFrom::Start(0))?;
    // Other people's FAT media, damaged or not, are none of our business.
    let Ok(filesystem) = FileSystem::new(Budget::new(medium, BUDGET), FsOptions::new()) else {
        return Ok(None);
    };
    let in_root = filesystem.read_volume_label_from_root_dir().ok().flatten().unwrap_or_default();
    let is_ours = |label: &str| label.trim().eq_ignore_ascii_case(MEDIUM_LABEL);
    if !is_ours(&in_root) && !is_ours(&filesystem.volume_label()) {
        return Ok(None);
    }
    let file = filesystem.root_dir().open_file(FILE_NAME)?;
    read_bounded(file, MAX_BYTES + 1).map(Some)
}

/// A boot sector as every FAT formatter writes it: signature, a jump, a power of two as sector size.
fn looks_like_fat(sector: &[u8; SECTOR]) -> bool {
    let bytes_per_sector = u16::from_le_bytes([sector[11], sector[12]]);
    sector[510..] == [0x55, 0xaa]
        && (sector[0] == 0xeb || sector[0] == 0xe9)
        && [512, 1024, 2048, 4096].contains(&bytes_per_sector)
}
