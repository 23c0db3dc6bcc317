//! Zstandard (RFC 8878), all frames, nothing else allowed after the last.

use std::io::{self, BufRead};

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::{
    StreamError,
    chunks::{ChunkReader, Chunks},
};

/// The window that a frame may ask for: what the zstd tool itself takes without being told to take more.
pub(super) const LARGEST_WINDOW: u64 = 1 << LARGEST_WINDOW_LOG;
const LARGEST_WINDOW_LOG: u32 = 27;

/// What a frame starts with.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// What a skippable frame starts with; the lowest four bits are free.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
/// A frame header has no more bytes than this.
pub(super) const LONGEST_HEADER: usize = 18;

/// Whether a frame, skippable or not, starts here.
pub(super) fn is_frame(head: &[u8]) -> bool {
    head.starts_with(&MAGIC) || skippable_length(head).is_some()
}

fn skippable_length(head: &[u8]) -> Option<u64> {
    let (magic, rest) = head.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*magic) & 0xffff_fff0 != SKIPPABLE_MAGIC {
        return None;
    }
    let (length, _) = rest.split_first_chunk::<4>()?;
    Some(u64::from(u32::from_le_bytes(*length)))
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of history that unpacking needs.
    pub(super) window: u64,
    /// Length of the content, when it is given.
    pub(super) content: Option<u64>,
    /// Whether a dictionary is needed.
    pub(super) dictionary: bool,
}

impl FrameHeader {
    /// Parses a header (RFC 8878, 3.1.1.1); `None` when the bytes are no header or end within it.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let rest = head.strip_prefix(&MAGIC)?;
        let (&descriptor, mut rest) = rest.split_first()?;
        if descriptor & 0x08 != 0 {
            return None;
        }
        let single_segment = descriptor & 0x20 != 0;
        let mut window = None;
        if !single_segment {
            let (&byte, tail) = rest.split_first()?;
            let base = 1_u64 << (10 + (byte >> 3));
            window = Some(base + base / 8 * u64::from(byte & 7));
            rest = tail;
        }
        let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let (dictionary, tail) = rest.split_at_checked(dictionary_bytes)?;
        let content_bytes = match descriptor >> 6 {
            0 => usize::from(single_segment),
            1 => 2,
            2 => 4,
            _ => 8,
        };
        let mut content = [0; 8];
        content.get_mut(..content_bytes)?.copy_from_slice(tail.get(..content_bytes)?);
        let offset = if content_bytes == 2 { 256 } else { 0 };
        let content = (content_bytes > 0).then(|| u64::from_le_bytes(content).saturating_add(offset));
        let dictionary = dictionary.iter().any(|byte| *byte != 0);
        Some(Self { window: window.or(content)?, content, dictionary })
    }
}

/// What reading found.
pub(super) enum Failure {
    /// The source failed.
    Stream(StreamError),
    /// Damaged.
    Corrupt(io::Error),
    /// The stream ends within a frame.
    Truncated,
    /// Something else follows the last frame.
    Garbage,
    /// The frame wants this large a window.
    Window(u64),
    /// The frame wants a dictionary.
    Dictionary,
}

/// Unpacks one frame after the other.
pub(super) struct ZstdFrames<S> {
    reader: ChunkReader<S>,
    decoder: Decoder<'static>,
    state: State,
}

enum State {
    Between,
    Frame,
    Skip(u64),
    Done,
}

impl<S: Chunks> ZstdFrames<S> {
    pub(super) fn new(reader: ChunkReader<S>) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(LARGEST_WINDOW_LOG))?;
        Ok(Self { reader, decoder, state: State::Between })
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            match self.state {
                State::Between => self.start_frame()?,
                State::Skip(left) => self.skip(left)?,
                State::Frame => {
                    let count = self.decode(buffer)?;
                    if count > 0 {
                        return Ok(count);
                    }
                }
                State::Done => return Ok(0),
            }
        }
    }

    fn start_frame(&mut self) -> Result<(), Failure> {
        let head = self.reader.peek(LONGEST_HEADER).map_err(Failure::Stream)?;
        self.state = if head.is_empty() {
            State::Done
        } else if let Some(length) = skippable_length(head) {
            State::Skip(8 + length)
        } else if head.starts_with(&MAGIC) {
            let header = FrameHeader::parse(head)
                .ok_or_else(|| Failure::Corrupt(io::Error::from(io::ErrorKind::InvalidData)))?;
            if header.window > LARGEST_WINDOW {
                return Err(Failure::Window(header.window));
            }
            if header.dictionary {
                return Err(Failure::Dictionary);
            }
            self.decoder.reinit().map_err(Failure::Corrupt)?;
            State::Frame
        } else {
            return Err(Failure::Garbage);
        };
        Ok(())
    }

    fn skip(&mut self, left: u64) -> Result<(), Failure> {
        let available = self.reader.peek(1).map_err(Failure::Stream)?.len();
        if available == 0 {
            return Err(Failure::Truncated);
        }
        let buffered = self.reader.fill_buf().map_err(Failure::Corrupt)?.len();
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffered);
        self.reader.consume(count);
        let left = left - count as u64;
        self.state = if left == 0 { State::Between } else { State::Skip(left) };
        Ok(())
    }

    fn decode(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let input = match self.reader.fill_buf() {
            Ok(input) => input,
            Err(error) => {
                return Err(match self.reader.take_error() {
                    Some(cause) => Failure::Stream(cause),
                    None => Failure::Corrupt(error),
                });
            }
        };
        let at_end = input.is_empty();
        let status = self.decoder.run_on_buffers(input, buffer).map_err(Failure::Corrupt)?;
        self.reader.consume(status.bytes_read);
        if status.remaining == 0 {
            self.state = State::Between;
        } else if at_end && status.bytes_written == 0 {
            return Err(Failure::Truncated);
        }
        Ok(status.bytes_written)
    }
}
