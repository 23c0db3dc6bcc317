//! The boot area of the disk, held back until the image is proved.
//!
//! The first MiB (boot sector, primary GPT, BIOS loader) and the last MiB (backup GPT) are zeroed and flushed before
//! anything else is written. What the image has there stays in memory; [`HeldBack::release`] writes it and takes a
//! [`Verified`]. Whatever goes wrong before, the disk has no partition table and no boot sector.

use super::{buffer::AlignedBuffer, digest::Verified};
use crate::disk::{Target, TargetError, target::DIRECT_ALIGNMENT};

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
        let held =
            Self { head: buffer(head_end), tail: buffer(size - tail_start), tail_start, tail_used: false };
        target.write_at(&held.head, 0)?;
        target.write_at(&held.tail, tail_start)?;
        target.flush()?;
        if let Err(error) = target.reread_partitions() {
            tracing::warn!(device = %target.path().display(), %error, "the kernel keeps the partitions it knew");
        }
        Ok(held)
    }

    /// Writes what is outside the two areas and keeps the rest.
    pub fn write(&mut self, data: &[u8], offset: u64, target: &Target) -> Result<(), TargetError> {
        let end = offset + data.len() as u64;
        let head_end = self.head.len() as u64;
        // Where the body starts and ends within `data`; both are at most its length.
        let within = |place: u64| usize::try_from(place.clamp(offset, end) - offset).unwrap_or(data.len());
        let (head, rest) = data.split_at(within(head_end));
        let (body, tail) = rest.split_at(within(self.tail_start).saturating_sub(head.len()));
        if !head.is_empty() {
            copy(&mut self.head, offset, head);
        }
        if !tail.is_empty() {
            copy(&mut self.tail, end - tail.len() as u64 - self.tail_start, tail);
            self.tail_used = true;
        }
        if body.is_empty() { Ok(()) } else { target.write_at(body, offset + head.len() as u64) }
    }

    /// What the image has at its start.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Writes the boot area, the end of the disk first: when the power fails in between, nothing boots yet.
    pub fn release(self, verified: &Verified, target: &Target) -> Result<(), TargetError> {
        tracing::info!(device = %target.path().display(), digest = %verified.digest(), "the image is proved; writing the boot area");
        if self.tail_used {
            target.write_at(&self.tail, self.tail_start)?;
            target.flush()?;
        }
        target.write_at(&self.head, 0)?;
        target.flush()
    }
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
