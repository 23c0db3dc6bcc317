//! Unpacks an image. The content decides what it is; a declaration that differs is an error.

use bessemer_proto::step::ImageFormat;

use super::{
    DecodeError, StreamError,
    bzip2_streams::Bzip2Codec,
    chunks::{ChunkReader, Chunks},
    detect::{Detected, detect},
    gzip::GzipMembers,
    lz4_frames::Lz4Frames,
    placed::Scatter,
    unpack::{Failure, Members},
    xz_blocks::{self, Terms, Unpacked},
    xz_pool::Failed,
    xz_streams::XzCodec,
    zstd_frames::ZstdFrames,
    zstd_pool::Pool,
};

/// Unpacks a stream.
pub struct Decoder<S> {
    format: ImageFormat,
    known_content: Option<u64>,
    bytes: u64,
    /// After an error the stream never becomes complete.
    failed: bool,
    kind: Kind<S>,
}

enum Kind<S> {
    Raw(ChunkReader<S>),
    Gzip(GzipMembers<S>),
    Xz(Box<Members<S, XzCodec>>),
    Zstd(Box<ZstdFrames<S>>),
    Bzip2(Box<Members<S, Bzip2Codec>>),
    Lz4(Box<Lz4Frames<S>>),
}

impl<S: Chunks> Decoder<S> {
    /// Looks at the first bytes and decides.
    pub fn open(source: S, declared: ImageFormat) -> Result<Self, StreamError> {
        Self::open_with(source, declared, Pool::new)
    }

    fn open_with(source: S, declared: ImageFormat, pool: impl FnOnce() -> Pool) -> Result<Self, StreamError> {
        let mut reader = ChunkReader::new(source);
        let Detected { format, content: known_content } = detect(&mut reader, declared)?;
        let kind = match format {
            ImageFormat::Auto | ImageFormat::Raw => Kind::Raw(reader),
            ImageFormat::Gzip => Kind::Gzip(GzipMembers::new(reader)),
            ImageFormat::Xz => Kind::Xz(Box::new(Members::new(reader, XzCodec::default()))),
            ImageFormat::Zstd => {
                let frames = ZstdFrames::new(reader, pool());
                let corrupt = |source| DecodeError::Corrupt { format, bytes: 0, source };
                Kind::Zstd(Box::new(frames.map_err(corrupt)?))
            }
            ImageFormat::Bzip2 => Kind::Bzip2(Box::new(Members::new(reader, Bzip2Codec::default()))),
            ImageFormat::Lz4 => Kind::Lz4(Box::new(Lz4Frames::new(reader))),
            ImageFormat::Qcow2 => return Err(DecodeError::NotInStream(format).into()),
        };
        Ok(Self { format, known_content, bytes: 0, failed: false, kind })
    }

    /// What the content is.
    pub fn format(&self) -> ImageFormat {
        self.format
    }

    /// Least length of the unpacked image, when the packed one says so.
    pub fn known_content(&self) -> Option<u64> {
        self.known_content
    }

    /// Unpacks what can be unpacked side by side, wherever it belongs. [`Self::fill`] goes on behind it.
    pub(super) fn side_by_side(&mut self, out: &impl Scatter) -> Result<Unpacked, StreamError> {
        self.side_by_side_by(Terms::new(), out)
    }

    pub(super) fn side_by_side_by(
        &mut self,
        terms: Terms,
        out: &impl Scatter,
    ) -> Result<Unpacked, StreamError> {
        let Kind::Xz(streams) = &mut self.kind else { return Ok(Unpacked::default()) };
        let unpacked = xz_blocks::unpack(streams, terms, out).map_err(|Failed { at, failure, .. }| {
            self.bytes = at;
            self.fail(failure)
        })?;
        self.bytes = unpacked.content;
        Ok(unpacked)
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
        if self.failed {
            return Err(StreamError::Stopped);
        }
        let read = match &mut self.kind {
            Kind::Raw(reader) => reader.fill(buffer).map_err(Failure::Stream),
            Kind::Gzip(members) => members.read(buffer),
            Kind::Xz(streams) => streams.read(buffer),
            Kind::Zstd(frames) => frames.read(buffer),
            Kind::Bzip2(streams) => streams.read(buffer),
            Kind::Lz4(frames) => frames.read(buffer),
        };
        let count = read.map_err(|failure| self.fail(failure))?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn fail(&mut self, failure: Failure) -> StreamError {
        let (format, bytes) = (self.format, self.bytes);
        self.failed = true;
        match failure {
            Failure::Stream(error) => error,
            Failure::Corrupt(source) => DecodeError::Corrupt { format, bytes, source }.into(),
            Failure::Truncated => DecodeError::Truncated { format, bytes }.into(),
            Failure::Garbage => DecodeError::TrailingGarbage { format }.into(),
            Failure::Refused(error) => error.into(),
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "decode_memory_tests.rs"]
mod memory_tests;
