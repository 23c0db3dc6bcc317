//! The decoding stage: blocks as served in, blocks with their places on the disk out.

use std::sync::{Arc, Mutex, PoisonError, mpsc::SyncSender};

use bessemer_proto::step::{ImageFormat, StageWork};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    DecodeError, StreamError,
    chunks::{BlockChunks, Blocks, ChunkReader, One},
    decode::Decoder,
    detect::{SKIPPABLE_LOOK_AHEAD, detect},
    fetch::Object,
    fit,
    pipeline::{BUFFER_BYTES, DISK_BUFFERS},
    placed::{Placed, Scatter},
    qcow2::{Layout, Qcow2Scatter},
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

/// What was said of the image.
#[derive(Clone, Copy)]
pub(super) struct Declared {
    pub(super) format: ImageFormat,
    /// Whether [`ImageFormat::Auto`] may turn out to be qcow2.
    pub(super) allow_qcow2: bool,
    /// Whether its content must come in order.
    pub(super) in_order: bool,
}

impl Declared {
    /// The format of an image that begins with `head`.
    pub(super) fn detect(self, head: &[u8]) -> Result<ImageFormat, StreamError> {
        let head = head.get(..SKIPPABLE_LOOK_AHEAD).unwrap_or(head);
        let format = detect(&mut ChunkReader::new(One::copy_of(head)), self.format)?.format;
        if format == ImageFormat::Qcow2 && self.format == ImageFormat::Auto && !self.allow_qcow2 {
            return Err(DecodeError::Mismatch { declared: ImageFormat::Raw, found: "qcow2" }.into());
        }
        Ok(format)
    }
}

/// Unpacks all of `source`. `object`: the same image, for formats whose tables must be read first; `network` is where
/// it is asked, until `stop`.
pub(super) fn run(
    mut source: impl Blocks,
    declared: Declared,
    (object, network, stop): (&Arc<Object>, &Handle, &CancellationToken),
    filled: &SyncSender<Filled>,
    target: &Target,
) -> Result<Decoded, StreamError> {
    let mut clock = StageClock::new("decode");
    let first = clock.wait(|| source.next_block())?.ok_or(StreamError::Empty)?;
    let format = declared.detect(first.as_ref())?;
    let out = Out { filled, target };
    if format == ImageFormat::Raw {
        let refused = fit::table_so_far(first.as_ref(), object.length(), target);
        // Of a page in the image's place the digest is known at once, and says more.
        if refused.is_err() && first.as_ref().len() < BUFFER_BYTES {
            while clock.wait(|| source.next_block())?.is_some() {}
        }
        refused?;
    }
    let source = Preceded { first: Some(first), rest: source };
    let bytes = match format {
        ImageFormat::Raw => raw(source, object.length(), &out, &mut clock)?,
        ImageFormat::Qcow2 => {
            if declared.in_order {
                return Err(StreamError::ManifestUse("a qcow2 image"));
            }
            let read = async {
                let layout = Layout::read(object).await?;
                let head = layout.head(object, fit::TABLE_BYTES).await?;
                Ok((layout, head))
            };
            let read = clock.wait(|| network.block_on(stop.run_until_cancelled(read)));
            let (layout, head) = read.unwrap_or(Err(StreamError::Cancelled))?;
            fit::table_so_far(&head, Some(layout.virtual_size()), target)?;
            qcow2(source, layout, &out, &mut clock)?
        }
        _ => packed(source, Declared { format, ..declared }, &out, stop, &mut clock)?,
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
    fit::size(length.unwrap_or(0), out.target)?;
    out.send(Filled::Begin)?;
    let mut offset = 0;
    while let Some(block) = clock.wait(|| source.next_block())? {
        let end = offset + block.as_ref().len() as u64;
        fit::size(end, out.target)?;
        clock.wait(|| out.send(Filled::Data { block, offset }))?;
        offset = end;
    }
    Ok(offset)
}

fn packed(
    source: impl Blocks,
    declared: Declared,
    out: &Out<'_>,
    stop: &CancellationToken,
    clock: &mut StageClock,
) -> Result<u64, StreamError> {
    let mut decoder = Decoder::open(BlockChunks(source), declared.format)?;
    fit::size(decoder.known_content().unwrap_or(0), out.target)?;
    let anywhere = Anywhere { out, ring: Mutex::new(Ring::new(DISK_BUFFERS, BUFFER_BYTES)), stop };
    let mut offset = 0;
    if !declared.in_order {
        let unpacked = decoder.side_by_side(&anywhere)?;
        clock.others_waited(unpacked.waited);
        offset = unpacked.content;
    }
    loop {
        let mut block = clock.wait(|| anywhere.buffer());
        let count = decoder.fill(block.space())?;
        block.set_length(count);
        let last = !block.is_full();
        if offset == 0 {
            if count == 0 {
                return Ok(0);
            }
            fit::table_so_far(block.as_ref(), last.then_some(count as u64), out.target)?;
            out.send(Filled::Begin)?;
        }
        if count > 0 {
            fit::size(offset + count as u64, out.target)?;
            clock.wait(|| out.send(Filled::Data { block, offset }))?;
            offset += count as u64;
        }
        if last {
            return Ok(offset);
        }
    }
}

fn qcow2(
    source: impl Blocks,
    layout: Layout,
    out: &Out<'_>,
    clock: &mut StageClock,
) -> Result<u64, StreamError> {
    let size = layout.virtual_size();
    fit::size(size, out.target)?;
    out.send(Filled::Begin)?;
    for (offset, length) in layout.zero_ranges() {
        clock.wait(|| out.send(Filled::Zeros(offset..offset + length)))?;
    }
    let mut scatter = Qcow2Scatter::new(layout, BlockChunks(source));
    let mut ring = Ring::new(DISK_BUFFERS, BUFFER_BYTES);
    loop {
        let mut block = clock.wait(|| ring.blocking_take());
        let Some(Placed { offset, length }) = scatter.fill(block.space())? else { return Ok(size) };
        block.set_length(length);
        clock.wait(|| out.send(Filled::Data { block, offset }))?;
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
}

/// Takes content from several threads, once its beginning was looked at.
struct Anywhere<'a> {
    out: &'a Out<'a>,
    ring: Mutex<Ring>,
    stop: &'a CancellationToken,
}

impl Scatter for Anywhere<'_> {
    fn buffer(&self) -> Block {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).blocking_take()
    }

    fn fits(&self, content: u64) -> Result<(), StreamError> {
        fit::size(content, self.out.target)
    }

    fn put(&self, block: Block, offset: u64) -> Result<(), StreamError> {
        if self.stop.is_cancelled() {
            return Err(StreamError::Cancelled);
        }
        if offset == 0 {
            fit::table_so_far(block.as_ref(), None, self.out.target)?;
            self.out.send(Filled::Begin)?;
        }
        self.out.send(Filled::Data { block, offset })
    }

    fn stop(&self) {
        self.stop.cancel();
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
