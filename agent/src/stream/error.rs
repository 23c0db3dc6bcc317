//! Why a write failed.

use bessemer_proto::{digest::Digest, step::ImageFormat};

use super::{ChecksumError, FetchError, Qcow2Error, detect, xz_streams, zstd_header};
use crate::disk::{TargetError, human_size};

/// Why an image did not reach the disk.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server or the way to it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The checksum file.
    #[error("the checksum file could not be fetched")]
    ChecksumFile(#[source] FetchError),
    /// The checksum file says nothing of the image.
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    /// A small file did not arrive in time.
    #[error("{what} did not arrive in {seconds} seconds")]
    Late {
        /// Its URL.
        what: String,
        /// The deadline.
        seconds: u64,
    },
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
    /// Nothing says what the image must be.
    #[error("neither a digest nor a manifest says what the image must be: give one")]
    NoProof,
    /// A manifest could not be fetched.
    #[error("the manifest could not be fetched")]
    ManifestFile(#[source] FetchError),
    /// A manifest is none.
    #[error("the manifest {url} cannot be used")]
    Manifest {
        /// Where it came from.
        url: String,
        /// Why.
        #[source]
        source: bessemer_proto::manifest::ManifestError,
    },
    /// The manifest is not the one that was asked for.
    #[error(
        "the manifest {url} is not the one that was asked for: its digest is {got}, expected is {expected}"
    )]
    ManifestDigest {
        /// Where it came from.
        url: String,
        /// What was asked for.
        expected: Digest,
        /// What arrived.
        got: Digest,
    },
    /// The manifest is of another image.
    #[error("the manifest is of an image of {manifest} bytes, this one has {image}: make the manifest anew")]
    ManifestSize {
        /// What the manifest says.
        manifest: u64,
        /// What the image has.
        image: u64,
    },
    /// The manifest names another digest than the one that was asked for.
    #[error(
        "the manifest is of an image with the digest {manifest}, asked for is {expected}: give the manifest of this image"
    )]
    ManifestOfOther {
        /// What the manifest says.
        manifest: Digest,
        /// What was asked for.
        expected: Digest,
    },
    /// A manifest cannot help with this image.
    #[error("a manifest cannot be used with {0}: leave the manifest out")]
    ManifestUse(&'static str),
    /// A range is not what the manifest says.
    #[error(
        "{length} bytes at byte {offset} of the image do not have the digest that the manifest has for them, after {attempts} attempts; check the image and its manifest"
    )]
    Range {
        /// Where in the raw image.
        offset: u64,
        /// How much.
        length: u64,
        /// How often it was fetched.
        attempts: u32,
    },
    /// The disk does not hold what was written.
    #[error(
        "{device} does not hold what was written to it: {length} bytes at byte {offset} read back differently; replace the disk"
    )]
    ReadBack {
        /// The disk.
        device: String,
        /// Where.
        offset: u64,
        /// How much was compared.
        length: u64,
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
    #[error(
        "the image is {0}, which this agent cannot write: convert it to a raw image, packed with gzip, xz, zstd, bzip2 or lz4 or not at all"
    )]
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
    /// zstd or lz4, but which?
    #[error(
        "the image begins with skippable frames, which zstd and lz4 share, and neither follows within {}; declare which it is",
        human_size(detect::SKIPPABLE_LOOK_AHEAD as u64)
    )]
    Undecided,
    /// A format whose content is not in the order of its bytes.
    #[error("the image is {}, which cannot be unpacked in stream", .0.name())]
    NotInStream(ImageFormat),
    /// A Zstandard frame wants too much memory.
    #[error(
        "the zstd image needs a window of {} to unpack, more than the {} allowed; pack it without --long, or with --long=25",
        human_size(*.needed), human_size(zstd_header::LARGEST_WINDOW)
    )]
    Window {
        /// Window of the frame.
        needed: u64,
    },
    /// An xz stream wants too much memory.
    #[error(
        "the xz image needs {} of memory to unpack, more than the {} allowed; pack it with -8 or less, or with --lzma2=dict=32MiB",
        human_size(*.needed), human_size(xz_streams::LARGEST_MEMORY)
    )]
    XzMemory {
        /// What the decoder wants.
        needed: u64,
    },
    /// A frame needs a dictionary.
    #[error("the {} image needs a dictionary; pack it without one", .0.name())]
    Dictionary(ImageFormat),
    /// It is qcow2, and damaged or of a kind that is not taken.
    #[error(transparent)]
    Qcow2(#[from] Qcow2Error),
}
