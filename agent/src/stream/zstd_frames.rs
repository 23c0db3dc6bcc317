//! Zstandard (RFC 8878), all frames, nothing else allowed after the last. Small frames are unpacked side by side
//! ([`zstd_pool`](super::zstd_pool)), all others, and all that are damaged, in stream.

use std::io;

use bessemer_proto::step::ImageFormat;
use zstd::stream::raw::{DParameter, Decoder, Operation, Status};

use super::{
    DecodeError, StreamError,
    chunks::{ChunkReader, Chunks},
    skippable,
    unpack::Failure,
    zstd_header::{FrameHeader, LARGEST_WINDOW, LARGEST_WINDOW_LOG, LONGEST_HEADER, MAGIC},
    zstd_pool::{Pool, Slot},
};

/// Unpacks frames and hands out their content in order.
pub(super) struct ZstdFrames<S> {
    reader: ChunkReader<S>,
    decoder: Decoder<'static>,
    /// Where the stream is; frames in the pool come before that.
    state: State,
    pool: Pool,
    /// A frame that came back from the pool.
    current: Option<Current>,
}

enum State {
    Between,
    Frame,
    Skip(u64),
    Done,
    /// Told when its turn comes.
    Failed(Option<Failure>),
}

struct Current {
    slot: Slot,
    /// Bytes of its content that were read, or of itself when it is unpacked again.
    position: usize,
}

impl<S: Chunks> ZstdFrames<S> {
    pub(super) fn new(reader: ChunkReader<S>, pool: Pool) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(LARGEST_WINDOW_LOG))?;
        Ok(Self { reader, decoder, state: State::Between, pool, current: None })
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        while !buffer.is_empty() {
            if let Some(current) = self.current.take() {
                let count = self.read_current(current, buffer)?;
                if count > 0 {
                    return Ok(count);
                }
                continue;
            }
            self.look_ahead()?;
            if let Some(slot) = self.pool.next()? {
                self.current = Some(Current { slot, position: 0 });
                continue;
            }
            match &mut self.state {
                State::Frame => {
                    let count = self.decode(buffer)?;
                    if count > 0 {
                        return Ok(count);
                    }
                }
                State::Done => break,
                State::Failed(failure) => {
                    return Err(failure.take().unwrap_or(Failure::Stream(StreamError::Stopped)));
                }
                // Room in the pool is only missing while frames are in it.
                State::Between | State::Skip(_) => {}
            }
        }
        Ok(0)
    }

    /// Reads frames into the pool until it is full or something else comes.
    fn look_ahead(&mut self) -> Result<(), Failure> {
        while self.pool.has_room() {
            let advanced = match self.state {
                State::Between => self.start(),
                State::Skip(0) => Ok(State::Between),
                State::Skip(left) => {
                    self.reader.skip(left).map_err(Failure::from).and_then(|count| match count {
                        0 => Err(Failure::Truncated),
                        count => Ok(State::Skip(left - count)),
                    })
                }
                State::Frame | State::Done | State::Failed(_) => break,
            };
            self.state = match advanced {
                Ok(state) => state,
                // What the source says concerns all frames: it may be that the write is cancelled.
                Err(Failure::Stream(error)) => return Err(Failure::Stream(error)),
                Err(failure) => State::Failed(Some(failure)),
            };
        }
        Ok(())
    }

    fn start(&mut self) -> Result<State, Failure> {
        let head = self.reader.peek(LONGEST_HEADER)?;
        if head.is_empty() {
            return Ok(State::Done);
        }
        if let Some(length) = skippable::length(head) {
            return Ok(State::Skip(length));
        }
        if !head.starts_with(&MAGIC) {
            return Err(Failure::Garbage);
        }
        let header = FrameHeader::parse(head).ok_or_else(|| match head.len() {
            LONGEST_HEADER => Failure::corrupt("the frame header is wrong"),
            _ => Failure::Truncated,
        })?;
        if header.window > LARGEST_WINDOW {
            return Err(Failure::Refused(DecodeError::Window { needed: header.window }));
        }
        if header.dictionary {
            return Err(Failure::Refused(DecodeError::Dictionary(ImageFormat::Zstd)));
        }
        if self.pool.take_in(&mut self.reader, &header)? {
            return Ok(State::Between);
        }
        Ok(State::Frame)
    }

    /// Reads from a frame that the pool unpacked. One that it could not unpack is unpacked in stream, so that its
    /// good part and the error are the same, whichever way it went.
    fn read_current(&mut self, mut current: Current, buffer: &mut [u8]) -> Result<usize, Failure> {
        let from = if current.slot.good { &current.slot.content } else { &current.slot.packed };
        let rest = from.get(current.position..).unwrap_or_default();
        let (count, ended) = if current.slot.good {
            let count = rest.len().min(buffer.len());
            if let (Some(into), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
                into.copy_from_slice(from);
            }
            current.position += count;
            (count, count == rest.len())
        } else {
            let at_end = rest.is_empty();
            let status = run(&mut self.decoder, rest, buffer)?;
            current.position += status.bytes_read;
            if at_end && status.remaining > 0 && status.bytes_written == 0 {
                return Err(Failure::Truncated);
            }
            (status.bytes_written, status.remaining == 0)
        };
        if ended {
            self.pool.give_back(current.slot);
        } else {
            self.current = Some(current);
        }
        Ok(count)
    }

    fn decode(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let input = self.reader.available()?;
        let at_end = input.is_empty();
        let status = run(&mut self.decoder, input, buffer)?;
        io::BufRead::consume(&mut self.reader, status.bytes_read);
        if status.remaining == 0 {
            self.state = State::Between;
        } else if at_end && status.bytes_written == 0 {
            return Err(Failure::Truncated);
        }
        Ok(status.bytes_written)
    }
}

/// After a frame the decoder is ready for the next.
fn run(decoder: &mut Decoder<'static>, input: &[u8], output: &mut [u8]) -> Result<Status, Failure> {
    decoder.run_on_buffers(input, output).map_err(Failure::Corrupt)
}

#[cfg(test)]
#[path = "zstd_frames_tests.rs"]
mod tests;
