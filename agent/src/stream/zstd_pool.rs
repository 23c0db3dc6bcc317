//! Unpacks small Zstandard frames side by side and hands them back in order. Everything it holds is in
//! [`SLOTS`] slots of one packed and one unpacked frame, used again and again: at most 4 × (4 + 4) MiB.

use std::{
    collections::VecDeque,
    io::{self, BufRead},
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use super::{
    StreamError,
    chunks::{ChunkReader, Chunks},
    zstd_header::FrameHeader,
};

/// Most content of a frame that is unpacked here.
pub(super) const LARGEST_CONTENT: usize = 4 << 20;
/// Least content that is worth the way to another thread.
const SMALLEST_CONTENT: usize = 32 << 10;
/// What incompressible content of that length packs to, and more.
const LARGEST_PACKED: usize = LARGEST_CONTENT + (64 << 10);
/// Most content of a block (RFC 8878, 3.1.1.2.4), if the window is not smaller.
const LARGEST_BLOCK: u64 = 128 << 10;
/// Frames that are held: packed, being unpacked, or being read.
const SLOTS: usize = 4;
/// Threads are of use up to this number.
const THREADS: usize = 4;

/// Memory for one frame.
pub(super) struct Slot {
    /// The frame as it came.
    pub(super) packed: Vec<u8>,
    /// Its content.
    pub(super) content: Vec<u8>,
    /// Whether unpacking worked.
    pub(super) good: bool,
}

/// The threads and the slots.
pub(super) struct Pool {
    workers: Vec<Worker>,
    /// Most threads.
    threads: usize,
    /// The thread that got the last frame.
    last: usize,
    /// The threads that have frames, in the order of the frames.
    order: VecDeque<usize>,
    /// Slots that wait for a frame.
    spare: Vec<Slot>,
    /// Slots that there are.
    slots: usize,
}

impl Pool {
    /// One for this machine. A single core gains nothing, so there it takes no frames.
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(if cores > 1 { cores.min(THREADS) } else { 0 })
    }

    pub(super) fn with_threads(threads: usize) -> Self {
        Self { workers: Vec::new(), threads, last: 0, order: VecDeque::new(), spare: Vec::new(), slots: 0 }
    }

    /// Whether a frame can be taken in.
    pub(super) fn has_room(&self) -> bool {
        !self.spare.is_empty() || self.slots < SLOTS
    }

    /// Takes the next frame out of the stream, when it is one for the pool. Otherwise the stream is as before.
    pub(super) fn take_in<S: Chunks>(
        &mut self,
        reader: &mut ChunkReader<S>,
        header: &FrameHeader,
    ) -> Result<bool, StreamError> {
        let sizes = SMALLEST_CONTENT as u64..=LARGEST_CONTENT as u64;
        if self.threads == 0 || header.content.is_some_and(|content| !sizes.contains(&content)) {
            return Ok(false);
        }
        let Some(mut slot) = self.free_slot() else { return Ok(false) };
        slot.packed.clear();
        let taken = match cut_out(reader, header, &mut slot.packed) {
            Ok(true) => self.send(slot),
            Ok(false) => Err(slot),
            Err(error) => {
                self.give_back(slot);
                return Err(error);
            }
        };
        let Err(slot) = taken else { return Ok(true) };
        reader.unread(&slot.packed);
        self.give_back(slot);
        Ok(false)
    }

    fn free_slot(&mut self) -> Option<Slot> {
        if self.spare.is_empty() && self.slots < SLOTS {
            self.slots += 1;
            // Memory that is not touched is not there yet; growing by and by would take twice as much.
            let (packed, content) = (Vec::with_capacity(LARGEST_PACKED), Vec::with_capacity(LARGEST_CONTENT));
            return Some(Slot { packed, content, good: false });
        }
        self.spare.pop()
    }

    /// Gives the frame to the next thread, starting it if need be; back when there is none.
    fn send(&mut self, slot: Slot) -> Result<(), Slot> {
        if self.workers.len() < self.threads {
            match Worker::start() {
                Ok(worker) => self.workers.push(worker),
                Err(error) => {
                    tracing::warn!(%error, "no further thread to unpack zstd frames could be started");
                    self.threads = self.workers.len();
                }
            }
        }
        let next = (self.last + 1) % self.workers.len().max(1);
        let Some(jobs) = self.workers.get(next).and_then(|worker| worker.jobs.as_ref()) else {
            return Err(slot);
        };
        jobs.send(slot).map_err(|refused| refused.0)?;
        self.last = next;
        self.order.push_back(next);
        Ok(())
    }

    /// Waits for the oldest frame; `None` when there is none.
    pub(super) fn next(&mut self) -> Result<Option<Slot>, StreamError> {
        let Some(worker) = self.order.pop_front().and_then(|index| self.workers.get(index)) else {
            return Ok(None);
        };
        worker.results.recv().map(Some).map_err(|_| StreamError::Died("decode"))
    }

    /// Takes back a slot whose content was read.
    pub(super) fn give_back(&mut self, slot: Slot) {
        self.spare.push(slot);
    }
}

/// One thread. It ends when this is dropped.
struct Worker {
    jobs: Option<Sender<Slot>>,
    results: Receiver<Slot>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start() -> io::Result<Self> {
        let (jobs, todo) = channel::<Slot>();
        let (done, results) = channel();
        let thread = std::thread::Builder::new().name("zstd".to_owned()).spawn(move || work(&todo, &done))?;
        Ok(Self { jobs: Some(jobs), results, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        // At most the frames of the slots are still to be unpacked: milliseconds.
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn work(todo: &Receiver<Slot>, done: &Sender<Slot>) {
    let mut unpacker = zstd::bulk::Decompressor::new();
    while let Ok(mut slot) = todo.recv() {
        slot.content.clear();
        slot.good = unpacker
            .as_mut()
            .is_ok_and(|unpacker| unpacker.decompress_to_buffer(&slot.packed, &mut slot.content).is_ok());
        if done.send(slot).is_err() {
            return;
        }
    }
}

/// Moves one frame out of the stream by its block headers. `false` when it is too large or not complete; what was
/// taken is in `frame` then, too.
fn cut_out<S: Chunks>(
    reader: &mut ChunkReader<S>,
    header: &FrameHeader,
    frame: &mut Vec<u8>,
) -> Result<bool, StreamError> {
    if !take(reader, header.length, frame)? {
        return Ok(false);
    }
    let mut content = 0;
    loop {
        let start = frame.len();
        if !take(reader, 3, frame)? {
            return Ok(false);
        }
        let Some(&[low, middle, high]) = frame.get(start..) else { return Ok(false) };
        let word = u32::from_le_bytes([low, middle, high, 0]);
        let length = word >> 3;
        let (packed, unpacked) = match word >> 1 & 3 {
            0 => (length, u64::from(length)),
            1 => (1, u64::from(length)),
            2 => (length, header.window.min(LARGEST_BLOCK)),
            _ => return Ok(false),
        };
        content += unpacked;
        let too_large = header.content.is_none() && content > LARGEST_CONTENT as u64;
        if too_large || !take(reader, packed as usize, frame)? {
            return Ok(false);
        }
        if word & 1 != 0 {
            return take(reader, if header.checksum { 4 } else { 0 }, frame);
        }
    }
}

/// Moves `length` bytes to the end of `frame`, unless that gets too long.
fn take<S: Chunks>(
    reader: &mut ChunkReader<S>,
    length: usize,
    frame: &mut Vec<u8>,
) -> Result<bool, StreamError> {
    let end = frame.len() + length;
    if end > LARGEST_PACKED {
        return Ok(false);
    }
    while frame.len() < end {
        let available = reader.available()?;
        let count = available.len().min(end - frame.len());
        if count == 0 {
            return Ok(false);
        }
        frame.extend_from_slice(available.get(..count).unwrap_or_default());
        reader.consume(count);
    }
    Ok(true)
}
