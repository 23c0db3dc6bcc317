//! A write by manifest as a whole: workers that fetch and prove ranges, the write stage behind them, the disk read back
//! when it is asked for, or when nobody vouches for a manifest of the image with the declared digest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
    time::Instant,
};

use bessemer_proto::{
    digest::Digest,
    manifest::{Manifest, Range},
    step::{ImageFormat, StageWork, WriteWork},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    StreamError,
    boot_area::BootArea,
    digest::Hasher,
    fetch::Object,
    fit,
    held_back::HeldBack,
    parallel::{cores, in_parallel},
    pipeline::{self, WriteOptions, Written},
    progress::{self, Meter},
    proof::{KnownManifest, Verified},
    ranged::{self, Ranged, RangesRight, Worked},
    stage::{cause, stage},
    work::StageClock,
    write::{BodyWritten, Filled, write_body},
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
    /// Its first bytes.
    pub(super) head: Bytes,
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
    let Known { object, head, known, expected } = image;
    let manifest = known.manifest.clone();
    let bytes = manifest.image_bytes;
    fit::size(bytes, &target)?;
    fit::table_so_far(&head, Some(bytes), &target)?;
    let stop = cancel.child_token();
    let _stop_on_drop = stop.clone().drop_guard();
    let (filled, to_write) = sync_channel::<Filled>(QUEUED);
    let parts = (object, manifest.clone());
    let ranged = Ranged::new(parts, target.clone(), report.clone(), options.connections, stop.clone());
    let ranged = Arc::new(ranged);
    // Threads that hash beside those that wait for the server.
    let workers = cores().max(usize::from(options.connections));
    let begun = Instant::now();
    let work = stage("ranges", {
        let (ranged, stop) = (ranged.clone(), stop.clone());
        move || ranged.run(workers, &filled).inspect_err(|_| stop.cancel())
    });
    let write = stage("write", {
        let (target, report, stop) = (target.clone(), report.clone(), stop.clone());
        // Read back afterwards, with the digests of the manifest.
        move || write_body(&to_write, &target, false, &report, &stop).inspect_err(|_| stop.cancel())
    });
    let work = work.await.unwrap_or(Err(StreamError::Died("ranges")));
    let write = write.await.unwrap_or(Err(StreamError::Died("write")));
    if cancel.is_cancelled() {
        return Err(StreamError::Cancelled);
    }
    let ((right, worked), body) = match (work, write) {
        (Ok(work), Ok(body)) => (work, body),
        (work, write) => return Err(cause([work.err(), write.err()].into_iter().flatten())),
    };
    let mut work = account(&ranged, &worked, begun, &body);
    let bytes_received = manifest.data_bytes().saturating_sub(work.bytes_kept);
    let manifest_digest = Some(known.digest.clone());
    let started = body.started;
    let meter = Meter::new(progress::READING_BACK, bytes, report.clone());
    let last = ReadBack { target: target.clone(), manifest, meter, stop };
    let area = BootArea { target, report, bytes, verify_readback: options.verify_readback };
    let last = stage("boot area", move || {
        let (verified, read_back) =
            last.prove((&known, &right), expected, options.verify_readback, &body.held_back)?;
        let of_area = area.finish(&verified, &body.held_back)?;
        Ok((verified, read_back, of_area))
    });
    let (verified, read_back, of_area) = last.await.unwrap_or(Err(StreamError::Died("boot area")))?;
    work.bytes_read_back = read_back.as_ref().map_or(0, |account| account.bytes) + of_area;
    work.stages.extend(read_back);
    work.bottleneck = super::work::bottleneck(&work.stages);
    Ok(Written {
        verified,
        format: ImageFormat::Raw,
        manifest_digest,
        bytes_received,
        bytes_written: bytes,
        started,
        work,
    })
}

fn account(ranged: &Ranged, worked: &[Worked], begun: Instant, body: &BodyWritten) -> WriteWork {
    let of_workers = ranged::account(worked, begun.elapsed());
    WriteWork {
        ranges: ranged.manifest.ranges.len() as u64,
        ranges_kept: ranged.ranges_kept(),
        bytes_kept: ranged.bytes_kept(),
        ..pipeline::account(&ranged.object, of_workers.into_iter(), body)
    }
}

/// The last look at the disk before its boot area is written.
struct ReadBack {
    target: Arc<Target>,
    manifest: Arc<Manifest>,
    meter: Meter,
    stop: CancellationToken,
}

impl ReadBack {
    /// The proof, and what reading back took.
    fn prove(
        &self,
        (known, right): (&KnownManifest, &RangesRight),
        expected: Option<Digest>,
        verify: bool,
        held_back: &HeldBack,
    ) -> Result<(Verified, Option<StageWork>), StreamError> {
        let bytes = self.manifest.image_bytes;
        match (known.as_trusted(), expected) {
            (Some(trusted), expected) => {
                let account = verify.then(|| self.compare(held_back)).transpose()?;
                Ok((Verified::of_ranges(&trusted, expected, right), account))
            }
            // Nobody vouches for the manifest: only the whole disk can prove the image.
            (None, Some(expected)) => {
                let mut clock = StageClock::new("read back");
                let mut hasher = Hasher::new(expected.algorithm());
                self.read(0..bytes, held_back, |piece, _| {
                    hasher.update(piece);
                    Ok(())
                })?;
                clock.bytes = bytes;
                Ok((Verified::of_stream(hasher, expected, bytes)?, Some(clock.finish())))
            }
            (None, None) => Err(StreamError::NoProof),
        }
    }

    /// Every range on the disk must have its digest, the rest must be zero.
    fn compare(&self, held_back: &HeldBack) -> Result<StageWork, StreamError> {
        let mut clock = StageClock::new("read back");
        clock.bytes = self.manifest.image_bytes;
        let gaps = ranged::gaps(&self.manifest);
        let next = AtomicUsize::new(0);
        in_parallel(cores(), |_| {
            self.compare_all(&next, &gaps, held_back).inspect_err(|_| self.stop.cancel())
        })?;
        Ok(clock.finish())
    }

    /// Compares what is next until nothing is left: the work of one thread of several.
    fn compare_all(
        &self,
        next: &AtomicUsize,
        gaps: &[std::ops::Range<u64>],
        held_back: &HeldBack,
    ) -> Result<(), StreamError> {
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
            self.target.read_at(piece, at)?;
            held_back.overlay(piece, at);
            see(piece, at)?;
            self.meter.add(length as u64);
        }
        Ok(())
    }

    fn differs(&self, offset: u64, length: u64) -> StreamError {
        StreamError::ReadBack { device: self.target.path().display().to_string(), offset, length }
    }
}

#[cfg(test)]
#[path = "by_manifest_tests.rs"]
mod tests;
