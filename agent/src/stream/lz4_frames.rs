//! LZ4 (frame format 1.6), all frames, nothing else allowed after the last. One block, packed and unpacked, and what
//! it may refer to are held: under 9 MiB.

use std::{hash::Hasher, io, ops::Range};

use bessemer_proto::step::ImageFormat;
use twox_hash::XxHash32;

use super::{
    DecodeError,
    chunks::{ChunkReader, Chunks},
    lz4_header::{FrameHeader, HeaderError, LEGACY_MAGIC, LONGEST_HEADER, MAGIC},
    skippable,
    unpack::Failure,
};

/// How far back a block may refer.
const HISTORY: usize = 64 << 10;
/// Set in the length of a block that is not packed.
const STORED: u32 = 1 << 31;
/// What a frame of the old format is called in errors.
pub(super) const LEGACY: &str = "lz4 in its legacy frame format";

/// Unpacks one frame after the other.
pub(super) struct Lz4Frames<S> {
    reader: ChunkReader<S>,
    state: State,
    /// The packed block.
    packed: Vec<u8>,
    /// The unpacked block, as long as the longest allowed so far.
    block: Vec<u8>,
    /// The part of it that is to be read.
    ready: Range<usize>,
    /// The end of what was unpacked before.
    history: Vec<u8>,
}

enum State {
    Between,
    Skip(u64),
    Frame(Frame),
    Done,
}

struct Frame {
    header: FrameHeader,
    hash: XxHash32,
    bytes: u64,
}

impl<S: Chunks> Lz4Frames<S> {
    pub(super) fn new(reader: ChunkReader<S>) -> Self {
        let (packed, block, history) = (Vec::new(), Vec::new(), Vec::new());
        Self { reader, state: State::Between, packed, block, ready: 0..0, history }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        while self.ready.is_empty() {
            match &mut self.state {
                State::Between => self.start()?,
                State::Skip(0) => self.state = State::Between,
                State::Skip(left) => match self.reader.skip(*left)? {
                    0 => return Err(Failure::Truncated),
                    count => *left -= count,
                },
                State::Frame(_) => self.next_block()?,
                State::Done => return Ok(0),
            }
        }
        let count = self.ready.len().min(buffer.len());
        let from = self.block.get(self.ready.start..self.ready.start + count);
        if let (Some(into), Some(from)) = (buffer.get_mut(..count), from) {
            into.copy_from_slice(from);
        }
        self.ready.start += count;
        Ok(count)
    }

    fn start(&mut self) -> Result<(), Failure> {
        let head = self.reader.peek(LONGEST_HEADER)?;
        self.state = if head.is_empty() {
            State::Done
        } else if let Some(length) = skippable::length(head) {
            State::Skip(length)
        } else if head.starts_with(&LEGACY_MAGIC) {
            return Err(Failure::Refused(DecodeError::Unsupported(LEGACY)));
        } else if head.starts_with(&MAGIC) {
            let header = FrameHeader::parse(head).map_err(|error| match error {
                HeaderError::Short => Failure::Truncated,
                HeaderError::Wrong(word) => Failure::corrupt(word),
            })?;
            if header.dictionary {
                return Err(Failure::Refused(DecodeError::Dictionary(ImageFormat::Lz4)));
            }
            self.reader.skip(header.length as u64)?;
            self.history.clear();
            // Lengths known at once: growing by and by would take twice as much.
            self.packed.clear();
            self.packed.reserve_exact(header.block);
            if self.block.len() < header.block {
                self.block = Vec::new();
                self.block.resize(header.block, 0);
            }
            State::Frame(Frame { header, hash: XxHash32::with_seed(0), bytes: 0 })
        } else {
            return Err(Failure::Garbage);
        };
        Ok(())
    }

    fn next_block(&mut self) -> Result<(), Failure> {
        let State::Frame(frame) = &mut self.state else { return Ok(()) };
        let word = take_word(&mut self.reader)?;
        if word == 0 {
            frame.finish(&mut self.reader)?;
            self.state = State::Between;
            return Ok(());
        }
        let header = frame.header;
        let length = usize::try_from(word & !STORED).unwrap_or(usize::MAX);
        if length > header.block {
            return Err(Failure::corrupt("a block is longer than the frame allows"));
        }
        let Some(block) = self.block.get_mut(..header.block) else { return Ok(()) };
        let length = if word & STORED != 0 {
            let block = block.get_mut(..length).unwrap_or_default();
            take(&mut self.reader, block)?;
            header.check_block(block, &mut self.reader)?;
            length
        } else {
            self.packed.resize(length, 0);
            take(&mut self.reader, &mut self.packed)?;
            header.check_block(&self.packed, &mut self.reader)?;
            let history = self.history.get(self.history.len().saturating_sub(HISTORY)..).unwrap_or_default();
            lz4_flex::block::decompress_into_with_dict(&self.packed, block, history)
                .map_err(|error| Failure::Corrupt(io::Error::new(io::ErrorKind::InvalidData, error)))?
        };
        let block = block.get(..length).unwrap_or_default();
        frame.count(block)?;
        if header.linked {
            remember(&mut self.history, block);
        }
        self.ready = 0..length;
        Ok(())
    }
}

impl FrameHeader {
    /// Reads the checksum of a block, if there is one, and compares.
    fn check_block<S: Chunks>(&self, block: &[u8], reader: &mut ChunkReader<S>) -> Result<(), Failure> {
        if self.block_checksums && take_word(reader)? != XxHash32::oneshot(0, block) {
            return Err(Failure::corrupt("a block does not match its checksum"));
        }
        Ok(())
    }
}

impl Frame {
    fn count(&mut self, block: &[u8]) -> Result<(), Failure> {
        self.bytes += block.len() as u64;
        if self.header.content.is_some_and(|content| self.bytes > content) {
            return Err(Failure::corrupt("the frame has more content than it says"));
        }
        if self.header.content_checksum {
            self.hash.write(block);
        }
        Ok(())
    }

    /// Reads and checks what follows the last block.
    fn finish<S: Chunks>(&self, reader: &mut ChunkReader<S>) -> Result<(), Failure> {
        if self.header.content.is_some_and(|content| content != self.bytes) {
            return Err(Failure::corrupt("the frame has less content than it says"));
        }
        if self.header.content_checksum && take_word(reader)? != self.hash.finish_32() {
            return Err(Failure::corrupt("the content does not match its checksum"));
        }
        Ok(())
    }
}

/// Keeps the end of `block`. Cuts now and then only: a stream of tiny blocks must not move all of it for each.
fn remember(history: &mut Vec<u8>, block: &[u8]) {
    if block.len() >= HISTORY {
        history.clear();
    } else if history.len() >= 2 * HISTORY {
        history.drain(..history.len() - HISTORY);
    }
    history.extend_from_slice(block.get(block.len().saturating_sub(HISTORY)..).unwrap_or_default());
}

fn take<S: Chunks>(reader: &mut ChunkReader<S>, buffer: &mut [u8]) -> Result<(), Failure> {
    if reader.fill(buffer)? < buffer.len() { Err(Failure::Truncated) } else { Ok(()) }
}

fn take_word<S: Chunks>(reader: &mut ChunkReader<S>) -> Result<u32, Failure> {
    let mut word = [0; 4];
    take(reader, &mut word)?;
    Ok(u32::from_le_bytes(word))
}
