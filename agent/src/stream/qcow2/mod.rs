//! Reads qcow2 images of version 2 and 3 while they pass, without a temporary file.
//!
//! The format is the one of QEMU's `docs/interop/qcow2` ("the specification"). Its tables may lie behind the data
//! they describe, so they are read first, by range requests: [`layout`] makes a list of what each part of the file
//! is. Then the file passes once, in its own order and through the digest, and [`scatter`] says of each piece where
//! on the disk it belongs. The tables pass too, and must be the ones that were read; so the digest proves them.
//!
//! [`header`] and `entry` parse, [`map`] holds the list, `cluster` and `unpack` inflate clusters. Images come from anywhere:
//! every number is checked, memory is bounded by [`map::LARGEST_MAP`], work by the length of the file and of the disk.

mod cluster;
mod entry;
mod fuzz;
mod head;
pub mod header;
pub mod layout;
pub mod map;
pub mod scatter;
mod unpack;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod qemu_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod test_images;

use std::io;

use super::StreamError;

pub use fuzz::fuzz_layout;
pub use map::Layout;
pub use scatter::Qcow2Scatter;

/// Why a qcow2 image is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The magic bytes are missing.
    #[error("the image is not qcow2: it does not start with the magic bytes of that format")]
    NotQcow2,
    /// The file is too short for what it says.
    #[error(
        "the qcow2 image ends at byte {length}, before its {what} is complete; it was cut off, copy it again"
    )]
    Truncated {
        /// What is missing.
        what: &'static str,
        /// Length of the file.
        length: u64,
    },
    /// Neither version 2 nor 3.
    #[error("the image is qcow2 of version {0}, only 2 and 3 are known; convert it with qemu-img convert")]
    Version(u32),
    /// It uses what cannot be read from one file, or is not known.
    #[error("the qcow2 image {0}; make an image of its own with: qemu-img convert -O qcow2 OLD NEW")]
    Unsupported(&'static str),
    /// An incompatible feature that is not known.
    #[error(
        "the qcow2 image uses the incompatible feature of bit {0}, which is not known here; convert it with: qemu-img convert -O qcow2 OLD NEW"
    )]
    Feature(u32),
    /// A field of the header cannot be right.
    #[error("the header of the qcow2 image is damaged: {field} is {value}; check it with qemu-img check")]
    Header {
        /// The field, named as in the specification.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The image or its disk is larger than can be handled.
    #[error(
        "the qcow2 image has a {field} of {value} bytes, too large for its clusters of {cluster} bytes; convert it with: qemu-img convert -O qcow2 -o cluster_size=2M OLD NEW"
    )]
    TooLarge {
        /// What is too large.
        field: &'static str,
        /// How large it is.
        value: u64,
        /// Its cluster size.
        cluster: u64,
    },
    /// An entry of an L1 or L2 table cannot be right.
    #[error(
        "the {table} table of the qcow2 image is damaged: its entry {entry:#018x} for byte {guest} of the disk {reason}; check the image with qemu-img check"
    )]
    Entry {
        /// `L1` or `L2`.
        table: &'static str,
        /// The entry.
        entry: u64,
        /// First byte of the disk that it stands for.
        guest: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// One part of the file is used twice.
    #[error(
        "the qcow2 image is damaged: byte {0} of the file is used for two purposes; check it with qemu-img check"
    )]
    Overlap(u64),
    /// The list of its parts would be too long.
    #[error(
        "the qcow2 image is too fragmented to be read in {} MiB of memory; write it anew with: qemu-img convert -O qcow2 OLD NEW", map::LARGEST_MAP >> 20
    )]
    TooFragmented,
    /// Two readings differ.
    #[error(
        "the qcow2 image changed on the server while it was read: byte {0} and what follows are not the same any more; try again when it is complete"
    )]
    Changed(u64),
    /// A compressed cluster cannot be unpacked.
    #[error(
        "the compressed cluster for byte {guest} of the disk is damaged in the qcow2 image; check it with qemu-img check"
    )]
    Cluster {
        /// First byte of the disk in it.
        guest: u64,
        /// The decoder's word.
        #[source]
        source: io::Error,
    },
}

impl From<Qcow2Error> for StreamError {
    fn from(error: Qcow2Error) -> Self {
        Self::Decode(error.into())
    }
}
