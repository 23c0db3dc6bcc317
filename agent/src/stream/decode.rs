//! Unpacks an image. The content decides what it is; a declaration that differs is an error.

use std::io::Read;

use bessemer_proto::step::ImageFormat;

use super::{
    DecodeError, StreamError,
    chunks::{ChunkReader, Chunks},
    gzip::{self, GzipMembers},
    zstd_frames::{self, FrameHeader, ZstdFrames},
};

/// Formats that are recognized only to be named in an error.
const FOREIGN: [(&[u8], &str); 11] = [
    (b"QFI\xfb", "qcow2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"KDMV", "VMDK"),
    (b"# Disk DescriptorFile", "VMDK"),
    (b"vhdxfile", "VHDX"),
    (b"conectix", "VHD"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x9d", "compress (.Z)"),
];

/// Enough of the stream to recognize everything above and to read a zstd frame header.
const LOOK_AHEAD: usize = 32;

/// Unpacks a stream.
pub struct Decoder<S> {
    format: ImageFormat,
    known_content: Option<u64>,
    bytes: u64,
    kind: Kind<S>,
}

enum Kind<S> {
    Raw(ChunkReader<S>),
    Gzip(GzipMembers<S>),
    Zstd(Box<ZstdFrames<S>>),
}

impl<S: Chunks> Decoder<S> {
    /// Looks at the first bytes and decides.
    pub fn open(source: S, declared: ImageFormat) -> Result<Self, StreamError> {
        let mut reader = ChunkReader::new(source);
        let head = reader.peek(LOOK_AHEAD)?;
        if head.is_empty() {
            return Err(StreamError::Empty);
        }
        let format = detect(head, declared)?;
        let known_content = if format == ImageFormat::Zstd {
            FrameHeader::parse(head).and_then(|header| header.content)
        } else {
            None
        };
        let kind = match format {
            ImageFormat::Gzip => Kind::Gzip(GzipMembers::new(reader)),
            ImageFormat::Zstd => {
                let frames = ZstdFrames::new(reader).map_err(|source| DecodeError::Corrupt {
                    format,
                    bytes: 0,
                    source,
                })?;
                Kind::Zstd(Box::new(frames))
            }
            _ => Kind::Raw(reader),
        };
        Ok(Self { format, known_content, bytes: 0, kind })
    }

    /// What the content is.
    pub fn format(&self) -> ImageFormat {
        self.format
    }

    /// Least length of the unpacked image, when the packed one says so.
    pub fn known_content(&self) -> Option<u64> {
        self.known_content
    }

    /// Fills `buffer`; less only at the end of the image.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let (format, bytes) = (self.format, self.bytes);
        let corrupt = |source| DecodeError::Corrupt { format, bytes, source }.into();
        let count = match &mut self.kind {
            Kind::Raw(reader) => match reader.read(buffer) {
                Ok(count) => count,
                Err(error) => return Err(reader.take_error().unwrap_or_else(|| corrupt(error))),
            },
            Kind::Gzip(members) => members.read(buffer).map_err(|failure| match failure {
                gzip::Failure::Stream(error) => error,
                gzip::Failure::Corrupt(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                    DecodeError::Truncated { format, bytes }.into()
                }
                gzip::Failure::Corrupt(source) => corrupt(source),
                gzip::Failure::Garbage => DecodeError::TrailingGarbage { format }.into(),
            })?,
            Kind::Zstd(frames) => frames.read(buffer).map_err(|failure| match failure {
                zstd_frames::Failure::Stream(error) => error,
                zstd_frames::Failure::Corrupt(source) => corrupt(source),
                zstd_frames::Failure::Truncated => DecodeError::Truncated { format, bytes }.into(),
                zstd_frames::Failure::Garbage => DecodeError::TrailingGarbage { format }.into(),
                zstd_frames::Failure::Window(needed) => DecodeError::Window { needed }.into(),
                zstd_frames::Failure::Dictionary => DecodeError::Dictionary.into(),
            })?,
        };
        self.bytes += count as u64;
        Ok(count)
    }
}

pub(super) fn detect(head: &[u8], declared: ImageFormat) -> Result<ImageFormat, DecodeError> {
    let packed = if head.starts_with(gzip::MAGIC) {
        Some((ImageFormat::Gzip, "gzip"))
    } else if zstd_frames::is_frame(head) {
        Some((ImageFormat::Zstd, "zstd"))
    } else {
        None
    };
    let foreign = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
    match (declared, packed, foreign) {
        (ImageFormat::Auto, Some((format, _)), _) => Ok(format),
        (ImageFormat::Auto, None, Some(name)) => Err(DecodeError::Unsupported(name)),
        (ImageFormat::Auto | ImageFormat::Raw, None, None) => Ok(ImageFormat::Raw),
        (declared, Some((format, _)), _) if declared == format => Ok(format),
        (declared, Some((_, found)), _) | (declared, None, Some(found)) => {
            Err(DecodeError::Mismatch { declared, found })
        }
        (declared, None, None) => Err(DecodeError::Mismatch { declared, found: "not packed (raw)" }),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
