//! Unpacks the blocks of .xz streams side by side, where their headers give their sizes, as `xz -T` writes them. This
//! reads the streams in order and hands each block to a thread of [`xz_pool`](super::xz_pool), whose content goes
//! straight to its place. What is not of that kind is left to [`xz_streams`](super::xz_streams), with all after it:
//! then only one decoder has memory at a time.

use std::{
    io::BufRead as _,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use super::{
    StreamError,
    chunks::{ChunkReader, Chunks},
    placed::Scatter,
    unpack::{Failure, Members},
    xz_header::{BlockHeader, STREAM_HEADER, StreamHeader},
    xz_index::{Index, Records},
    xz_pool::{Failed, Job, Piece, Shared},
    xz_rest::Rest,
    xz_streams::{PADDING, XzCodec},
};
use crate::disk::{buffer::Ring, target::DIRECT_ALIGNMENT};

/// Most threads: each needs memory for a dictionary, and a buffer of those for the disk.
const THREADS: usize = 3;
/// Largest dictionary: that of `xz -6`.
const LARGEST_DICTIONARY: u64 = 8 << 20;
/// `xz` gives blocks that cannot be packed a dictionary of 4 KiB.
const SMALL_DICTIONARY: u64 = 64 << 10;
/// Packed bytes that wait for the threads. A thread begins when the blocks before its own were read to their ends, so
/// these bound how far apart two can be.
const PACKED_BUFFERS: usize = 40;
const PACKED_BYTES: usize = 256 << 10;
/// Least content that is worth the way to another thread, and enough to see the partition table.
const SMALLEST_CONTENT: u64 = 1 << 20;

/// Which blocks are unpacked side by side.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Most threads.
    pub(super) threads: usize,
    /// Least content.
    pub(super) content: u64,
    /// Their content is a multiple of this: two threads never write to one block of the disk, and all after it can be
    /// written past the page cache.
    pub(super) alignment: u64,
}

impl Terms {
    /// Those of this machine. A single core gains nothing.
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if cores > 1 { cores.min(THREADS) } else { 0 };
        Self { threads, content: SMALLEST_CONTENT, alignment: DIRECT_ALIGNMENT as u64 }
    }

    /// Whether a block is taken.
    fn take(self, block: &BlockHeader) -> bool {
        block.content >= self.content
            && block.dictionary <= LARGEST_DICTIONARY
            && block.content.is_multiple_of(self.alignment)
    }
}

/// What was unpacked.
#[derive(Default)]
pub(super) struct Unpacked {
    /// Length of the content, from the image's beginning.
    pub(super) content: u64,
    /// How long the threads waited for others, on average.
    pub(super) waited: Duration,
}

/// Unpacks as many blocks as it can and leaves the rest to `streams`.
pub(super) fn unpack<S: Chunks>(
    streams: &mut Members<S, XzCodec>,
    terms: Terms,
    out: &impl Scatter,
) -> Result<Unpacked, Failed> {
    let at_begin = |failure| Failed { number: 0, at: 0, failure };
    let reader = streams.reader();
    let first = first_block(reader).map_err(|error| at_begin(error.into()))?;
    let first = first.filter(|(_, block)| terms.threads > 1 && terms.take(block));
    let Some((header, _)) = first else { return Ok(Unpacked::default()) };
    let shared = Shared::new(out, header, LARGEST_DICTIONARY);
    let Some((left, unpacked)) = side_by_side(reader, terms, &shared) else {
        return Ok(Unpacked::default());
    };
    match (shared.failed(), left) {
        (Some(failed), _) => return Err(failed),
        (None, Some(Left::Streams)) => streams.go_on(XzCodec::after(None), false),
        (None, Some(Left::Rest(seen))) => {
            let rest = Rest::new(header, seen).map_err(at_begin)?;
            streams.go_on(XzCodec::after(Some(rest)), true);
        }
        (None, None) => return Err(at_begin(StreamError::Died("decode").into())),
    }
    Ok(unpacked)
}

/// Header of the stream that comes next and of its first block, when both are of the kind that is taken.
fn first_block<S: Chunks>(
    reader: &mut ChunkReader<S>,
) -> Result<Option<(StreamHeader, BlockHeader)>, StreamError> {
    let head = reader.peek(STREAM_HEADER + 1)?;
    let Some(header) = StreamHeader::parse(head) else { return Ok(None) };
    let Some(length) = head.get(STREAM_HEADER).map(|byte| BlockHeader::length(*byte)) else {
        return Ok(None);
    };
    let head = reader.peek(STREAM_HEADER + length)?;
    let block = head.get(STREAM_HEADER..).and_then(BlockHeader::parse);
    Ok(block.map(|block| (header, block)))
}

/// Where reading ended.
enum Left {
    /// Before a stream, padding, or the end.
    Streams,
    /// Before a block, after these blocks.
    Rest(Records),
}

/// Starts the threads, reads, and waits for them. `None` when there are no threads, nothing was read then; no [`Left`]
/// when something failed.
fn side_by_side<S: Chunks, O: Scatter>(
    reader: &mut ChunkReader<S>,
    terms: Terms,
    shared: &Shared<'_, O>,
) -> Option<(Option<Left>, Unpacked)> {
    std::thread::scope(|scope| {
        let (jobs, todo) = channel();
        let todo = Arc::new(Mutex::new(todo));
        let start = |_| {
            let todo = todo.clone();
            let builder = std::thread::Builder::new().name("xz".to_owned());
            builder
                .spawn_scoped(scope, move || shared.work(&todo))
                .inspect_err(
                    |error| tracing::warn!(%error, "no further thread to unpack xz could be started"),
                )
                .ok()
        };
        let workers: Vec<_> = (0..terms.threads).map_while(start).collect();
        // With the last thread the jobs go, and whoever would wait for one to be done notices.
        drop(todo);
        if workers.is_empty() {
            return None;
        }
        let packed = Ring::new(PACKED_BUFFERS, PACKED_BYTES);
        let mut dealer = Dealer {
            reader,
            jobs,
            packed,
            shared,
            terms,
            dictionary: None,
            number: 0,
            offset: 0,
            gate: None,
        };
        let left = dealer.deal().map_err(|failure| {
            if matches!(failure, Failure::Stream(_)) {
                shared.give_up();
            }
            shared.fail(Failed { number: dealer.number, at: dealer.offset, failure });
        });
        let left = left.ok();
        let content = dealer.offset;
        drop(dealer);
        let count = u32::try_from(workers.len()).unwrap_or(1);
        // One that panicked has said so.
        let waited: Duration = workers.into_iter().map(|worker| worker.join().unwrap_or_default()).sum();
        Some((left, Unpacked { content, waited: waited / count }))
    })
}

/// Reads blocks and deals them out.
struct Dealer<'a, S, O> {
    reader: &'a mut ChunkReader<S>,
    jobs: Sender<Job>,
    packed: Ring,
    shared: &'a Shared<'a, O>,
    terms: Terms,
    /// That of all blocks, but for small ones, which blocks have that cannot be packed: so the decoders keep their memory.
    dictionary: Option<u64>,
    /// Blocks so far.
    number: u64,
    /// Where the content of the next belongs.
    offset: u64,
    /// Opens once the first content was looked at: nothing else is put out before.
    gate: Option<Receiver<()>>,
}

impl<S: Chunks, O: Scatter> Dealer<'_, S, O> {
    fn deal(&mut self) -> Result<Left, Failure> {
        loop {
            self.reader.skip_all(STREAM_HEADER as u64)?;
            let mut seen = Records::default();
            while let Some(first) = self.reader.peek(1)?.first().copied().filter(|byte| *byte != 0) {
                let head = self.reader.peek(BlockHeader::length(first))?;
                let Some(block) = BlockHeader::parse(head).filter(|block| self.takes(block)) else {
                    return Ok(Left::Rest(seen));
                };
                self.block(block, &mut seen)?;
            }
            self.index(seen)?;
            while self.reader.peek(PADDING.len())? == PADDING {
                self.reader.skip_all(PADDING.len() as u64)?;
            }
            let next = first_block(self.reader)?;
            if !next.is_some_and(|(header, block)| header == self.shared.header && self.takes(&block)) {
                return Ok(Left::Streams);
            }
        }
    }

    fn takes(&self, block: &BlockHeader) -> bool {
        let same = self.dictionary.is_none_or(|dictionary| block.dictionary == dictionary);
        (same || is_small(block)) && self.terms.take(block)
    }

    fn block(&mut self, block: BlockHeader, seen: &mut Records) -> Result<(), Failure> {
        let too_long = || Failure::corrupt("a block is longer than any image");
        let end = self.offset.checked_add(block.content).ok_or_else(too_long)?;
        self.shared.out.fits(end)?;
        let check = self.shared.header.check_length().unwrap_or(0);
        // Each fits 63 bits.
        let length = block.length + block.packed.next_multiple_of(4) + check;
        if let Some(gate) = self.gate.take() {
            gate.recv().map_err(|_| stopped())?;
        }
        let (pieces, packed) = channel();
        let (begun, gate) = channel();
        let first = self.number == 0;
        let (offset, content) = (self.offset, block.content);
        let (number, begun) = (self.number, first.then_some(begun));
        if !is_small(&block) {
            self.dictionary = Some(block.dictionary);
        }
        let job = Job { number, offset, content, small: is_small(&block), packed, begun };
        self.gate = first.then_some(gate);
        self.jobs.send(job).map_err(|_| stopped())?;
        self.number += 1;
        self.offset = end;
        self.pass(length, &pieces)?;
        seen.add(block.length + block.packed + check, block.content);
        Ok(())
    }

    /// Hands `length` bytes to a thread.
    fn pass(&mut self, length: u64, pieces: &Sender<Piece>) -> Result<(), Failure> {
        let mut left = length;
        while left > 0 {
            let mut buffer = self.packed.blocking_take();
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(PACKED_BYTES);
            let count = self.reader.fill(buffer.space().get_mut(..most).unwrap_or_default())?;
            buffer.set_length(count);
            pieces.send(Piece::Packed(buffer)).map_err(|_| stopped())?;
            if count < most {
                pieces.send(Piece::Cut).map_err(|_| stopped())?;
                return Err(Failure::Truncated);
            }
            left -= count as u64;
        }
        pieces.send(Piece::End).map_err(|_| stopped())
    }

    fn index(&mut self, seen: Records) -> Result<(), Failure> {
        let mut index = Index::new(self.shared.header, seen);
        loop {
            let input = self.reader.available()?;
            if input.is_empty() {
                return Err(Failure::Truncated);
            }
            let (count, ended) = index.read(input)?;
            self.reader.consume(count);
            if ended {
                return Ok(());
            }
        }
    }
}

/// Whether the dictionary is a small one.
fn is_small(block: &BlockHeader) -> bool {
    block.dictionary <= SMALL_DICTIONARY
}

/// A thread dropped its work: it has said why.
fn stopped() -> Failure {
    Failure::Stream(StreamError::Stopped)
}

#[cfg(test)]
#[path = "xz_blocks_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "xz_failure_tests.rs"]
mod failure_tests;
