//! Ranges that the device makes zero while others are written: it takes the device's time, and nobody else's.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use tokio_util::sync::CancellationToken;

use super::{
    StreamError,
    progress::{self, INTERVAL},
};
use crate::{disk::Target, steps::StepReport};

/// Ranges under way; more wait.
const MOST: usize = 8;

/// A thread that makes zeros. Once it is dropped nothing is made zero any more.
pub(super) struct Zeroing {
    ranges: Option<SyncSender<Range<u64>>>,
    done: Receiver<Range<u64>>,
    /// Says how much the device made zero itself.
    thread: Option<JoinHandle<Result<u64, StreamError>>>,
    /// Under way, in order: never more than either channel holds, so that nobody waits in one.
    under_way: VecDeque<Range<u64>>,
    /// Ranges that are zero, not yet taken; `None` when nobody takes them.
    zero: Option<Vec<Range<u64>>>,
    stop: CancellationToken,
    report: Arc<dyn StepReport>,
    /// Bytes begun and bytes done.
    total: u64,
    finished: u64,
}

impl Zeroing {
    /// `keep_zero` lets [`Self::take_zero`] have each range.
    pub(super) fn start(
        target: Arc<Target>,
        keep_zero: bool,
        report: Arc<dyn StepReport>,
        cancel: &CancellationToken,
    ) -> Result<Self, StreamError> {
        let (ranges, to_do) = sync_channel::<Range<u64>>(MOST);
        let (is_done, done) = sync_channel(MOST);
        let stop = cancel.child_token();
        let halt = stop.clone();
        let work = move || {
            let mut by_device = 0;
            for range in to_do {
                if halt.is_cancelled() {
                    return Err(StreamError::Cancelled);
                }
                if target.zero(range.clone())? {
                    by_device += range.end - range.start;
                }
                is_done.send(range).map_err(|_| StreamError::Stopped)?;
            }
            Ok(by_device)
        };
        let thread = std::thread::Builder::new().name("zeros".to_owned()).spawn(work);
        let thread = thread.map_err(|_| StreamError::Died("zeros"))?;
        let (under_way, zero) = (VecDeque::new(), keep_zero.then(Vec::new));
        let thread = Some(thread);
        Ok(Self { ranges: Some(ranges), done, thread, under_way, zero, stop, report, total: 0, finished: 0 })
    }

    /// Begins to make a range zero; waits when many are under way.
    pub(super) fn begin(&mut self, range: Range<u64>) -> Result<(), StreamError> {
        while let Ok(range) = self.done.try_recv() {
            self.is_zero(range);
        }
        while self.under_way.len() >= MOST {
            self.wait_for_one()?;
        }
        self.total += range.end - range.start;
        self.under_way.push_back(range.clone());
        match self.ranges.as_ref().is_some_and(|ranges| ranges.send(range).is_ok()) {
            true => Ok(()),
            false => Err(self.reason()),
        }
    }

    /// Waits until nothing of `range` is under way.
    pub(super) fn finish_overlapping(&mut self, range: &Range<u64>) -> Result<(), StreamError> {
        let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        while self.under_way.iter().any(overlaps) {
            self.wait_for_one()?;
        }
        Ok(())
    }

    /// The ranges that became zero since the last call.
    pub(super) fn take_zero(&mut self) -> Vec<Range<u64>> {
        while let Ok(range) = self.done.try_recv() {
            self.is_zero(range);
        }
        self.zero.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Waits for all ranges; says how much the device made zero itself.
    pub(super) fn finish(&mut self) -> Result<u64, StreamError> {
        while !self.under_way.is_empty() {
            self.wait_for_one()?;
        }
        self.join()
    }

    fn wait_for_one(&mut self) -> Result<(), StreamError> {
        loop {
            match self.done.recv_timeout(INTERVAL) {
                Ok(range) => {
                    self.is_zero(range);
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.report.progress(progress::ZEROING, self.finished, self.total);
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.reason()),
            }
        }
    }

    fn is_zero(&mut self, range: Range<u64>) {
        // They are worked off in order.
        self.under_way.pop_front();
        self.finished += range.end - range.start;
        if let Some(zero) = &mut self.zero {
            zero.push(range);
        }
    }

    /// Why the thread ended early.
    fn reason(&mut self) -> StreamError {
        self.join().err().unwrap_or(StreamError::Died("zeros"))
    }

    fn join(&mut self) -> Result<u64, StreamError> {
        self.ranges = None;
        let thread = self.thread.take().ok_or(StreamError::Stopped)?;
        thread.join().unwrap_or(Err(StreamError::Died("zeros")))
    }
}

impl Drop for Zeroing {
    fn drop(&mut self) {
        // Whoever writes the disk next must not find its bytes made zero.
        self.stop.cancel();
        if self.thread.is_some() {
            let _ = self.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{
        Heard,
        disks::{MIB, TestDisk},
    };

    fn disks() -> Vec<TestDisk> {
        [Some(TestDisk::file(16 * MIB)), TestDisk::loop_device(16 * MIB, 512)].into_iter().flatten().collect()
    }

    #[test]
    fn every_range_becomes_zero_and_nothing_else() {
        for disk in disks() {
            let target = Arc::new(Target::open(&disk.path).unwrap());
            let mut zeroing =
                Zeroing::start(target, true, Arc::new(Heard::default()), &CancellationToken::new()).unwrap();
            let ranges: Vec<_> = (0..32).map(|n| n * 524_288..n * 524_288 + 131_072).collect();
            for range in &ranges {
                zeroing.begin(range.clone()).unwrap();
            }
            zeroing.finish_overlapping(&(0..16 * MIB as u64)).unwrap();
            let zeroed = zeroing.finish().unwrap();
            assert!(zeroed == 32 * 131_072 || zeroed == 0, "{zeroed}");
            assert_eq!(zeroing.take_zero(), ranges);
            let mut expected = vec![0xa5; 16 * MIB];
            for range in ranges {
                expected[range.start as usize..range.end as usize].fill(0);
            }
            assert!(disk.content() == expected);
        }
    }

    #[test]
    fn once_it_is_dropped_nothing_becomes_zero() {
        for disk in disks() {
            let target = Arc::new(Target::open(&disk.path).unwrap());
            let mut zeroing =
                Zeroing::start(target, true, Arc::new(Heard::default()), &CancellationToken::new()).unwrap();
            for n in 0..8 {
                zeroing.begin(n * MIB as u64..(n + 1) * MIB as u64).unwrap();
            }
            drop(zeroing);
            std::fs::write(&disk.path, vec![7; 16 * MIB]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(disk.content().iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn a_disk_that_refuses_is_the_reason() {
        let disk = TestDisk::file(MIB);
        let target = Arc::new(Target::open(&disk.path).unwrap());
        let mut zeroing =
            Zeroing::start(target, true, Arc::new(Heard::default()), &CancellationToken::new()).unwrap();
        // No file reaches so far.
        let outside = u64::MAX / 2 - 4096..u64::MAX / 2 + 4096;
        let result = zeroing.begin(outside.clone()).and_then(|()| zeroing.finish_overlapping(&outside));
        assert!(matches!(result, Err(StreamError::Target(_))), "{result:?}");
    }
}
