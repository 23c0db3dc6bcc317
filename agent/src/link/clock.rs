//! The agent's idea of what time it is. A machine out of a box has a clock that may be wrong by years, so the
//! system clock is believed last: first the controller's own word, then the time the boot medium was made.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat};
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

/// Latest time that is believed, year 9999: more is nonsense or an attack.
const LATEST_MS: i64 = 253_402_300_799_000;
/// Smallest error of the system clock that is worth setting it.
const WORTH_SETTING_MS: u64 = 500;

/// Where the time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The machine's own clock: nobody said anything better.
    System,
    /// The time the boot parameters were made, plus the time since they were read.
    Floor,
    /// What the controller said, plus the time since.
    Controller,
}

#[derive(Clone, Copy, Debug)]
struct State {
    basis: Basis,
    base_ms: i64,
    at: Instant,
    floor_ms: Option<i64>,
}

/// A clock that gets better as the agent learns more. Advances with the monotonic clock.
#[derive(Debug)]
pub struct Clock {
    state: RwLock<State>,
}

impl Clock {
    /// A clock that knows only the machine's own.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let state = State { basis: Basis::System, base_ms: 0, at: Instant::now(), floor_ms: None };
        Arc::new(Self { state: RwLock::new(state) })
    }

    /// The boot parameters were made at this time (seconds since 1970); they were read just now.
    pub fn set_floor(&self, seconds: u64) {
        let Some(floor_ms) = i64::try_from(seconds).ok().and_then(|s| s.checked_mul(1000)).filter(believable)
        else {
            tracing::warn!(seconds, "the boot parameters' time makes no sense and is ignored");
            return;
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.floor_ms = Some(floor_ms);
        if state.basis != Basis::Controller {
            *state = State { basis: Basis::Floor, base_ms: floor_ms, at: Instant::now(), ..*state };
        }
    }

    /// The controller said, over an authenticated connection, that it is this time now.
    pub fn set_controller(&self, now_ms: i64) {
        if !believable(&now_ms) {
            tracing::warn!(now_ms, "the controller's time makes no sense and is ignored");
            return;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { basis: Basis::Controller, base_ms: now_ms, at: Instant::now(), ..*state };
    }

    /// Milliseconds since 1970, as good as is known now.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let state = *self.state.read().unwrap_or_else(PoisonError::into_inner);
        match state.basis {
            Basis::System => system_ms(),
            Basis::Floor | Basis::Controller => state.base_ms.saturating_add(millis(state.at.elapsed())),
        }
    }

    /// Milliseconds since 1970 at an earlier moment.
    #[must_use]
    pub fn at_ms(&self, moment: Instant) -> i64 {
        self.now_ms().saturating_sub(millis(moment.elapsed()))
    }

    /// Where the time comes from now.
    #[must_use]
    pub fn basis(&self) -> Basis {
        self.state.read().unwrap_or_else(PoisonError::into_inner).basis
    }

    /// The clocks involved, for an error that a clock has caused.
    #[must_use]
    pub fn explain(&self) -> String {
        let floor_ms = self.state.read().unwrap_or_else(PoisonError::into_inner).floor_ms;
        let mut text = format!("this machine's clock says {}", date(system_ms()));
        if let Some(floor_ms) = floor_ms {
            text.push_str(&format!(", the boot medium was made {}", date(floor_ms)));
        }
        if self.basis() != Basis::System {
            text.push_str(&format!(", the time is taken to be {}", date(self.now_ms())));
        }
        text
    }

    /// Sets the machine's clock to the controller's time, so that what comes after (TLS to image servers, file
    /// times) is right too. Does nothing before the controller told its time.
    pub fn set_system_clock(&self) {
        let (now, system) = (self.now_ms(), system_ms());
        if self.basis() != Basis::Controller || now.abs_diff(system) < WORTH_SETTING_MS {
            return;
        }
        let time = nix::sys::time::TimeSpec::from_duration(Duration::from_millis(now.unsigned_abs()));
        match nix::time::clock_settime(nix::time::ClockId::CLOCK_REALTIME, time) {
            Ok(()) => {
                tracing::info!(was = date(system), now = date(now), "clock set to the controller's time");
            }
            Err(error) => tracing::warn!(%error, "the clock cannot be set to the controller's time"),
        }
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = u64::try_from(self.now_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(now)))
    }
}

fn believable(ms: &i64) -> bool {
    (1..=LATEST_MS).contains(ms)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn system_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

/// A date for people.
pub(crate) fn date(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| format!("{ms} ms"), |date| date.to_rfc3339_opts(SecondsFormat::Secs, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: u64 = 1_800_000_000;

    #[test]
    fn the_floor_wins_over_the_system_clock_and_the_controller_over_both() {
        let clock = Clock::new();
        assert!(clock.now_ms().abs_diff(system_ms()) < 5_000);
        clock.set_floor(FLOOR);
        assert!(clock.now_ms().abs_diff(FLOOR as i64 * 1000) < 5_000);
        clock.set_controller(1_500_000_000_000);
        assert!(clock.now_ms().abs_diff(1_500_000_000_000) < 5_000);
        clock.set_floor(FLOOR);
        assert_eq!(clock.basis(), Basis::Controller, "a floor must not take back the controller's word");
    }

    #[test]
    fn it_advances() {
        let clock = Clock::new();
        clock.set_floor(FLOOR);
        let before = clock.now_ms();
        std::thread::sleep(Duration::from_millis(20));
        assert!(clock.now_ms() >= before + 20);
        assert!(clock.at_ms(Instant::now()) >= before + 20);
    }

    #[test]
    fn nonsense_is_not_believed() {
        let clock = Clock::new();
        clock.set_floor(u64::MAX);
        clock.set_controller(i64::MAX);
        clock.set_controller(-5);
        clock.set_controller(0);
        assert_eq!(clock.basis(), Basis::System);
    }

    #[test]
    fn tls_sees_the_same_time() {
        let clock = Clock::new();
        clock.set_floor(FLOOR);
        let seen = clock.current_time().unwrap().as_secs();
        assert!(seen.abs_diff(FLOOR) < 5);
    }

    #[test]
    fn an_explanation_names_both_clocks() {
        let clock = Clock::new();
        clock.set_floor(FLOOR);
        let text = clock.explain();
        assert!(text.contains("this machine's clock says 20"), "{text}");
        assert!(text.contains("the boot medium was made 2027-01-15T08:00:00Z"), "{text}");
    }
}
