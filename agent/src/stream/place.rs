//! The decoding stage: blocks as served in, blocks with their places on the disk out.

use std::sync::mpsc::SyncSender;

use bessemer_proto::step::{ImageFormat, StageWork};

use super::{
    StreamError,
    chunks::{BlockChunks, Blocks, ChunkReader, One},
    decode::Decoder,
    detect::{SKIPPABLE_LOOK_AHEAD, detect},
    pipeline::{BUFFER_BYTES, DISK_BUFFERS},
    work::StageClock,
    write::Filled,
};
use crate::disk::{
    Target,
    buffer::{Block, Ring},
};

/// What the stage found out.
pub(super) struct Decoded {
    pub(super) format: ImageFormat,
    /// Bytes of the unpacked image.
    pub(super) bytes: u64,
    pub(super) work: StageWork,
}

/// Unpacks all of `source`. `length`: of the image as served, when it is known.
pub(super) fn run(
    mut source: impl Blocks,
    declared: ImageFormat,
    length: Option<u64>,
    filled: &SyncSender<Filled>,
    target: &Target,
) -> Result<Decoded, StreamError> {
    let mut clock = StageClock::new("decode");
    let first = clock.wait(|| source.next_block())?.ok_or(StreamError::Empty)?;
    let head = first.as_ref().get(..SKIPPABLE_LOOK_AHEAD).unwrap_or(first.as_ref());
    let format = detect(&mut ChunkReader::new(One::copy_of(head)), declared)?.format;
    let source = Preceded { first: Some(first), rest: source };
    let out = Out { filled, target };
    let bytes = match format {
        ImageFormat::Raw => raw(source, length, &out, &mut clock)?,
        _ => packed(source, declared, &out, &mut clock)?,
    };
    if bytes == 0 {
        return Err(StreamError::Empty);
    }
    clock.wait(|| out.send(Filled::End))?;
    clock.bytes = bytes;
    Ok(Decoded { format, bytes, work: clock.finish() })
}

/// Raw blocks go on as they are.
fn raw(
    mut source: impl Blocks,
    length: Option<u64>,
    out: &Out<'_>,
    clock: &mut StageClock,
) -> Result<u64, StreamError> {
    out.check_size(length.unwrap_or(0))?;
    out.send(Filled::Begin)?;
    let mut offset = 0;
    while let Some(block) = clock.wait(|| source.next_block())? {
        let end = offset + block.as_ref().len() as u64;
        out.check_size(end)?;
        clock.wait(|| out.send(Filled::Data { block, offset }))?;
        offset = end;
    }
    Ok(offset)
}

fn packed(
    source: impl Blocks,
    declared: ImageFormat,
    out: &Out<'_>,
    clock: &mut StageClock,
) -> Result<u64, StreamError> {
    let mut decoder = Decoder::open(BlockChunks(source), declared)?;
    out.check_size(decoder.known_content().unwrap_or(0))?;
    out.send(Filled::Begin)?;
    let mut ring = Ring::new(DISK_BUFFERS, BUFFER_BYTES);
    let mut offset = 0;
    loop {
        let mut block = clock.wait(|| ring.blocking_take());
        let count = decoder.fill(block.space())?;
        block.set_length(count);
        let last = !block.is_full();
        if count > 0 {
            out.check_size(offset + count as u64)?;
            clock.wait(|| out.send(Filled::Data { block, offset }))?;
            offset += count as u64;
        }
        if last {
            return Ok(offset);
        }
    }
}

/// Where blocks go, and how much room there is.
struct Out<'a> {
    filled: &'a SyncSender<Filled>,
    target: &'a Target,
}

impl Out<'_> {
    fn send(&self, filled: Filled) -> Result<(), StreamError> {
        self.filled.send(filled).map_err(|_| StreamError::Stopped)
    }

    fn check_size(&self, image: u64) -> Result<(), StreamError> {
        if image <= self.target.size() {
            return Ok(());
        }
        let device = self.target.path().display().to_string();
        Err(StreamError::TooLarge { image, disk: self.target.size(), device })
    }
}

/// A source whose first block was looked at.
struct Preceded<S> {
    first: Option<Block>,
    rest: S,
}

impl<S: Blocks> Blocks for Preceded<S> {
    fn next_block(&mut self) -> Result<Option<Block>, StreamError> {
        match self.first.take() {
            Some(block) => Ok(Some(block)),
            None => self.rest.next_block(),
        }
    }
}
