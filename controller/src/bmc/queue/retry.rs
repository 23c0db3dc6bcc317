//! Trying again, in one place.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use crate::bmc::BmcError;

/// How something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often it is tried, the first time included.
    pub attempts: u32,
    /// Pause before the second attempt.
    pub pause: Duration,
    /// Each pause is so many times as long as the one before.
    pub factor: u32,
    /// Longest pause.
    pub longest: Duration,
    /// No attempt begins later than this.
    pub within: Duration,
}

/// Whether an outcome is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No.
    No,
    /// After the usual pause.
    Yes,
    /// After the pause that the BMC asked for.
    After(Duration),
}

impl From<bool> for Again {
    fn from(again: bool) -> Self {
        if again { Self::Yes } else { Self::No }
    }
}

impl BmcError {
    /// Whether it may go away by itself. A refusal of user and password never does.
    #[must_use]
    pub fn passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Malformed { .. } | Self::Busy { .. } => {
                true
            }
            // IPMI: no session is free, or it was lost while it began; busy, too slow, being updated, starting.
            Self::Completion { code, .. } => {
                matches!(code, 0x01 | 0x02 | 0x08 | 0x0b | 0x0f | 0xc0 | 0xc3 | 0xd0..=0xd2)
            }
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

impl Retry {
    /// Tries until `judge` is content with the outcome, or attempts or time are used up; the last outcome counts.
    pub async fn run<O, F: Future<Output = O>>(
        &self,
        mut attempt: impl FnMut() -> F,
        judge: impl Fn(&O) -> Again,
    ) -> O {
        let until = Instant::now() + self.within;
        let mut pause = self.pause;
        let mut left = self.attempts.max(1);
        loop {
            let outcome = attempt().await;
            left -= 1;
            let wait = match judge(&outcome) {
                Again::No => return outcome,
                Again::Yes => jittered(pause),
                Again::After(asked) => asked,
            };
            if left == 0 || Instant::now() + wait > until {
                return outcome;
            }
            tokio::time::sleep(wait).await;
            pause = pause.saturating_mul(self.factor).min(self.longest);
        }
    }
}

/// A quarter more or less, so that those who failed together do not come again together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.75..1.25))
}
