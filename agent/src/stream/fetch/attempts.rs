//! When to try again after a failure, and when to give up.

use std::{sync::Arc, time::Duration};

use super::FetchError;
use crate::{backoff::Backoff, steps::StepReport};

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// An attempt that brought this much starts the count again: a server that resets every few MiB is slow, not gone.
const PROGRESS: u64 = 256 << 10;
/// Whatever the progress, more failures than this are no way to fetch an image.
const MOST_FAILURES: u32 = 10_000;

/// Counts failures without progress.
pub(super) struct Attempts {
    most: u32,
    failed: u32,
    failed_ever: u32,
    since: u64,
    backoff: Backoff,
    report: Arc<dyn StepReport>,
}

impl Attempts {
    pub(super) fn new(most: u32, first_pause: Duration, report: Arc<dyn StepReport>) -> Self {
        let backoff = Backoff::new(first_pause, LONGEST_PAUSE);
        Self { most: most.max(1), failed: 0, failed_ever: 0, since: 0, backoff, report }
    }

    /// Gives up after `most` failures, if it would not earlier.
    pub(super) fn limit(&mut self, most: u32) {
        self.most = self.most.min(most);
    }

    /// Bytes arrived.
    pub(super) fn progress(&mut self, bytes: u64) {
        self.since += bytes;
        if self.since >= PROGRESS && self.failed > 0 {
            self.failed = 0;
            self.backoff.reset();
        }
    }

    /// Waits before the next attempt; hands the error back when there is none. `place`: the first byte that is
    /// still missing.
    pub(super) async fn after(&mut self, error: FetchError, place: u64) -> Result<(), FetchError> {
        if !error.is_transient() {
            return Err(error);
        }
        self.failed += 1;
        self.failed_ever += 1;
        self.since = 0;
        if self.failed >= self.most || self.failed_ever >= MOST_FAILURES {
            return Err(match self.failed {
                1 => error,
                attempts => FetchError::GaveUp { attempts, source: Box::new(error) },
            });
        }
        let pause = error.retry_after().unwrap_or(Duration::ZERO).max(self.backoff.next_delay());
        let cause = format!("{:#}", anyhow::Error::from(error));
        let next = match place {
            0 => "trying again".to_owned(),
            place => format!("going on from byte {place}"),
        };
        let message = format!(
            "{cause}; {next} in {:.1} s (failure {} of {} without progress)",
            pause.as_secs_f64(),
            self.failed,
            self.most
        );
        self.report.warning(message);
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
