//! Gzip (RFC 1952), all members, nothing else allowed after the last.

use std::io::{ErrorKind, Read};

use flate2::bufread::GzDecoder;

use super::{
    chunks::{ChunkReader, Chunks},
    unpack::Failure,
};

/// What a gzip member starts with: two magic bytes and the only method there is.
pub(super) const MAGIC: &[u8] = &[0x1f, 0x8b, 8];

/// Unpacks one member after the other.
pub(super) struct GzipMembers<S>(State<S>);

enum State<S> {
    Member(Box<GzDecoder<ChunkReader<S>>>),
    /// Complete, or the stream failed.
    Done,
}

impl<S: Chunks> GzipMembers<S> {
    pub(super) fn new(reader: ChunkReader<S>) -> Self {
        Self(State::Member(Box::new(GzDecoder::new(reader))))
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            let State::Member(decoder) = &mut self.0 else { return Ok(0) };
            match decoder.read(buffer) {
                Ok(0) => self.next_member()?,
                Ok(count) => return Ok(count),
                Err(error) => {
                    return Err(match decoder.get_mut().take_error() {
                        Some(cause) => Failure::Stream(cause),
                        None if error.kind() == ErrorKind::UnexpectedEof => Failure::Truncated,
                        None => Failure::Corrupt(error),
                    });
                }
            }
        }
    }

    fn next_member(&mut self) -> Result<(), Failure> {
        let State::Member(decoder) = std::mem::replace(&mut self.0, State::Done) else { return Ok(()) };
        let mut reader = decoder.into_inner();
        let next = reader.peek(MAGIC.len())?;
        if next.is_empty() {
            return Ok(());
        }
        if next != MAGIC {
            return Err(Failure::Garbage);
        }
        self.0 = State::Member(Box::new(GzDecoder::new(reader)));
        Ok(())
    }
}
