//! Writes a raw image by its manifest: ranges in any order, hashed on all cores, fetched only when the disk does not
//! hold them already, fetched again one by one when they are wrong.

use std::{
    ops::Range as Bytes,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
        mpsc::SyncSender,
    },
    time::{Duration, Instant},
};

use bessemer_proto::{
    manifest::{Manifest, Range},
    step::StageWork,
};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    StreamError,
    fetch::{Body, Object},
    held_back, progress,
    write::Filled,
};
use crate::{
    disk::{
        Target,
        buffer::{Block, Ring},
    },
    steps::StepReport,
};

/// Length of a buffer, and how many all workers have.
const BUFFER_BYTES: usize = 1 << 20;
const BUFFERS: usize = 12;
/// Neighbouring ranges are fetched by one request of at most this length.
const REQUEST_BYTES: u64 = 8 << 20;
/// A range that is wrong is fetched so often.
const ATTEMPTS: u32 = 3;
/// After so many ranges that the disk does not hold, only every so-manieth is looked at.
const MISSES: u32 = 16;

/// What the workers share.
pub(super) struct Ranged {
    pub(super) object: Arc<Object>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) target: Arc<Target>,
    pub(super) report: Arc<dyn StepReport>,
    pub(super) network: Handle,
    pub(super) stop: CancellationToken,
    next: AtomicUsize,
    requests: Vec<Bytes<usize>>,
    /// Ranges in a row that the disk did not hold.
    misses: AtomicU32,
    done: AtomicU64,
    reported: Mutex<Instant>,
    kept: AtomicU64,
}

/// What a worker did.
#[derive(Default)]
pub(super) struct Worked {
    fetching: Duration,
    hashing: Duration,
    fetched: u64,
    hashed: u64,
}

impl Ranged {
    pub(super) fn new(
        (object, manifest): (Arc<Object>, Arc<Manifest>),
        target: Arc<Target>,
        report: Arc<dyn StepReport>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            requests: requests(&manifest.ranges),
            object,
            manifest,
            target,
            report,
            network: Handle::current(),
            stop,
            next: AtomicUsize::new(0),
            misses: AtomicU32::new(0),
            done: AtomicU64::new(0),
            reported: Mutex::new(Instant::now()),
            kept: AtomicU64::new(0),
        }
    }

    /// Bytes that the disk held already.
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Does requests until none is left: the work of one thread of several.
    pub(super) fn work(&self, filled: &SyncSender<Filled>, workers: usize) -> Result<Worked, StreamError> {
        let ring = Ring::new((BUFFERS / workers.max(1)).max(2), BUFFER_BYTES);
        let mut worker = Worker { shared: self, ring, filled, worked: Worked::default() };
        loop {
            let Some(request) = self.requests.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return Ok(worker.worked);
            };
            worker.request(request.clone())?;
        }
    }

    fn range(&self, index: usize) -> Result<&Range, StreamError> {
        // The indices come from the same list.
        self.manifest.ranges.get(index).ok_or(StreamError::Stopped)
    }

    fn is_done(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = self.manifest.data_bytes();
        // Who comes while another reports has nothing to add.
        if let Ok(mut reported) = self.reported.try_lock()
            && (done == total || reported.elapsed() >= progress::INTERVAL)
        {
            *reported = Instant::now();
            self.report.progress(progress::WRITING, done, total);
        }
    }

    /// Whether to look if the disk holds the range already. The boot area is always written anew.
    fn is_worth_a_look(&self, index: usize, range: &Range) -> bool {
        let held = held_back::HELD_BYTES + 4096;
        let end = range.offset + range.length;
        let outside = range.offset >= held && end <= self.target.size().saturating_sub(held);
        let likely = self.misses.load(Ordering::Relaxed) < MISSES || index.is_multiple_of(MISSES as usize);
        outside && likely && !self.target.grows()
    }
}

/// Indices of neighbouring ranges that one request can fetch.
fn requests(ranges: &[Range]) -> Vec<Bytes<usize>> {
    let mut requests: Vec<Bytes<usize>> = Vec::new();
    let mut length = 0;
    let mut end = None;
    for (index, range) in ranges.iter().enumerate() {
        match requests.last_mut() {
            Some(request) if end == Some(range.offset) && length + range.length <= REQUEST_BYTES => {
                request.end = index + 1;
                length += range.length;
            }
            _ => {
                requests.push(index..index + 1);
                length = range.length;
            }
        }
        end = Some(range.offset + range.length);
    }
    requests
}

struct Worker<'a> {
    shared: &'a Ranged,
    ring: Ring,
    filled: &'a SyncSender<Filled>,
    worked: Worked,
}

impl Worker<'_> {
    fn request(&mut self, indices: Bytes<usize>) -> Result<(), StreamError> {
        let mut missing: Option<Bytes<usize>> = None;
        for index in indices {
            if self.shared.stop.is_cancelled() {
                return Err(StreamError::Cancelled);
            }
            if self.is_held(index)? {
                self.fetch(missing.take())?;
            } else {
                missing = Some(missing.map_or(index, |before| before.start)..index + 1);
            }
        }
        self.fetch(missing)
    }

    /// Whether the disk holds the range already.
    fn is_held(&mut self, index: usize) -> Result<bool, StreamError> {
        let range = *self.shared.range(index)?;
        if !self.shared.is_worth_a_look(index, &range) {
            return Ok(false);
        }
        let mut hasher = Sha256::new();
        let mut at = range.offset;
        let mut block = self.ring.blocking_take();
        while at < range.offset + range.length {
            let length = length_of(range.offset + range.length - at);
            let piece = block.space().get_mut(..length).unwrap_or_default();
            self.shared.target.read_at(piece, at)?;
            let begun = Instant::now();
            hasher.update(&*piece);
            self.worked.hashing += begun.elapsed();
            at += length as u64;
        }
        self.worked.hashed += range.length;
        if hasher.finalize()[..] != range.sha256 {
            self.shared.misses.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        }
        self.shared.misses.store(0, Ordering::Relaxed);
        self.shared.kept.fetch_add(range.length, Ordering::Relaxed);
        self.shared.is_done(range.length);
        Ok(true)
    }

    /// Fetches neighbouring ranges with one request, and those that are wrong again.
    fn fetch(&mut self, indices: Option<Bytes<usize>>) -> Result<(), StreamError> {
        let Some(indices) = indices else { return Ok(()) };
        let start = self.shared.range(indices.start)?.offset;
        let last = self.shared.range(indices.end.saturating_sub(1))?;
        let mut stream = RangeStream::new(self.shared.object.range(start..last.offset + last.length));
        for index in indices {
            let range = *self.shared.range(index)?;
            let mut right = self.one(&range, &mut stream)?;
            let mut attempt = 1;
            while !right {
                if attempt == ATTEMPTS {
                    return Err(StreamError::Range {
                        offset: range.offset,
                        length: range.length,
                        attempts: attempt,
                    });
                }
                attempt += 1;
                self.shared.report.warning(format!(
                    "{} bytes at byte {} of the image do not have the digest that the manifest has for them; fetching them again",
                    range.length, range.offset
                ));
                self.shared.object.counts.retries.fetch_add(1, Ordering::Relaxed);
                let again = self.shared.object.range(range.offset..range.offset + range.length);
                right = self.one(&range, &mut RangeStream::new(again))?;
            }
            self.shared.is_done(range.length);
        }
        Ok(())
    }

    /// Reads one range off the stream and sends it to the disk; false when it is wrong. A range of one buffer is
    /// proved first; of a longer one wrong bytes may reach the disk, but never its boot area.
    fn one(&mut self, range: &Range, stream: &mut RangeStream) -> Result<bool, StreamError> {
        let mut hasher = Sha256::new();
        let end = range.offset + range.length;
        let mut at = range.offset;
        while at < end {
            let length = length_of(end - at);
            let mut block = self.ring.blocking_take();
            let begun = Instant::now();
            self.shared.network.block_on(stream.fill(&mut block, length, &self.shared.stop))?;
            self.worked.fetching += begun.elapsed();
            let begun = Instant::now();
            hasher.update(block.as_ref());
            let last = at + length as u64 == end;
            let right = !last || hasher.finalize_reset()[..] == range.sha256;
            self.worked.hashing += begun.elapsed();
            self.worked.fetched += length as u64;
            self.worked.hashed += length as u64;
            if !right {
                return Ok(false);
            }
            self.filled.send(Filled::Data { block, offset: at }).map_err(|_| StreamError::Stopped)?;
            at += length as u64;
        }
        Ok(true)
    }
}

fn length_of(left: u64) -> usize {
    usize::try_from(left).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES)
}

/// A body read by lengths instead of chunks.
struct RangeStream {
    body: Body,
    rest: bytes::Bytes,
}

impl RangeStream {
    fn new(body: Body) -> Self {
        Self { body, rest: bytes::Bytes::new() }
    }

    /// Puts exactly `length` bytes into the empty block.
    async fn fill(
        &mut self,
        block: &mut Block,
        length: usize,
        stop: &CancellationToken,
    ) -> Result<(), StreamError> {
        while block.as_ref().len() < length {
            if self.rest.is_empty() {
                let next = stop.run_until_cancelled(self.body.next()).await;
                // The body ends only after all bytes of the ranges.
                self.rest = next.ok_or(StreamError::Cancelled)??.ok_or(StreamError::Stopped)?;
            }
            let wanted = self.rest.len().min(length - block.as_ref().len());
            block.append(&self.rest.split_to(wanted));
        }
        Ok(())
    }
}

/// The accounts of the workers, as if they were one: what counts is how long each was busy on average.
pub(super) fn account(workers: &[Worked], elapsed: Duration) -> [StageWork; 2] {
    let count = workers.len().max(1) as f64;
    let of = |name: &str, bytes: u64, busy: Duration| {
        let busy_seconds = busy.as_secs_f64() / count;
        let waiting_seconds = (elapsed.as_secs_f64() - busy_seconds).max(0.0);
        StageWork { name: name.to_owned(), bytes, busy_seconds, waiting_seconds }
    };
    [
        of("fetch", workers.iter().map(|w| w.fetched).sum(), workers.iter().map(|w| w.fetching).sum()),
        of("digest", workers.iter().map(|w| w.hashed).sum(), workers.iter().map(|w| w.hashing).sum()),
    ]
}

/// What no range of the manifest covers.
pub(super) fn gaps(manifest: &Manifest) -> Vec<Bytes<u64>> {
    let mut gaps = Vec::new();
    let mut at = 0;
    for range in &manifest.ranges {
        if range.offset > at {
            gaps.push(at..range.offset);
        }
        at = range.offset + range.length;
    }
    if manifest.image_bytes > at {
        gaps.push(at..manifest.image_bytes);
    }
    gaps
}
