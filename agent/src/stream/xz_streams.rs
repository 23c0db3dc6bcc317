//! The .xz file format 1.2: all streams and the padding between them, nothing else allowed after the last.

use std::io;

use liblzma::stream::{Action, Error, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::{
    DecodeError,
    unpack::{Codec, Failure, Next, Ran},
};

/// Memory that unpacking may take: a dictionary of 32 MiB, which `xz -8` uses, and what stands around it.
pub(super) const LARGEST_MEMORY: u64 = 34 << 20;

/// What a stream starts with.
pub(super) const MAGIC: &[u8] = b"\xfd7zXZ\0";
/// Padding comes in units of four zero bytes.
const PADDING: [u8; 4] = [0; 4];

/// Unpacks streams.
#[derive(Default)]
pub(super) struct XzCodec {
    /// The stream being read; none before the first, where no padding is allowed either.
    stream: Option<Stream>,
}

impl Codec for XzCodec {
    const LOOK_AHEAD: usize = MAGIC.len();

    fn next(&mut self, head: &[u8]) -> Result<Next, Failure> {
        if head.is_empty() {
            return Ok(Next::End);
        }
        if head.starts_with(&PADDING) && self.stream.is_some() {
            return Ok(Next::Skip(PADDING.len() as u64));
        }
        if !head.starts_with(MAGIC) {
            return Err(Failure::Garbage);
        }
        // The old decoder's memory goes before the new one takes its own.
        self.stream = None;
        let stream = Stream::new_stream_decoder(LARGEST_MEMORY, TELL_UNSUPPORTED_CHECK);
        self.stream = Some(stream.map_err(|error| Failure::Corrupt(error.into()))?);
        Ok(Next::Stream)
    }

    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, Failure> {
        let Some(stream) = &mut self.stream else { return Err(Failure::corrupt("no stream begins here")) };
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = match stream.process(input, output, Action::Run) {
            Ok(status) => status,
            Err(Error::MemLimit) => {
                return Err(Failure::Refused(DecodeError::XzMemory { needed: needed(stream) }));
            }
            Err(Error::Mem) => return Err(Failure::Corrupt(io::ErrorKind::OutOfMemory.into())),
            Err(error) => return Err(Failure::Corrupt(error.into())),
        };
        Ok(Ran {
            read: usize::try_from(stream.total_in() - read).unwrap_or(input.len()),
            written: usize::try_from(stream.total_out() - written).unwrap_or(output.len()),
            ended: status == Status::StreamEnd,
        })
    }
}

/// The memory that a stream at its limit wants: the least limit that the decoder accepts.
fn needed(stream: &mut Stream) -> u64 {
    let (mut refused, mut accepted) = (LARGEST_MEMORY, u64::MAX);
    while accepted - refused > 1 {
        let middle = refused + (accepted - refused) / 2;
        match stream.set_memlimit(middle) {
            Ok(()) => accepted = middle,
            Err(_) => refused = middle,
        }
    }
    accepted
}
