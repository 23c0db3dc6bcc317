//! Counts what passes and reports it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{StreamError, chunks::Blocks};
use crate::{disk::buffer::Block, steps::StepReport};

/// People and networks need no more than this.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// The name of the stage while bytes flow.
pub const WRITING: &str = "writing";
/// The name of the stage while the boot area is written.
pub const RELEASING: &str = "writing boot area";

/// The name of the stage while a long range of the disk is made zero.
pub const ZEROING: &str = "writing zeros";
/// The name of the stage while the disk is read back after it was written.
pub const READING_BACK: &str = "reading back";

/// The same for what several threads do at once.
pub(super) struct Meter {
    stage: &'static str,
    total: u64,
    done: AtomicU64,
    reported: Mutex<Instant>,
    report: Arc<dyn StepReport>,
}

impl Meter {
    pub(super) fn new(stage: &'static str, total: u64, report: Arc<dyn StepReport>) -> Self {
        Self { stage, total, done: AtomicU64::new(0), reported: Mutex::new(Instant::now()), report }
    }

    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Who comes while another reports has nothing to add.
        let Ok(mut reported) = self.reported.try_lock() else { return };
        if done == self.total || reported.elapsed() >= INTERVAL {
            *reported = Instant::now();
            self.report.progress(self.stage, done, self.total);
        }
    }
}

/// Passes blocks on and reports how many bytes have passed.
pub struct Progress<S> {
    source: S,
    report: Arc<dyn StepReport>,
    done: u64,
    total: u64,
    reported: Option<Instant>,
}

impl<S> Progress<S> {
    /// Reports what passes of `total` bytes; 0 when the total is not known.
    pub fn new(source: S, report: Arc<dyn StepReport>, total: u64) -> Self {
        Self { source, report, done: 0, total, reported: None }
    }
}

impl<S: Blocks> Blocks for Progress<S> {
    fn next_block(&mut self) -> Result<Option<Block>, StreamError> {
        let block = self.source.next_block()?;
        self.done += block.as_ref().map_or(0, |block| block.as_ref().len() as u64);
        let due = self.reported.is_none_or(|at| at.elapsed() >= INTERVAL);
        if due || block.is_none() {
            self.reported = Some(Instant::now());
            self.report.progress(WRITING, self.done, self.total);
        }
        Ok(block)
    }
}
