//! Waiting longer and longer between attempts, each machine a little differently.

use std::time::Duration;

use rand::Rng as _;

/// Delays that double from `first` to `longest`, each shortened by a random part of up to a half, so that a
/// rack of machines does not call back in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `first` to `longest`.
    #[must_use]
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The delay before the next attempt.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        delay.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// An attempt succeeded: start again from the first delay.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_start_again() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, longest);
        let delays: Vec<_> = (0..8).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] >= first / 2 && delays[0] <= first);
        assert!(delays[4] >= Duration::from_secs(8) && delays[4] <= Duration::from_secs(16));
        assert!(delays[7] >= longest / 2 && delays[7] <= longest);
        backoff.reset();
        assert!(backoff.next_delay() <= first);
    }
}
