//! A write by manifest as a whole: workers that fetch and prove ranges, the write stage behind them, the disk read back
//! when it is asked for or when nobody vouches for the manifest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Instant,
};

use bessemer_proto::{
    digest::Digest,
    manifest::{Manifest, Range},
    step::{ImageFormat, StageWork},
};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    StreamError,
    boot_area::BootArea,
    digest::{self, Hasher},
    fetch::Object,
    held_back::HeldBack,
    pipeline::{self, KnownManifest, WriteOptions, Written},
    proof::Verified,
    ranged::{self, Ranged, Worked},
    stage::{cause, stage},
    work::StageClock,
    write::{Filled, write_body},
    zeros::is_zero,
};
use crate::{
    disk::{Target, buffer::AlignedBuffer},
    steps::StepReport,
};

/// Blocks that wait for the disk.
const QUEUED: usize = 8;
/// Read back at once.
const READ: usize = 1 << 20;

/// A raw image whose server takes ranges.
pub(super) struct Known {
    pub(super) object: Arc<Object>,
    pub(super) known: KnownManifest,
    /// The image's own digest.
    pub(super) expected: Option<Digest>,
}

/// Writes it. The promises are those of [`pipeline::run`].
pub(super) async fn run(
    image: Known,
    options: WriteOptions,
    target: Arc<Target>,
    report: Arc<dyn StepReport>,
    cancel: &CancellationToken,
) -> Result<Written, StreamError> {
    let Known { object, known, expected } = image;
    let manifest = known.manifest.clone();
    let bytes = manifest.image_bytes;
    if bytes > target.size() {
        let device = target.path().display().to_string();
        return Err(StreamError::TooLarge { image: bytes, disk: target.size(), device });
    }
    let stop = cancel.child_token();
    let _stop_on_drop = stop.clone().drop_guard();
    let (filled, to_write) = sync_channel::<Filled>(QUEUED);
    let parts = (object.clone(), manifest.clone());
    let ranged = Arc::new(Ranged::new(parts, target.clone(), report.clone(), stop.clone()));
    let workers = usize::from(options.connections).max(2);
    object.counts.connections.store(workers as u64, Ordering::Relaxed);
    let begun = Instant::now();
    let work = stage("ranges", {
        let (ranged, stop) = (ranged.clone(), stop.clone());
        move || coordinate(&ranged, workers, &filled).inspect_err(|_| stop.cancel())
    });
    let write = stage("write", {
        let (target, stop) = (target.clone(), stop.clone());
        // Read back afterwards, with the digests of the manifest.
        move || write_body(&to_write, &target, false, &stop).inspect_err(|_| stop.cancel())
    });
    let work = work.await.unwrap_or(Err(StreamError::Died("ranges")));
    let write = write.await.unwrap_or(Err(StreamError::Died("write")));
    if cancel.is_cancelled() {
        return Err(StreamError::Cancelled);
    }
    let (worked, body) = match (work, write) {
        (Ok(worked), Ok(body)) => (worked, body),
        (work, write) => return Err(cause([work.err(), write.err()].into_iter().flatten())),
    };
    let accounts = ranged::account(&worked, begun.elapsed());
    let mut work = pipeline::account(&object, accounts.into_iter(), &body);
    work.bytes_kept = ranged.kept();
    let started = body.started;
    let last = ReadBack { target: target.clone(), manifest, stop };
    let area = BootArea { target, report, bytes, verify_readback: options.verify_readback };
    let last = stage("boot area", move || {
        let (verified, read_back) = last.prove(&known, expected, options.verify_readback, &body.held_back)?;
        let of_area = area.finish(&verified, &body.held_back)?;
        Ok((verified, read_back, of_area))
    });
    let (verified, read_back, of_area) = last.await.unwrap_or(Err(StreamError::Died("boot area")))?;
    work.bytes_read_back = read_back.as_ref().map_or(0, |account| account.bytes) + of_area;
    work.stages.extend(read_back);
    work.bottleneck = super::work::bottleneck(&work.stages);
    Ok(Written { verified, format: ImageFormat::Raw, bytes_written: bytes, started, work })
}

/// Runs the workers and says when all is sent.
fn coordinate(
    ranged: &Ranged,
    workers: usize,
    filled: &SyncSender<Filled>,
) -> Result<Vec<Worked>, StreamError> {
    filled.send(Filled::Begin).map_err(|_| StreamError::Stopped)?;
    let results = in_parallel(workers, |number| {
        let zeros = if number == 0 { ranged::gaps(&ranged.manifest) } else { Vec::new() };
        let sent = zeros
            .into_iter()
            .try_for_each(|gap| filled.send(Filled::Zeros(gap)).map_err(|_| StreamError::Stopped));
        sent.and_then(|()| ranged.work(filled, workers)).inspect_err(|_| ranged.stop.cancel())
    })?;
    filled.send(Filled::End).map_err(|_| StreamError::Stopped)?;
    Ok(results)
}

/// Runs `work` on several threads; all results, or the error to blame.
fn in_parallel<T: Send>(
    workers: usize,
    work: impl Fn(usize) -> Result<T, StreamError> + Sync,
) -> Result<Vec<T>, StreamError> {
    let results: Vec<Result<T, StreamError>> = std::thread::scope(|scope| {
        let work = &work;
        let start = |number| {
            let builder = std::thread::Builder::new().name(format!("ranges {number}"));
            builder.spawn_scoped(scope, move || work(number))
        };
        let threads: Vec<_> = (0..workers).map(start).collect();
        let join = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match thread {
            Ok(thread) => thread.join().unwrap_or(Err(StreamError::Died("ranges"))),
            Err(_) => Err(StreamError::Died("ranges")),
        };
        threads.into_iter().map(join).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    if bad.is_empty() {
        return Ok(good.into_iter().flatten().collect());
    }
    Err(cause(bad.into_iter().filter_map(Result::err)))
}

/// The last look at the disk before its boot area is written.
struct ReadBack {
    target: Arc<Target>,
    manifest: Arc<Manifest>,
    stop: CancellationToken,
}

impl ReadBack {
    /// The proof, and what reading back took.
    fn prove(
        &self,
        known: &KnownManifest,
        expected: Option<Digest>,
        verify: bool,
        held_back: &HeldBack,
    ) -> Result<(Verified, Option<StageWork>), StreamError> {
        let bytes = self.manifest.image_bytes;
        match expected {
            // Nobody vouches for the manifest: only the whole disk can prove the image.
            Some(expected) if !known.trusted => {
                let mut clock = StageClock::new("read back");
                let mut hasher = Hasher::new(expected.algorithm());
                self.read(0..bytes, held_back, |piece, _| {
                    hasher.update(piece);
                    Ok(())
                })?;
                clock.bytes = bytes;
                Ok((digest::compare(hasher, expected, bytes)?, Some(clock.finish())))
            }
            expected => {
                let account = verify.then(|| self.compare(held_back)).transpose()?;
                Ok((known.proved(expected, self.manifest.data_bytes()), account))
            }
        }
    }

    /// Every range on the disk must have its digest, the rest must be zero.
    fn compare(&self, held_back: &HeldBack) -> Result<StageWork, StreamError> {
        let mut clock = StageClock::new("read back");
        clock.bytes = self.manifest.image_bytes;
        let gaps = ranged::gaps(&self.manifest);
        let next = AtomicUsize::new(0);
        let cores = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        in_parallel(cores, |_| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if let Some(range) = self.manifest.ranges.get(index) {
                    self.compare_range(range, held_back)?;
                } else if let Some(gap) = gaps.get(index - self.manifest.ranges.len()) {
                    self.read(gap.clone(), held_back, |piece, at| match is_zero(piece) {
                        true => Ok(()),
                        false => Err(self.differs(at, piece.len() as u64)),
                    })?;
                } else {
                    return Ok(());
                }
            }
        })?;
        Ok(clock.finish())
    }

    fn compare_range(&self, range: &Range, held_back: &HeldBack) -> Result<(), StreamError> {
        let mut hasher = Sha256::new();
        self.read(range.offset..range.offset + range.length, held_back, |piece, _| {
            hasher.update(piece);
            Ok(())
        })?;
        match hasher.finalize()[..] == range.sha256 {
            true => Ok(()),
            false => Err(self.differs(range.offset, range.length)),
        }
    }

    /// Reads the disk as it will be once the boot area is written.
    fn read(
        &self,
        bytes: std::ops::Range<u64>,
        held_back: &HeldBack,
        mut see: impl FnMut(&[u8], u64) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let mut buffer = AlignedBuffer::new(READ);
        for (at, length) in super::readback::pieces(bytes) {
            if self.stop.is_cancelled() {
                return Err(StreamError::Cancelled);
            }
            let piece = buffer.get_mut(..length).unwrap_or_default();
            self.read_piece(piece, at)?;
            held_back.overlay(piece, at);
            see(piece, at)?;
        }
        Ok(())
    }

    /// What was never written to a file that grows reads as zeros.
    fn read_piece(&self, piece: &mut [u8], at: u64) -> Result<(), StreamError> {
        self.target.end_at_least(at + piece.len() as u64)?;
        Ok(self.target.read_at(piece, at)?)
    }

    fn differs(&self, offset: u64, length: u64) -> StreamError {
        StreamError::ReadBack { device: self.target.path().display().to_string(), offset, length }
    }
}

#[cfg(test)]
#[path = "by_manifest_tests.rs"]
mod tests;
