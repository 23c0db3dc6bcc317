//! Recognizes what an image is by its first bytes.

use bessemer_proto::{image_magic::Beginning, step::ImageFormat};

use super::{
    DecodeError, StreamError,
    chunks::{ChunkReader, Chunks},
    lz4_header, skippable, zstd_header,
};

/// Enough to recognize everything and to read a frame header.
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
    match Beginning::of(rest) {
        Some(Beginning::Format(format @ (ImageFormat::Zstd | ImageFormat::Lz4))) => {
            Content::Known(format, start)
        }
        Some(Beginning::Skippable) => Content::Skippable,
        _ if start > 0 => Content::Skippable,
        Some(Beginning::Format(format)) => Content::Known(format, 0),
        Some(Beginning::Foreign(name)) => Content::Foreign(name),
        None => Content::Raw,
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
        (Content::Skippable, _) => Err(mismatch(Beginning::Skippable.name())),
        (Content::Raw, ImageFormat::Auto | ImageFormat::Raw) => Ok(ImageFormat::Raw),
        (Content::Raw, _) => Err(mismatch("not packed (raw)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{bzip2_streams, gzip, lz4_frames, xz_header};

    #[test]
    fn what_the_decoders_begin_with_is_what_is_recognized() {
        for (magic, format) in [
            (gzip::MAGIC, ImageFormat::Gzip),
            (xz_header::MAGIC, ImageFormat::Xz),
            (&zstd_header::MAGIC, ImageFormat::Zstd),
            (bzip2_streams::MAGIC, ImageFormat::Bzip2),
            (&lz4_header::MAGIC, ImageFormat::Lz4),
        ] {
            assert_eq!(Beginning::of(magic), Some(Beginning::Format(format)));
        }
        let legacy = Beginning::of(&lz4_header::LEGACY_MAGIC);
        assert_eq!(legacy, Some(Beginning::Foreign(lz4_frames::LEGACY)));
    }

    #[test]
    fn a_skippable_frame_without_room_for_its_length_is_not_raw() {
        assert!(matches!(classify(&[0x50, 0x2a, 0x4d, 0x18]), Content::Skippable));
    }
}
