//! How much is written about what was refused: somebody without credentials must not fill the disk.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::limits::{Buckets, network};

/// Lines about one client at once, and seconds until there may be one more.
const OF_ONE: f64 = 60.0;
const SECONDS_EACH: f64 = 10.0;
/// Lines about all clients at once, and one more each second.
const OF_ALL: f64 = 600.0;
/// Clients whose unwritten refusals are counted apart.
const MOST_COUNTED: usize = 1000;
/// Clients that a summary names.
const MOST_NAMED: usize = 10;
/// How long unwritten refusals are counted before the summary.
pub(super) const SUMMARY_AFTER: Duration = Duration::from_secs(60);

/// Says whether a refusal is written down. Cheap to clone.
#[derive(Clone)]
pub(super) struct Refusals(Arc<Inner>);

struct Inner {
    by_client: Buckets,
    together: Buckets,
    unwritten: Mutex<HashMap<Option<IpAddr>, u64>>,
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written.
    Written,
    /// It is counted. The first one: a summary is due after [`SUMMARY_AFTER`].
    First,
    /// It is counted.
    Counted,
}

// === impl Refusals ===

impl Default for Refusals {
    fn default() -> Self {
        Self(Arc::new(Inner {
            by_client: Buckets::new(1.0 / SECONDS_EACH, OF_ONE),
            together: Buckets::new(1.0, OF_ALL),
            unwritten: Mutex::default(),
        }))
    }
}

impl Refusals {
    /// Counts a refusal.
    pub(super) fn fate(&self, client: Option<IpAddr>, now: Instant) -> Fate {
        let everybody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let client = client.map(network);
        let own = self.0.by_client.take(client.unwrap_or(everybody), now);
        if own.is_ok() && self.0.together.take(everybody, now).is_ok() {
            return Fate::Written;
        }
        let mut unwritten = self.0.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = unwritten.is_empty();
        // Clients beyond counting are counted together.
        let client = client.filter(|_| unwritten.len() < MOST_COUNTED || unwritten.contains_key(&client));
        *unwritten.entry(client).or_default() += 1;
        if is_first { Fate::First } else { Fate::Counted }
    }

    /// How many were not written since the last time, by client; the rest under `None`. Begins anew.
    pub(super) fn summary(&self) -> Vec<(Option<IpAddr>, u64)> {
        let unwritten = std::mem::take(&mut *self.0.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        let mut counts: Vec<_> = unwritten.into_iter().collect();
        counts.sort_unstable_by_key(|(client, count)| (client.is_none(), Reverse(*count)));
        let rest: u64 = counts.iter().skip(MOST_NAMED).map(|(_, count)| count).sum();
        counts.truncate(MOST_NAMED);
        match counts.iter_mut().find(|(client, _)| client.is_none()) {
            Some((_, count)) => *count += rest,
            None if rest > 0 => counts.push((None, rest)),
            None => {}
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    #[test]
    fn one_client_cannot_write_without_end_and_is_summed_up() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let fates: Vec<_> = (0..1000).map(|_| refusals.fate(client(7), start)).collect();
        assert!(fates[..60].iter().all(|fate| *fate == Fate::Written));
        assert_eq!((fates[60], fates[61]), (Fate::First, Fate::Counted));
        assert!(!fates[60..].contains(&Fate::Written));
        // Another client is not silenced by that.
        assert_eq!(refusals.fate(client(8), start), Fate::Written);
        assert_eq!(refusals.summary(), [(client(7), 940)]);
        assert_eq!(refusals.summary(), []);
        assert_eq!(refusals.fate(client(7), start + Duration::from_secs(10)), Fate::Written);
        assert_eq!(refusals.fate(client(7), start + Duration::from_secs(10)), Fate::First);
    }

    #[test]
    fn many_clients_together_are_bounded_too() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let written =
            (0..100_000).filter(|number| refusals.fate(client(*number), start) == Fate::Written).count();
        assert_eq!(written, 600);
        assert!(refusals.0.unwritten.lock().unwrap().len() <= MOST_COUNTED + 1);
        let summary = refusals.summary();
        assert_eq!(summary.len(), MOST_NAMED + 1);
        assert_eq!(summary.iter().map(|(_, count)| count).sum::<u64>(), 100_000 - 600);
    }
}
