//! How often one client may ask, and how often it may be wrong about its password.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::api::error::ApiError;

/// Clients that are remembered before those are forgotten that were quiet.
const MANY_CLIENTS: usize = 10_000;
/// Failed authentications that one client may have at once, and in each minute after.
const FAILURES: u32 = 60;

const WRONG: &str = "failed authentications";

/// Counts by client address.
pub(super) struct Limits {
    requests: Option<Buckets>,
    failures: Buckets,
}

/// 429: a client has to wait.
#[derive(Debug)]
pub(super) struct TooMany {
    what: &'static str,
    wait: Duration,
}

// === impl Limits ===

impl Limits {
    /// At most that many requests a second of one client; 0 is no limit.
    pub(super) fn new(requests_per_second: u32) -> Self {
        let rate = f64::from(requests_per_second);
        let failures = f64::from(FAILURES);
        Self {
            requests: (requests_per_second > 0).then(|| Buckets::new(rate, rate)),
            failures: Buckets::new(failures / 60.0, failures),
        }
    }

    /// Counts a request: 429 when it is one too many.
    pub(super) fn request(&self, client: IpAddr) -> Result<(), TooMany> {
        let Some(requests) = &self.requests else { return Ok(()) };
        requests.take(network(client), Instant::now()).map_err(|wait| TooMany { what: "requests", wait })
    }

    /// What a client may try.
    pub(super) fn attempts(&self, client: Option<IpAddr>) -> Attempts<'_> {
        Attempts { failures: &self.failures, client: client.map(network) }
    }
}

/// The attempts of one client to prove who it is. Each counts as failed until it turns out to be right: many at once
/// are not more than one after the other.
pub(super) struct Attempts<'a> {
    failures: &'a Buckets,
    /// `None` is not counted.
    client: Option<IpAddr>,
}

// === impl Attempts ===

impl Attempts<'_> {
    /// 429 for a client that was wrong too often.
    pub(super) fn may(&self) -> Result<(), TooMany> {
        let wait = self.client.and_then(|client| self.failures.wait(client, Instant::now()));
        wait.map_or(Ok(()), |wait| Err(TooMany { what: WRONG, wait }))
    }

    /// Counts an attempt before its check: 429 when it is one too many.
    pub(super) fn begin(&self) -> Result<(), TooMany> {
        let Some(client) = self.client else { return Ok(()) };
        self.failures.take(client, Instant::now()).map_err(|wait| TooMany { what: WRONG, wait })
    }

    /// The attempt that began was not wrong.
    pub(super) fn was_right(&self) {
        if let Some(client) = self.client {
            self.failures.give_back(client, Instant::now());
        }
    }
}

impl IntoResponse for TooMany {
    fn into_response(self) -> Response {
        let seconds = self.wait.as_secs() + 1;
        let sentence = format!("Too many {} of this client: try again in {seconds} s.", self.what);
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, sentence);
        ([(header::RETRY_AFTER, seconds.to_string())], error).into_response()
    }
}

/// A client has one IPv4 address, but a whole /64 of IPv6.
pub(in crate::api) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// Each client has a bucket that fills at a steady rate; what it does takes one drop.
pub(super) struct Buckets {
    per_second: f64,
    most: f64,
    /// Drops, and when they were counted. Full ones are not kept for long.
    clients: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Buckets {
    pub(super) fn new(per_second: f64, most: f64) -> Self {
        Self { per_second, most, clients: Mutex::default() }
    }

    fn filled(&self, (drops, at): (f64, Instant), now: Instant) -> f64 {
        let since = now.saturating_duration_since(at).as_secs_f64();
        (drops + since * self.per_second).min(self.most)
    }

    pub(super) fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        // Only when it has grown to its capacity: then it is rare enough to look at all of them.
        if clients.len() >= MANY_CLIENTS && clients.len() == clients.capacity() {
            clients.retain(|_, bucket| self.filled(*bucket, now) < self.most);
            if clients.len() >= MANY_CLIENTS * 5 {
                // Clients beyond counting: nobody is told apart any more, all start anew.
                *clients = HashMap::new();
            }
        }
        let bucket = clients.entry(client).or_insert((self.most, now));
        let drops = self.filled(*bucket, now);
        if drops < 1.0 {
            return Err(self.until_one(drops));
        }
        *bucket = (drops - 1.0, now);
        Ok(())
    }

    fn give_back(&self, client: IpAddr, now: Instant) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = clients.get_mut(&client) {
            *bucket = ((self.filled(*bucket, now) + 1.0).min(self.most), now);
        }
    }

    /// How long a client has to wait, if it has to.
    fn wait(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let drops = self.filled(*clients.get(&client)?, now);
        (drops < 1.0).then(|| self.until_one(drops))
    }

    fn until_one(&self, drops: f64) -> Duration {
        Duration::from_secs_f64((1.0 - drops) / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_rate() {
        let buckets = Buckets::new(2.0, 3.0);
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let start = Instant::now();
        assert!((0..3).all(|_| buckets.take(a, start).is_ok()));
        let wait = buckets.take(a, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        assert_eq!((buckets.wait(a, start), buckets.wait(b, start)), (Some(wait), None));
        assert!(buckets.take(b, start).is_ok());
        assert!(buckets.take(a, start + wait).is_ok());
        assert!(buckets.take(a, start + wait).is_err());
        // A long rest fills the bucket, no more.
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| buckets.take(a, later).is_ok()).count(), 3);
    }

    #[test]
    fn clients_are_not_remembered_without_end() {
        let buckets = Buckets::new(1.0, 1.0);
        let start = Instant::now();
        for number in 0..u32::try_from(MANY_CLIENTS * 30).unwrap() {
            buckets.take(IpAddr::V4(number.into()), start).ok();
        }
        assert!(buckets.clients.lock().unwrap().len() <= MANY_CLIENTS * 10);
    }

    #[test]
    fn attempts_count_as_failed_until_they_are_right() {
        let limits = Limits::new(0);
        let attempts = limits.attempts(Some("10.0.0.1".parse().unwrap()));
        // All at once: none has been answered yet.
        assert!((0..FAILURES).all(|_| attempts.begin().is_ok()));
        assert!(attempts.begin().is_err() && attempts.may().is_err());
        attempts.was_right();
        assert!(attempts.may().is_ok() && attempts.begin().is_ok());
        assert!(attempts.begin().is_err());
    }

    #[test]
    fn one_network_of_ipv6_is_one_client() {
        let parse = |text: &str| network(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:1"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
    }
}
