//! The .xz file format 1.2: all streams and the padding between them, nothing else allowed after the last.
//! [`xz_blocks`](super::xz_blocks) unpacks what it can of them on several threads, this what is left.

use std::io;

use liblzma::stream::{Action, Error, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::{
    DecodeError,
    unpack::{Codec, Failure, Next, Ran},
    xz_header::{MAGIC, StreamHeader},
    xz_rest::Rest,
};

/// Memory that unpacking may take: a dictionary of 32 MiB, which `xz -8` uses, and what stands around it.
pub(super) const LARGEST_MEMORY: u64 = 34 << 20;

/// Padding comes in units of four zero bytes.
pub(super) const PADDING: [u8; 4] = [0; 4];

/// Unpacks streams.
#[derive(Default)]
pub(super) struct XzCodec {
    /// The stream being read; none before the first, where no padding is allowed either.
    stream: Option<Reading>,
}

enum Reading {
    /// Read elsewhere, to the end.
    Done,
    Whole(Stream),
    /// From a block in the middle on.
    Rest(Box<Rest>),
}

impl XzCodec {
    /// For what follows streams that were unpacked elsewhere: the rest of one, or others.
    pub(super) fn after(rest: Option<Rest>) -> Self {
        Self { stream: Some(rest.map_or(Reading::Done, |rest| Reading::Rest(Box::new(rest)))) }
    }
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
        self.stream = Some(Reading::Whole(decoder(LARGEST_MEMORY)?));
        Ok(Next::Stream)
    }

    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, Failure> {
        match &mut self.stream {
            Some(Reading::Whole(stream)) => run(stream, input, output),
            Some(Reading::Rest(rest)) => rest.run(input, output),
            Some(Reading::Done) | None => Err(Failure::corrupt("no stream begins here")),
        }
    }
}

fn decoder(memory: u64) -> Result<Stream, Failure> {
    let stream = Stream::new_stream_decoder(memory, TELL_UNSUPPORTED_CHECK);
    stream.map_err(|error| Failure::Corrupt(error.into()))
}

/// A decoder that has read a stream's header. It takes any blocks of the stream, but not its index, unless it had all.
pub(super) fn decoder_within(header: StreamHeader, memory: u64) -> Result<Stream, Failure> {
    let mut stream = decoder(memory)?;
    let ran = run(&mut stream, &header.0, &mut [])?;
    if ran.read != header.0.len() {
        return Err(Failure::corrupt("the stream's header is wrong"));
    }
    Ok(stream)
}

/// Unpacks what it can.
pub(super) fn run(stream: &mut Stream, input: &[u8], output: &mut [u8]) -> Result<Ran, Failure> {
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
