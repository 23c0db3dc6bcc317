//! Writes a raw image by its manifest: ranges in any order, hashed on all cores, fetched only when the disk does not
//! hold them already, fetched again one by one when they are wrong.

use std::{
    ops::Range as Bytes,
    sync::{
        Arc,
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
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    StreamError,
    fetch::{Body, Object},
    held_back,
    parallel::in_parallel,
    pipeline::BUFFER_BYTES,
    progress::{self, Meter},
    write::Filled,
};
use crate::{
    disk::{
        Target,
        buffer::{Block, Ring},
    },
    steps::StepReport,
};

/// Buffers of all workers.
const BUFFERS: usize = 12;
/// Neighbouring ranges are fetched by one request of at most this length.
const REQUEST_BYTES: u64 = 8 << 20;
/// A range that is wrong is fetched so often.
const ATTEMPTS: u32 = 3;
/// Before the second attempt; more before the third.
const PAUSE: Duration = Duration::from_millis(200);
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
    /// As many fetch at once.
    connections: Semaphore,
    fetching: AtomicU64,
    /// Ranges in a row that the disk did not hold.
    misses: AtomicU32,
    meter: Meter,
    bytes_kept: AtomicU64,
    ranges_kept: AtomicU64,
}

/// Each range of a manifest was seen with its own digest: on the way to the disk, or on the disk itself. Only
/// [`Ranged::run`] makes one.
pub(super) struct RangesRight {
    bytes: u64,
}

impl RangesRight {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
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
        connections: u8,
        stop: CancellationToken,
    ) -> Self {
        let meter = Meter::new(progress::WRITING, manifest.data_bytes(), report.clone());
        Self {
            requests: requests(&manifest.ranges),
            object,
            manifest,
            target,
            report,
            network: Handle::current(),
            stop,
            next: AtomicUsize::new(0),
            connections: Semaphore::new(usize::from(connections.max(1))),
            fetching: AtomicU64::new(0),
            misses: AtomicU32::new(0),
            meter,
            bytes_kept: AtomicU64::new(0),
            ranges_kept: AtomicU64::new(0),
        }
    }

    /// Sends all that the disk lacks, with its zeros, and the word that this is all.
    pub(super) fn run(
        &self,
        workers: usize,
        filled: &SyncSender<Filled>,
    ) -> Result<(RangesRight, Vec<Worked>), StreamError> {
        filled.send(Filled::Begin).map_err(|_| StreamError::Stopped)?;
        let worked = in_parallel(workers, |number| {
            let zeros = if number == 0 { gaps(&self.manifest) } else { Vec::new() };
            let sent = zeros
                .into_iter()
                .try_for_each(|gap| filled.send(Filled::Zeros(gap)).map_err(|_| StreamError::Stopped));
            sent.and_then(|()| self.work(filled, workers)).inspect_err(|_| self.stop.cancel())
        })?;
        filled.send(Filled::End).map_err(|_| StreamError::Stopped)?;
        // Every worker went on until no range was left, and none failed.
        Ok((RangesRight { bytes: self.manifest.data_bytes() }, worked))
    }

    /// Bytes that the disk held already.
    pub(super) fn bytes_kept(&self) -> u64 {
        self.bytes_kept.load(Ordering::Relaxed)
    }

    /// Ranges that the disk held already.
    pub(super) fn ranges_kept(&self) -> u64 {
        self.ranges_kept.load(Ordering::Relaxed)
    }

    /// Does requests until none is left: the work of one thread of several.
    fn work(&self, filled: &SyncSender<Filled>, workers: usize) -> Result<Worked, StreamError> {
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
            if let Err(error) = self.shared.target.read_at(piece, at) {
                // Writing it anew is what may heal it.
                tracing::warn!(%error, "what the disk holds cannot be read; fetching it");
                return Ok(false);
            }
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
        self.shared.bytes_kept.fetch_add(range.length, Ordering::Relaxed);
        self.shared.ranges_kept.fetch_add(1, Ordering::Relaxed);
        self.shared.meter.add(range.length);
        Ok(true)
    }

    /// Fetches neighbouring ranges with one request, and those that are wrong again.
    fn fetch(&mut self, indices: Option<Bytes<usize>>) -> Result<(), StreamError> {
        let Some(indices) = indices else { return Ok(()) };
        let permit = self.shared.connections.acquire();
        let permit = self.shared.network.block_on(self.shared.stop.run_until_cancelled(permit));
        // The semaphore is never closed.
        let _permit = permit.ok_or(StreamError::Cancelled)?.map_err(|_| StreamError::Stopped)?;
        let at_once = self.shared.fetching.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.object.counts.connections.fetch_max(at_once, Ordering::Relaxed);
        let fetched = self.fetch_with_permit(indices);
        self.shared.fetching.fetch_sub(1, Ordering::Relaxed);
        fetched
    }

    fn fetch_with_permit(&mut self, indices: Bytes<usize>) -> Result<(), StreamError> {
        let start = self.shared.range(indices.start)?.offset;
        let last = *self.shared.range(indices.end.saturating_sub(1))?;
        let mut stream = RangeStream::new(self.shared.object.part(start..last.offset + last.length));
        for index in indices {
            let range = *self.shared.range(index)?;
            let (mut attempt, mut again, mut broken) = (1, None, false);
            while let Some(error) = self.attempt(&range, again.as_mut().unwrap_or(&mut stream), attempt)? {
                if attempt == ATTEMPTS {
                    return Err(error);
                }
                broken |= !matches!(error, StreamError::Range { .. });
                let cause = format!("{:#}", anyhow::Error::from(error));
                self.shared.report.warning(format!("{cause}; fetching it again"));
                self.shared.object.counts.retries.fetch_add(1, Ordering::Relaxed);
                let pause = async { tokio::time::sleep(PAUSE * attempt).await };
                self.shared.network.block_on(self.shared.stop.run_until_cancelled(pause));
                attempt += 1;
                let end = range.offset + range.length;
                again = Some(RangeStream::new(self.shared.object.part(range.offset..end)));
            }
            if broken {
                let rest = range.offset + range.length..last.offset + last.length;
                stream = RangeStream::new(self.shared.object.part(rest));
            }
            self.shared.meter.add(range.length);
        }
        Ok(())
    }

    /// The same; what may be right the next time is handed back.
    fn attempt(
        &mut self,
        range: &Range,
        stream: &mut RangeStream,
        attempts: u32,
    ) -> Result<Option<StreamError>, StreamError> {
        let (offset, length) = (range.offset, range.length);
        match self.one(range, stream) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(StreamError::Range { offset, length, attempts })),
            // One server of several behind a name may have no ranges.
            Err(StreamError::Fetch(error)) if error.is_about_ranges() => Ok(Some(error.into())),
            Err(error) => Err(error),
        }
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
