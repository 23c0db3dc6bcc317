//! What a file is, by its first bytes.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use bessemer_proto::{
    image_magic::{Beginning, HEAD},
    step::ImageFormat,
};

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
        let mut head = [0; HEAD];
        let length = file.read_at(&mut head, 0)?;
        Ok(match Beginning::of(head.get(..length).unwrap_or_default()) {
            None => Self::Raw,
            Some(Beginning::Format(ImageFormat::Qcow2)) => Self::Qcow2,
            Some(other) => Self::Packed(other.name()),
        })
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
