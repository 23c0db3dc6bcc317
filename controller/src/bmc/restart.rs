//! Waiting for a BMC that restarts.

use std::{future::Future, time::Duration};

use tokio::time::Instant;
use tracing::{info, warn};

use super::BmcError;

/// Answers in a row after which a BMC counts as restarted: its services come back one after the other, and some answer
/// once and go down again.
const ANSWERS: u32 = 3;

/// How a restart is watched.
#[derive(Clone, Copy, Debug)]
pub(in crate::bmc) struct Restart<'a> {
    pub(in crate::bmc) address: &'a str,
    /// Between two looks.
    pub(in crate::bmc) pause: Duration,
    /// As long it may still answer because it has not begun.
    pub(in crate::bmc) begins: Duration,
    pub(in crate::bmc) within: Duration,
}

impl Restart<'_> {
    /// Waits until the BMC has gone and answers again. `look` asks it for anything, and tells when it says that it was
    /// restarted last; `before` is what it said of that before.
    pub(in crate::bmc) async fn awaited<F>(
        &self,
        before: Option<String>,
        look: impl Fn() -> F + Sync,
    ) -> Result<(), BmcError>
    where
        F: Future<Output = Result<Option<String>, BmcError>> + Send,
    {
        let begun = Instant::now();
        let (mut answers, mut is_seen) = (0, false);
        while answers < ANSWERS {
            if begun.elapsed() > self.within {
                return Err(BmcError::Timeout {
                    address: self.address.to_owned(),
                    what: "after its restart".to_owned(),
                    seconds: self.within.as_secs(),
                });
            }
            tokio::time::sleep(self.pause).await;
            match look().await {
                Ok(last) => {
                    is_seen |= before.is_some() && last.is_some() && last != before;
                    if is_seen || begun.elapsed() >= self.begins {
                        answers += 1;
                    }
                }
                // Other calls are in the way: that is not its absence.
                Err(BmcError::Busy { .. }) => answers = 0,
                Err(error) if error.passing() => (answers, is_seen) = (0, true),
                Err(BmcError::Refused { .. }) => answers = 0,
                Err(error) => return Err(error),
            }
        }
        let seconds = begun.elapsed().as_secs();
        match before {
            _ if is_seen => info!(bmc = self.address, seconds, "the BMC restarted"),
            Some(before) => {
                return Err(BmcError::TaskFailed {
                    address: self.address.to_owned(),
                    what: "its restart".to_owned(),
                    message: format!("it never went away, and was restarted last at {before}, as before"),
                });
            }
            None => warn!(bmc = self.address, seconds, "the BMC accepted a restart and was never seen away"),
        }
        Ok(())
    }
}
