//! Recognizes what an image is by its first bytes.

use bessemer_proto::step::ImageFormat;

use super::{
    DecodeError, StreamError, bzip2_streams,
    chunks::{ChunkReader, Chunks},
    gzip, lz4_frames, lz4_header, skippable, xz_streams, zstd_header,
};

/// What this agent unpacks.
const KNOWN: [(&[u8], ImageFormat); 6] = [
    (gzip::MAGIC, ImageFormat::Gzip),
    (xz_streams::MAGIC, ImageFormat::Xz),
    (&zstd_header::MAGIC, ImageFormat::Zstd),
    (bzip2_streams::MAGIC, ImageFormat::Bzip2),
    (&lz4_header::MAGIC, ImageFormat::Lz4),
    (b"QFI\xfb", ImageFormat::Qcow2),
];

/// What is recognized only to be named in an error.
const FOREIGN: [(&[u8], &str); 8] = [
    (&lz4_header::LEGACY_MAGIC, lz4_frames::LEGACY),
    (b"KDMV", "VMDK"),
    (b"# Disk DescriptorFile", "VMDK"),
    (b"vhdxfile", "VHDX"),
    (b"conectix", "VHD"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x9d", "compress (.Z)"),
];

/// Enough to recognize everything above and to read a frame header.
const LOOK_AHEAD: usize = 32;
/// How far skippable frames are followed to see whether zstd or lz4 comes after them.
pub(super) const SKIPPABLE_LOOK_AHEAD: usize = 64 << 10;

/// What the content is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Detected {
    pub(super) format: ImageFormat,
    /// Length of the content of the first frame, when it says so.
    pub(super) content: Option<u64>,
}

/// What the first bytes say.
#[derive(Clone, Copy)]
enum Content {
    /// A format of the step, from this place on.
    Known(ImageFormat, usize),
    /// Another format.
    Foreign(&'static str),
    /// zstd or lz4: nothing but skippable frames as far as the look-ahead goes.
    Skippable,
    /// None of them.
    Raw,
}

/// Looks at the first bytes, takes none, and decides. A declaration that differs from the content is an error; it
/// decides only between the two formats that begin alike.
pub(super) fn detect<S: Chunks>(
    reader: &mut ChunkReader<S>,
    declared: ImageFormat,
) -> Result<Detected, StreamError> {
    let mut head = reader.peek(LOOK_AHEAD)?;
    if head.is_empty() {
        return Err(StreamError::Empty);
    }
    if skippable::length(head).is_some() {
        head = reader.peek(SKIPPABLE_LOOK_AHEAD)?;
    }
    let content = classify(head);
    let format = decide(content, declared)?;
    let start = if let Content::Known(_, start) = content { start } else { 0 };
    let first = head.get(start..).unwrap_or_default();
    let content = match format {
        ImageFormat::Zstd => zstd_header::FrameHeader::parse(first).and_then(|header| header.content),
        ImageFormat::Lz4 => lz4_header::FrameHeader::parse(first).ok().and_then(|header| header.content),
        _ => None,
    };
    Ok(Detected { format, content })
}

fn classify(head: &[u8]) -> Content {
    let mut start = 0;
    let mut rest = head;
    while let Some(length) = skippable::length(rest) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match rest.get(length..) {
            Some(next) => rest = next,
            None => return Content::Skippable,
        }
        start += length;
    }
    let known = KNOWN.iter().find(|(magic, _)| rest.starts_with(magic)).map(|(_, format)| *format);
    match known {
        Some(format @ (ImageFormat::Zstd | ImageFormat::Lz4)) => Content::Known(format, start),
        _ if start > 0 => Content::Skippable,
        Some(format) => Content::Known(format, 0),
        None => match FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
            Some((_, name)) => Content::Foreign(name),
            None => Content::Raw,
        },
    }
}

fn decide(content: Content, declared: ImageFormat) -> Result<ImageFormat, DecodeError> {
    let mismatch = |found| DecodeError::Mismatch { declared, found };
    match (content, declared) {
        (Content::Known(format, _), ImageFormat::Auto) => Ok(format),
        (Content::Known(format, _), declared) if declared == format => Ok(format),
        (Content::Known(format, _), _) => Err(mismatch(format.name())),
        (Content::Foreign(name), ImageFormat::Auto) => Err(DecodeError::Unsupported(name)),
        (Content::Foreign(name), _) => Err(mismatch(name)),
        (Content::Skippable, ImageFormat::Zstd | ImageFormat::Lz4) => Ok(declared),
        (Content::Skippable, ImageFormat::Auto) => Err(DecodeError::Undecided),
        (Content::Skippable, _) => Err(mismatch("zstd or lz4")),
        (Content::Raw, ImageFormat::Auto | ImageFormat::Raw) => Ok(ImageFormat::Raw),
        (Content::Raw, _) => Err(mismatch("not packed (raw)")),
    }
}
