//! The boot area of the disk, held back until the image is proved.
//!
//! The first MiB (boot sector, primary GPT, BIOS loader) and the last MiB (backup GPT) are zeroed and flushed before
//! anything else is written. What the image has there stays in memory; [`HeldBack::release`] writes it and takes a
//! [`Verified`]. Whatever goes wrong before, the disk has no partition table and no boot sector.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use super::proof::Verified;
use crate::disk::{Target, TargetError, buffer::AlignedBuffer, target::DIRECT_ALIGNMENT};

/// So long a disk with bad sectors is tried piece by piece: each may take it seconds.
const EACH_LIMIT: Duration = Duration::from_secs(60);

/// Length of each area.
pub const HELD_BYTES: u64 = 1 << 20;

/// The two areas. Dropping it leaves zeros on the disk.
pub struct HeldBack {
    head: AlignedBuffer,
    tail: AlignedBuffer,
    tail_start: u64,
    /// Whether the image reaches into the tail.
    tail_used: bool,
}

impl HeldBack {
    /// Zeroes both areas of the disk and makes that durable.
    pub fn clear(target: &Target) -> Result<Self, TargetError> {
        let size = target.size();
        let head_end = size.min(HELD_BYTES);
        let alignment = DIRECT_ALIGNMENT as u64;
        let tail_start = (size.saturating_sub(HELD_BYTES) / alignment * alignment).max(head_end);
        // Both are at most a MiB and a block.
        let buffer = |length: u64| AlignedBuffer::new(usize::try_from(length).unwrap_or_default());
        // A file that grows has no end yet.
        let tail = if target.grows() { 0 } else { size - tail_start };
        let held = Self { head: buffer(head_end), tail: buffer(tail), tail_start, tail_used: false };
        target.set_cleared(false);
        // Whatever fails, all that can be zero is.
        let head = write_each(target, &held.head, 0);
        let tail = write_each(target, &held.tail, tail_start);
        let flushed = target.flush();
        head.and(tail).and(flushed)?;
        target.set_cleared(true);
        if let Err(error) = target.reread_partitions() {
            tracing::warn!(device = %target.path().display(), %error, "the kernel keeps the partitions it knew");
        }
        Ok(held)
    }

    /// Keeps what lies in the two areas; says which part of `data` is the caller's to write.
    pub fn keep(&mut self, data: &[u8], offset: u64) -> Range<usize> {
        let end = offset + data.len() as u64;
        let head_end = self.head.len() as u64;
        // Where the body starts and ends within `data`; both are at most its length.
        let within = |place: u64| usize::try_from(place.clamp(offset, end) - offset).unwrap_or(data.len());
        let head = within(head_end);
        let tail = within(self.tail_start).max(head);
        if head > 0 {
            copy(&mut self.head, offset, &data[..head]);
        }
        if tail < data.len() {
            copy(&mut self.tail, offset + tail as u64 - self.tail_start, &data[tail..]);
            self.tail_used = true;
        }
        head..tail
    }

    /// The part of a range that lies in neither area: those are zero already.
    #[must_use]
    pub fn outside(&self, range: Range<u64>) -> Range<u64> {
        let start = range.start.max(self.head.len() as u64);
        start..range.end.min(self.tail_start).max(start)
    }

    /// Puts what is held back over bytes that were read from the disk at `offset`.
    pub fn overlay(&self, bytes: &mut [u8], offset: u64) {
        for (start, area) in self.areas() {
            let from = start.max(offset);
            let to = (start + area.len() as u64).min(offset + bytes.len() as u64);
            if from >= to {
                continue;
            }
            let place = |at: u64, start: u64| usize::try_from(at - start).ok();
            let source = place(from, start).zip(place(to, start)).and_then(|(a, b)| area.get(a..b));
            let goal = place(from, offset).zip(place(to, offset)).and_then(|(a, b)| bytes.get_mut(a..b));
            if let (Some(source), Some(goal)) = (source, goal) {
                goal.copy_from_slice(source);
            }
        }
    }

    /// The areas as the image has them, for comparing: offset and bytes.
    #[must_use]
    pub fn areas(&self) -> [(u64, &[u8]); 2] {
        [(0, &*self.head), (self.tail_start, &*self.tail)]
    }

    /// What the image has at its start.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Writes the boot area, the end of the disk first and the boot sector last: when the power fails in between,
    /// nothing boots yet.
    pub fn release(&self, verified: &Verified, target: &Target) -> Result<(), TargetError> {
        tracing::info!(device = %target.path().display(), digest = %verified.digest(), "the image is proved; writing the boot area");
        target.set_cleared(false);
        if self.tail_used {
            target.write_at(&self.tail, self.tail_start)?;
            target.flush()?;
        }
        let (first, rest) = self.head.split_at(self.head.len().min(DIRECT_ALIGNMENT));
        target.write_at(rest, first.len() as u64)?;
        target.flush()?;
        target.write_at(first, 0)?;
        target.flush()
    }
}

/// Writes as much of `data` as the disk takes; the first error when that is not all.
fn write_each(target: &Target, data: &[u8], offset: u64) -> Result<(), TargetError> {
    let Err(error) = target.write_at(data, offset) else { return Ok(()) };
    let (mut failed, begun) = (false, Instant::now());
    for (number, piece) in data.chunks(DIRECT_ALIGNMENT).enumerate() {
        if begun.elapsed() > EACH_LIMIT {
            return Err(error);
        }
        failed |= target.write_at(piece, offset + (number * DIRECT_ALIGNMENT) as u64).is_err();
    }
    if failed { Err(error) } else { Ok(()) }
}

/// Copies `from` to `at`; the caller has cut it to fit.
fn copy(into: &mut [u8], at: u64, from: &[u8]) {
    let place = usize::try_from(at).ok().and_then(|at| into.get_mut(at..at.checked_add(from.len())?));
    if let Some(place) = place {
        place.copy_from_slice(from);
    }
}

#[cfg(test)]
#[path = "held_back_tests.rs"]
mod tests;
