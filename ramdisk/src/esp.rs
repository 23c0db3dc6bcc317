//! The FAT image that UEFI firmware boots from: shim, GRUB, and a configuration that leads to our ISO.

use std::io::{self, Cursor, Write as _};

use fatfs::{Date, DateTime, Dir, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};

const SECTOR: usize = 512;
const ROOM_FOR_TABLES: usize = 256 * 1024;
const ROUND_TO: usize = 64 * 1024;
const LABEL: [u8; 11] = *b"BESSEMER   ";

/// A clock that stands still: FAT cannot say anything before 1980, and nobody needs the date.
#[derive(Debug)]
struct StoppedClock;

impl TimeProvider for StoppedClock {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// Makes an image of files, each with its path. `volume_id` is the serial number of the file system.
pub fn image(files: &[(&str, &[u8])], volume_id: u32) -> io::Result<Vec<u8>> {
    let content: usize = files.iter().map(|(_, bytes)| bytes.len().next_multiple_of(4096) + 4096).sum();
    let bytes = (content + ROOM_FOR_TABLES).next_multiple_of(ROUND_TO);
    let sectors = u32::try_from(bytes / SECTOR).map_err(io::Error::other)?;
    let mut disk = Cursor::new(vec![0; bytes]);
    let options = FormatVolumeOptions::new()
        .total_sectors(sectors)
        .bytes_per_cluster(2048)
        .volume_id(volume_id)
        .volume_label(LABEL);
    fatfs::format_volume(&mut disk, options)?;
    let system = FileSystem::new(&mut disk, FsOptions::new().time_provider(&StoppedClock))?;
    for (path, content) in files {
        put(&system.root_dir(), path, content)?;
    }
    system.unmount()?;
    Ok(disk.into_inner())
}

fn put<D: fatfs::ReadWriteSeek>(root: &Dir<'_, D>, path: &str, content: &[u8]) -> io::Result<()> {
    for (end, _) in path.match_indices('/') {
        root.create_dir(&path[..end])?;
    }
    let mut file = root.create_file(path)?;
    file.write_all(content)?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn files_can_be_read_back_and_equal_files_make_equal_images() {
        let large = vec![7; 3_000_001];
        let files: [(&str, &[u8]); 2] =
            [("EFI/BOOT/BOOTX64.EFI", &large), ("boot/grub/grub.cfg", b"set x=1\n")];
        let made = image(&files, 5).unwrap();
        assert_eq!(made, image(&files, 5).unwrap());
        let system = FileSystem::new(Cursor::new(made), FsOptions::new()).unwrap();
        assert_eq!(system.volume_id(), 5);
        for (path, content) in files {
            let mut bytes = Vec::new();
            system.root_dir().open_file(path).unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes == content, "{path}");
        }
    }
}
