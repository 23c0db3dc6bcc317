//! What an image is, by its first bytes. One table, so that controller and agent never see different things in one file.

use crate::step::ImageFormat;

/// How much of a file's beginning decides.
pub const HEAD: usize = 32;

/// What the beginning of a file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// A format that agents write.
    Format(ImageFormat),
    /// Another format, recognized to be refused by name.
    Foreign(&'static str),
    /// A skippable frame: zstd and lz4 share them, and what follows tells which it is.
    Skippable,
}

use Beginning::{Foreign, Format, Skippable};

const TABLE: [(&[u8], Beginning); 17] = [
    (b"QFI\xfb", Format(ImageFormat::Qcow2)),
    // Deflate (8) is the only method there is.
    (b"\x1f\x8b\x08", Format(ImageFormat::Gzip)),
    (b"\xfd7zXZ\0", Format(ImageFormat::Xz)),
    (b"\x28\xb5\x2f\xfd", Format(ImageFormat::Zstd)),
    (b"BZh", Format(ImageFormat::Bzip2)),
    (b"\x04\x22\x4d\x18", Format(ImageFormat::Lz4)),
    (b"\x02\x21\x4c\x18", Foreign("lz4 in its legacy frame format")),
    (b"\x89LZO\0", Foreign("lzop")),
    (b"\x1f\x9d", Foreign("compress (.Z)")),
    (b"PK\x03\x04", Foreign("a zip archive")),
    (b"7z\xbc\xaf\x27\x1c", Foreign("a 7z archive")),
    (b"KDMV", Foreign("VMDK")),
    (b"COWD", Foreign("VMDK")),
    (b"# Disk DescriptorFile", Foreign("VMDK")),
    (b"vhdxfile", Foreign("VHDX")),
    (b"conectix", Foreign("VHD")),
    (b"<<< ", Foreign("VDI")),
];

impl Beginning {
    /// Looks at the first [`HEAD`] bytes; `None` is a raw image, as far as they tell.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        // The lowest four bits of the number are free.
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] = head {
            return Some(Skippable);
        }
        TABLE.iter().find_map(|(magic, beginning)| head.starts_with(magic).then_some(*beginning))
    }

    /// In messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format(format) => format.name(),
            Foreign(name) => name,
            Skippable => "zstd or lz4",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_tell() {
        for (head, expected) in [
            (b"".as_slice(), None),
            (&[0xeb, 0x63, 0x90], None),
            (&[0x1f, 0x8b, 7], None),
            (b"QFI\xfb\0\0\0\x03", Some("qcow2")),
            (&[0x1f, 0x8b, 8], Some("gzip")),
            (&[0x5e, 0x2a, 0x4d, 0x18, 1], Some("zstd or lz4")),
            (b"<<< Oracle VM VirtualBox Disk Image >>>", Some("VDI")),
        ] {
            assert_eq!(Beginning::of(head).map(Beginning::name), expected, "{head:?}");
        }
    }

    #[test]
    fn every_entry_is_found_in_the_head() {
        for (magic, beginning) in TABLE {
            assert!(magic.len() <= HEAD, "{}", beginning.name());
            assert_eq!(Beginning::of(magic), Some(beginning));
        }
    }
}
