//! The write path: image bytes from a server to a disk, one adapter per file.
//!
//! [`fetch`] → [`digest`] (bytes as served) → [`decode`] → [`write`](mod@write) with the boot area held back by [`held_back`].
//! [`pipeline`] puts each on its own thread with bounded queues between them. The boot area of the disk is written
//! by one function, which takes a [`digest::Verified`]; nothing but the digest adapter can make one.
//! Nothing here knows steps or the controller.

pub mod buffer;
pub mod checksum_file;
pub mod chunks;
pub mod decode;
pub mod digest;
pub mod fetch;
mod gzip;
pub mod held_back;
pub mod pipeline;
pub mod placed;
pub mod progress;
pub mod qcow2;
pub mod random_access;
pub mod write;
mod zstd_frames;

use bessemer_proto::{digest::Digest, step::ImageFormat};

use crate::disk::{TargetError, human_size};

pub use checksum_file::ChecksumError;
pub use fetch::FetchError;
pub use qcow2::Qcow2Error;

/// Why an image did not reach the disk.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server or the way to it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The bytes are not the ones that were asked for.
    #[error(
        "the image is not the one that was asked for: {bytes} bytes from the server have the digest {got}, expected is {expected}; check the image and its checksum"
    )]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What arrived.
        got: Digest,
        /// How many bytes arrived.
        bytes: u64,
    },
    /// The bytes cannot be unpacked.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The disk.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The image does not fit.
    #[error("the image is larger than the disk: it has at least {} ({image} bytes), {device} has {} ({disk} bytes)", human_size(*image), human_size(*disk))]
    TooLarge {
        /// Least size of the image.
        image: u64,
        /// Size of the disk.
        disk: u64,
        /// The disk.
        device: String,
    },
    /// There is no byte in it.
    #[error("the image is empty")]
    Empty,
    /// It is no disk image.
    #[error(
        "the image has no partition table: neither GPT nor MBR is in its first sectors; it must be the image of a whole disk"
    )]
    NoPartitionTable,
    /// Its partition table is for other disks.
    #[error(
        "the image has a partition table for sectors of {image} bytes, {device} has sectors of {disk} bytes; use an image made for this disk"
    )]
    SectorSize {
        /// Sector size of the image.
        image: u32,
        /// Sector size of the disk.
        disk: u32,
        /// The disk.
        device: String,
    },
    /// It was told to stop.
    #[error("the write was cancelled")]
    Cancelled,
    /// A neighbouring stage ended early; that stage has the reason.
    #[error("a neighbouring stage of the write ended early")]
    Stopped,
    /// A stage panicked.
    #[error("the {0} stage of the write ended without a result; this is a bug, please report it")]
    Died(&'static str),
}

/// Why image bytes cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Content and declaration differ.
    #[error(
        "the image is declared as {}, but its content is {found}; correct the declaration or the image",
        .declared.name()
    )]
    Mismatch {
        /// What was declared.
        declared: ImageFormat,
        /// What the content is.
        found: &'static str,
    },
    /// A format that is not unpacked here.
    #[error("the image is {0}, which this agent cannot write: convert it to raw, gzip or zstd")]
    Unsupported(&'static str),
    /// The packed stream is damaged.
    #[error("the {} image is damaged after {bytes} bytes of its content", format.name())]
    Corrupt {
        /// The format.
        format: ImageFormat,
        /// How much was good.
        bytes: u64,
        /// The decoder's word.
        #[source]
        source: std::io::Error,
    },
    /// The packed stream ends too early.
    #[error("the {} image ends in the middle, after {bytes} bytes of its content", format.name())]
    Truncated {
        /// The format.
        format: ImageFormat,
        /// How much was good.
        bytes: u64,
    },
    /// Something follows the packed stream.
    #[error("the {} image is followed by bytes that do not belong to it", format.name())]
    TrailingGarbage {
        /// The format.
        format: ImageFormat,
    },
    /// A Zstandard frame wants too much memory.
    #[error(
        "the zstd image needs a window of {} to unpack, more than the {} allowed; pack it with --long=27 or less",
        human_size(*.needed), human_size(zstd_frames::LARGEST_WINDOW)
    )]
    Window {
        /// Window of the frame.
        needed: u64,
    },
    /// A Zstandard frame needs a dictionary.
    #[error("the zstd image needs a dictionary; pack it without one")]
    Dictionary,
    /// It is qcow2, and damaged or of a kind that is not taken.
    #[error(transparent)]
    Qcow2(#[from] Qcow2Error),
}
