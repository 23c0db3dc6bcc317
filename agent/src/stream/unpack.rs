//! What the unpackers have in common: why they fail, and packed streams one after the other.

use std::io;

use super::{
    DecodeError, StreamError,
    chunks::{ChunkReader, Chunks},
};

/// What unpacking found.
pub(super) enum Failure {
    /// The source failed.
    Stream(StreamError),
    /// Damaged.
    Corrupt(io::Error),
    /// The stream ends in the middle.
    Truncated,
    /// Something else follows the last packed stream.
    Garbage,
    /// Not damaged, but not for this agent.
    Refused(DecodeError),
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl Failure {
    /// Damage, in words.
    pub(super) fn corrupt(word: &'static str) -> Self {
        Self::Corrupt(io::Error::new(io::ErrorKind::InvalidData, word))
    }
}

/// What stands between two packed streams.
pub(super) enum Next {
    /// Nothing more.
    End,
    /// Bytes without content.
    Skip(u64),
    /// A packed stream; the codec is ready for it.
    Stream,
}

/// What one call of a codec did.
pub(super) struct Ran {
    /// Bytes taken from the input.
    pub(super) read: usize,
    /// Bytes put into the output.
    pub(super) written: usize,
    /// Whether the packed stream is complete and all its content put out.
    pub(super) ended: bool,
}

/// Unpacks packed streams of one format.
pub(super) trait Codec {
    /// How many bytes [`Codec::next`] wants to see.
    const LOOK_AHEAD: usize;

    /// Decides by the first bytes what comes next; `head` is shorter only at the end.
    fn next(&mut self, head: &[u8]) -> Result<Next, Failure>;

    /// Unpacks what it can. No input means that there is no more.
    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, Failure>;
}

/// Unpacks one packed stream after the other.
pub(super) struct Members<S, C> {
    reader: ChunkReader<S>,
    codec: C,
    state: State,
}

enum State {
    Between,
    Skip(u64),
    Inside,
    Done,
}

impl<S: Chunks, C: Codec> Members<S, C> {
    pub(super) fn new(reader: ChunkReader<S>, codec: C) -> Self {
        Self { reader, codec, state: State::Between }
    }

    /// For those who read some of it otherwise.
    pub(super) fn reader(&mut self) -> &mut ChunkReader<S> {
        &mut self.reader
    }

    /// Goes on with this codec behind what was read otherwise, inside or between packed streams.
    pub(super) fn go_on(&mut self, codec: C, inside: bool) {
        self.codec = codec;
        self.state = if inside { State::Inside } else { State::Between };
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        while !buffer.is_empty() {
            match self.state {
                State::Between => {
                    self.state = match self.codec.next(self.reader.peek(C::LOOK_AHEAD)?)? {
                        Next::End => State::Done,
                        Next::Skip(length) => State::Skip(length),
                        Next::Stream => State::Inside,
                    }
                }
                State::Skip(0) => self.state = State::Between,
                State::Skip(left) => match self.reader.skip(left)? {
                    0 => return Err(Failure::Truncated),
                    count => self.state = State::Skip(left - count),
                },
                State::Inside => {
                    let count = self.run(buffer)?;
                    if count > 0 {
                        return Ok(count);
                    }
                }
                State::Done => break,
            }
        }
        Ok(0)
    }

    fn run(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let input = self.reader.available()?;
        let at_end = input.is_empty();
        let ran = self.codec.run(input, buffer)?;
        std::io::BufRead::consume(&mut self.reader, ran.read);
        if ran.ended {
            self.state = State::Between;
        } else if ran.written == 0 && at_end {
            return Err(Failure::Truncated);
        } else if ran.written == 0 && ran.read == 0 {
            return Err(Failure::corrupt("the decoder makes no progress"));
        }
        Ok(ran.written)
    }
}
