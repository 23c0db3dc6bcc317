//! Writes blocks with several under way at once: io_uring where the kernel has it, one after the other where not.

use std::{io, ops::Range, sync::Arc};

use nix::errno::Errno;

use super::{
    Target, TargetError,
    buffer::Block,
    ioctl::uring::{Write, WriteQueue},
    target::DIRECT_ALIGNMENT,
};

/// Writes under way: enough for a fast disk, few enough for a slow one.
const DEPTH: u32 = 4;

/// Writes to one target.
pub struct Writer {
    target: Arc<Target>,
    queue: Option<WriteQueue>,
    /// Writes that are finished and not yet taken.
    finished: Vec<Write>,
    keep_finished: bool,
}

impl Writer {
    /// A writer; `keep_finished` lets [`Self::take_finished`] have each write.
    #[must_use]
    pub fn new(target: Arc<Target>, keep_finished: bool) -> Self {
        let queue = target.direct().and_then(|direct| {
            WriteQueue::new(direct, DEPTH)
                .inspect_err(|error| tracing::info!(%error, "no io_uring; writing one block after the other"))
                .ok()
        });
        Self { target, queue, finished: Vec::new(), keep_finished }
    }

    /// `io_uring`, `pwrite` or `page cache`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match (&self.queue, self.target.direct()) {
            (Some(_), Some(_)) => "io_uring",
            (None, Some(_)) => "pwrite",
            (_, None) => "page cache",
        }
    }

    /// Writes some bytes of a block at `offset`; returns when the write is under way.
    pub fn write(&mut self, block: &Arc<Block>, bytes: Range<usize>, offset: u64) -> Result<(), TargetError> {
        let whole = bytes.start + bytes.len() / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT;
        let aligned =
            offset.is_multiple_of(DIRECT_ALIGNMENT as u64) && bytes.start.is_multiple_of(DIRECT_ALIGNMENT);
        let split = if aligned { whole } else { bytes.start };
        // A rewrite must not overtake what it replaces.
        let end = offset + bytes.len() as u64;
        self.finish_overlapping(&(offset..end))?;
        let write = |bytes: Range<usize>, offset| Write { block: block.clone(), bytes, offset };
        if split > bytes.start {
            self.write_direct(write(bytes.start..split, offset))?;
        }
        if split < bytes.end {
            let rest = write(split..bytes.end, offset + (split - bytes.start) as u64);
            self.write_now(rest)?;
        }
        Ok(())
    }

    fn write_direct(&mut self, write: Write) -> Result<(), TargetError> {
        if self.target.direct().is_none() || self.queue.is_none() {
            return self.write_now(write);
        }
        while self.queue.as_ref().is_some_and(WriteQueue::is_full) {
            self.finish_one()?;
        }
        let Some(queue) = &mut self.queue else { return self.write_now(write) };
        let place = (write.offset, write.bytes.len());
        queue.begin(write).map_err(|source| self.target.write_error(place.0, place.1, source))
    }

    fn write_now(&mut self, write: Write) -> Result<(), TargetError> {
        let bytes = write.block.as_ref().as_ref().get(write.bytes.clone()).unwrap_or_default();
        self.target.write_at(bytes, write.offset)?;
        self.is_finished(write);
        Ok(())
    }

    fn is_finished(&mut self, write: Write) {
        if self.keep_finished {
            self.finished.push(write);
        }
    }

    /// True while writes are under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.under_way().next().is_some())
    }

    /// Waits for one of the writes that are under way.
    pub fn finish_one(&mut self) -> Result<(), TargetError> {
        let Some(queue) = &mut self.queue else { return Ok(()) };
        let finished = queue.finish_one().map_err(|source| self.target.write_error(0, 0, source))?;
        match finished {
            None => Ok(()),
            Some((write, Ok(()))) => {
                self.is_finished(write);
                Ok(())
            }
            Some((write, Err(error))) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                self.target.refuse_direct();
                self.write_now(write)
            }
            Some((write, Err(source))) => {
                Err(self.target.write_error(write.offset, write.bytes.len(), source))
            }
        }
    }

    /// Waits for the writes that touch a range.
    pub fn finish_overlapping(&mut self, range: &Range<u64>) -> Result<(), TargetError> {
        while self.queue.as_ref().is_some_and(|queue| overlaps(queue, range)) {
            self.finish_one()?;
        }
        Ok(())
    }

    /// The writes that were finished since the last call, when they are kept.
    pub fn take_finished(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.finished)
    }

    /// Waits for all writes.
    pub fn drain(&mut self) -> Result<(), TargetError> {
        while self.is_busy() {
            self.finish_one()?;
        }
        Ok(())
    }
}

fn overlaps(queue: &WriteQueue, range: &Range<u64>) -> bool {
    queue.under_way().any(|write| {
        let other_end = write.offset + write.bytes.len() as u64;
        write.offset < range.end && range.start < other_end
    })
}

impl Target {
    pub(super) fn write_error(&self, offset: u64, length: usize, source: io::Error) -> TargetError {
        TargetError::Write { path: self.path().to_owned(), offset, length, source }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
