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

/// The pauses of a [`Retry`], for who has something to do between two attempts.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    retry: Retry,
    until: Instant,
    pause: Duration,
    left: u32,
}

impl Pauses {
    /// How long to wait before the next attempt; `None`: there is no other one.
    pub fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1).filter(|left| *left > 0)?;
        let wait = asked.unwrap_or_else(|| jittered(self.pause));
        self.pause = self.pause.saturating_mul(self.retry.factor).min(self.retry.longest);
        (Instant::now() + wait <= self.until).then_some(wait)
    }
}

impl Retry {
    /// Its pauses, counted from now.
    #[must_use]
    pub fn pauses(self) -> Pauses {
        Pauses {
            retry: self,
            until: Instant::now() + self.within,
            pause: self.pause,
            left: self.attempts.max(1),
        }
    }

    /// Tries until `judge` is content with the outcome, or attempts or time are used up; the last outcome counts.
    pub async fn run<O, F: Future<Output = O>>(
        &self,
        mut attempt: impl FnMut() -> F,
        judge: impl Fn(&O) -> Again,
    ) -> O {
        let mut pauses = self.pauses();
        loop {
            let outcome = attempt().await;
            let asked = match judge(&outcome) {
                Again::No => return outcome,
                Again::Yes => None,
                Again::After(asked) => Some(asked),
            };
            let Some(pause) = pauses.next(asked) else { return outcome };
            tokio::time::sleep(pause).await;
        }
    }
}

/// A quarter more or less, so that those who failed together do not come again together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.75..1.25))
}
