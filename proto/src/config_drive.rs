//! What both ends must agree on about config drives: how large one may be, and which file systems one may have.

/// Largest config drive, unpacked: Ironic's limit.
pub const MAX_BYTES: usize = 64 << 20;

/// Label by which operating systems find it, in either case.
pub const LABEL: &str = "config-2";

/// Where the primary volume descriptor of an ISO 9660 file system is (ECMA-119, 6.2.1 and 8.4).
const ISO_DESCRIPTOR: usize = 16 * 2048;
const ISO_LABEL: std::ops::Range<usize> = ISO_DESCRIPTOR + 40..ISO_DESCRIPTOR + 72;
/// As much of a file system as [`FileSystem::of`] and [`label`] look at.
pub const HEAD_BYTES: usize = ISO_DESCRIPTOR + 2048;

/// A file system that a config drive may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ISO 9660.
    Iso9660,
    /// FAT12, FAT16 or FAT32.
    Vfat,
}

impl FileSystem {
    /// What `bytes` begin with; `None` when it is neither.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.len() >= HEAD_BYTES && bytes[ISO_DESCRIPTOR..].starts_with(b"\x01CD001") {
            return Some(Self::Iso9660);
        }
        fat_label(bytes).map(|_| Self::Vfat)
    }
}

/// The label of the file system that `bytes` begin with, without the blanks behind it.
#[must_use]
pub fn label(bytes: &[u8]) -> Option<String> {
    let field = match FileSystem::of(bytes)? {
        FileSystem::Iso9660 => bytes.get(ISO_LABEL)?,
        FileSystem::Vfat => fat_label(bytes)?,
    };
    Some(String::from_utf8_lossy(field).trim_end_matches([' ', '\0']).to_owned())
}

/// The label field of a FAT boot sector (Microsoft FAT specification 1.03, section 3).
fn fat_label(bytes: &[u8]) -> Option<&[u8]> {
    let jumps = matches!(bytes.first()?, 0xeb | 0xe9);
    if !jumps || bytes.get(510..512)? != [0x55, 0xaa] {
        return None;
    }
    let at = |name: usize, label: usize, kind: &[u8]| {
        bytes.get(name..)?.starts_with(kind).then(|| bytes.get(label..label + 11)).flatten()
    };
    at(54, 43, b"FAT1").or_else(|| at(82, 71, b"FAT32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fat(name_at: usize, kind: &[u8], label_at: usize) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[0] = 0xeb;
        bytes[510..].copy_from_slice(&[0x55, 0xaa]);
        bytes[name_at..name_at + kind.len()].copy_from_slice(kind);
        bytes[label_at..label_at + 11].copy_from_slice(b"CONFIG-2   ");
        bytes
    }

    #[test]
    fn knows_file_systems_and_their_labels() {
        let mut iso = vec![0; HEAD_BYTES];
        iso[ISO_DESCRIPTOR..ISO_DESCRIPTOR + 6].copy_from_slice(b"\x01CD001");
        iso[ISO_LABEL].copy_from_slice(b"config-2                        ");
        assert_eq!(
            (FileSystem::of(&iso), label(&iso).as_deref()),
            (Some(FileSystem::Iso9660), Some("config-2"))
        );
        for image in [fat(54, b"FAT12   ", 43), fat(54, b"FAT16   ", 43), fat(82, b"FAT32   ", 71)] {
            assert_eq!(
                (FileSystem::of(&image), label(&image).as_deref()),
                (Some(FileSystem::Vfat), Some("CONFIG-2"))
            );
        }
    }

    #[test]
    fn anything_else_is_nothing() {
        for bytes in [&b""[..], b"\xeb", &[0; 512], &[0xeb; HEAD_BYTES], &[0x55; 511]] {
            assert_eq!((FileSystem::of(bytes), label(bytes)), (None, None));
        }
        // An MBR is no FAT.
        let mut mbr = vec![0; 512];
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(FileSystem::of(&mbr), None);
    }
}
