//! What a file is, by its first bytes.

use std::{fs::File, io, os::unix::fs::FileExt as _};

const MAGIC: [(&[u8], Content); 17] = [
    (b"QFI\xfb", Content::Qcow2),
    (b"\x1f\x8b", Content::Packed("gzip")),
    (b"\xfd7zXZ\0", Content::Packed("xz")),
    (b"\x28\xb5\x2f\xfd", Content::Packed("zstd")),
    (b"BZh", Content::Packed("bzip2")),
    (b"\x04\x22\x4d\x18", Content::Packed("lz4")),
    (b"\x02\x21\x4c\x18", Content::Packed("lz4")),
    (b"\x89LZO\0", Content::Packed("lzop")),
    (b"\x1f\x9d", Content::Packed("compress (.Z)")),
    (b"PK\x03\x04", Content::Packed("zip")),
    (b"7z\xbc\xaf\x27\x1c", Content::Packed("7z")),
    (b"KDMV", Content::Packed("VMDK")),
    (b"COWD", Content::Packed("VMDK")),
    (b"# Disk DescriptorFile", Content::Packed("VMDK")),
    (b"vhdxfile", Content::Packed("VHDX")),
    (b"conectix", Content::Packed("VHD")),
    (b"<<< ", Content::Packed("VDI")),
];

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The bytes of the disk, as far as its beginning tells.
    Raw,
    Qcow2,
    /// The disk in some other form.
    Packed(&'static str),
}

impl Content {
    /// Reads the beginning of a file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let mut head = [0; 32];
        let length = file.read_at(&mut head, 0)?;
        Ok(Self::of_bytes(head.get(..length).unwrap_or_default()))
    }

    fn of_bytes(head: &[u8]) -> Self {
        // Zstandard's skippable frames have sixteen numbers: a seekable file may begin with one.
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] = head {
            return Self::Packed("zstd");
        }
        MAGIC
            .iter()
            .find_map(|(magic, content)| head.starts_with(magic).then_some(*content))
            .unwrap_or(Self::Raw)
    }

    /// In messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Packed(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_tell() {
        assert_eq!(Content::of_bytes(b""), Content::Raw);
        assert_eq!(Content::of_bytes(&[0xeb, 0x63, 0x90]), Content::Raw);
        assert_eq!(Content::of_bytes(b"QFI\xfb\0\0\0\x03"), Content::Qcow2);
        assert_eq!(Content::of_bytes(&[0x1f, 0x8b, 8]).name(), "gzip");
        assert_eq!(Content::of_bytes(&[0x5e, 0x2a, 0x4d, 0x18, 1]).name(), "zstd");
    }
}
