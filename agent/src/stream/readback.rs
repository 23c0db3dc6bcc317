//! Reads back what was written, past the page cache, while the write goes on, and compares it with what was meant.
//!
//! The data is compared by a 128-bit hash (XXH3) that is taken before the block is given away: a disk that corrupts is
//! no adversary who could forge it. What a disk's own cache answers is out of reach; a flush comes before the end.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use bessemer_proto::step::StageWork;
use tokio_util::sync::CancellationToken;
use twox_hash::XxHash3_128;

use super::{StreamError, work::StageClock, zeros::is_zero};
use crate::disk::{Target, buffer::AlignedBuffer, ioctl::uring::Write, target::DIRECT_ALIGNMENT};

/// Read at once.
const READ: usize = 1 << 20;
/// Comparisons that may wait; they hold no data.
const QUEUED: usize = 4096;

enum Expected {
    Hash(u128),
    Zeros,
}

struct Check {
    range: Range<u64>,
    expected: Expected,
}

/// A thread that reads back.
pub struct Readback {
    checks: Option<SyncSender<Check>>,
    thread: Option<JoinHandle<Result<StageWork, StreamError>>>,
}

impl Readback {
    /// Starts the thread.
    pub fn start(target: Arc<Target>, cancel: CancellationToken) -> Result<Self, StreamError> {
        let (checks, to_check) = sync_channel(QUEUED);
        let thread = std::thread::Builder::new()
            .name("read back".to_owned())
            .spawn(move || run(&to_check, &target, &cancel))
            .map_err(|_| StreamError::Died("read back"))?;
        Ok(Self { checks: Some(checks), thread: Some(thread) })
    }

    /// This write is finished.
    pub fn data(&mut self, write: Write) -> Result<(), StreamError> {
        let bytes = write.block.as_ref().as_ref().get(write.bytes).unwrap_or_default();
        let range = write.offset..write.offset + bytes.len() as u64;
        self.send(Check { range, expected: Expected::Hash(XxHash3_128::oneshot(bytes)) })
    }

    /// These zeros are made.
    pub fn zeros(&mut self, range: Range<u64>) -> Result<(), StreamError> {
        self.send(Check { range, expected: Expected::Zeros })
    }

    fn send(&mut self, check: Check) -> Result<(), StreamError> {
        if self.checks.as_ref().is_some_and(|checks| checks.send(check).is_ok()) {
            return Ok(());
        }
        // The thread ended early and has the reason.
        self.join().and(Err(StreamError::Died("read back")))
    }

    /// Waits until all is compared.
    pub fn finish(mut self) -> Result<StageWork, StreamError> {
        self.join()
    }

    fn join(&mut self) -> Result<StageWork, StreamError> {
        self.checks = None;
        let thread = self.thread.take().ok_or(StreamError::Stopped)?;
        thread.join().unwrap_or(Err(StreamError::Died("read back")))
    }
}

fn run(
    checks: &Receiver<Check>,
    target: &Target,
    cancel: &CancellationToken,
) -> Result<StageWork, StreamError> {
    let mut clock = StageClock::new("read back");
    let mut buffer = AlignedBuffer::new(READ);
    while let Ok(check) = clock.wait(|| checks.recv()) {
        let length = check.range.end - check.range.start;
        let mut hash = XxHash3_128::new();
        for (offset, length) in pieces(check.range.clone()) {
            if cancel.is_cancelled() {
                return Err(StreamError::Cancelled);
            }
            let piece = buffer.get_mut(..length).unwrap_or_default();
            target.read_at(piece, offset)?;
            match check.expected {
                Expected::Zeros if !is_zero(piece) => return Err(differs(target, offset, length)),
                Expected::Zeros => {}
                Expected::Hash(_) => hash.write(piece),
            }
        }
        if let Expected::Hash(expected) = check.expected
            && hash.finish_128() != expected
        {
            return Err(differs(target, check.range.start, usize::try_from(length).unwrap_or(READ)));
        }
        clock.bytes += length;
    }
    Ok(clock.finish())
}

/// Cuts a range into reads: direct ones as far as the end is aligned.
pub(super) fn pieces(range: Range<u64>) -> VecDeque<(u64, usize)> {
    let mut pieces = VecDeque::new();
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(READ).min(READ);
        let whole = left / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT;
        let length = if whole > 0 { whole } else { left };
        pieces.push_back((at, length));
        at += length as u64;
    }
    pieces
}

/// Compares what the target holds at `offset` with `expected`.
pub fn compare(target: &Target, offset: u64, expected: &[u8]) -> Result<(), StreamError> {
    let mut buffer = AlignedBuffer::new(READ);
    for (at, length) in pieces(offset..offset + expected.len() as u64) {
        let piece = buffer.get_mut(..length).unwrap_or_default();
        target.read_at(piece, at)?;
        let place = usize::try_from(at - offset).unwrap_or(0);
        if expected.get(place..place + length) != Some(piece) {
            return Err(differs(target, at, length));
        }
    }
    Ok(())
}

fn differs(target: &Target, offset: u64, length: usize) -> StreamError {
    StreamError::ReadBack { device: target.path().display().to_string(), offset, length: length as u64 }
}
