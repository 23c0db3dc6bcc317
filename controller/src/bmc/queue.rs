//! One queue per BMC, whatever protocol speaks with it: BMCs are small computers that fall over, or lock accounts, when
//! they are asked much at once. Every exchange goes through [`Queue::run`], every password through [`Queue::guard`].
//! Nothing here runs by itself: a future that is dropped gives its place back.

mod guard;
mod retry;

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::BmcError;
pub use guard::{Account, Attempt};
pub use retry::{Again, Pauses, Retry};

/// BMCs remembered at once; one that nobody uses makes room.
const CAPACITY: usize = 16_384;
/// A place takes `PARTS / concurrency` of the semaphore: so concurrency can change while calls are under way.
const PARTS: u32 = 12;

/// What one BMC is spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls at the same time, 1 to 12.
    pub concurrency: u32,
    /// From the start of one call to the start of the next.
    pub spacing: Duration,
    /// Calls that may wait for their turn.
    pub waiting: usize,
    /// How long a user and password that were refused are not tried again.
    pub lockout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 2, spacing: Duration::ZERO, waiting: 64, lockout: Duration::from_secs(300) }
    }
}

/// What one BMC was asked since the controller started, or since it was asked last for a long time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How often.
    pub number: u64,
    /// How many of them failed or were given up.
    pub failed: u64,
    /// How long the BMC took for all of them together.
    pub time: Duration,
    /// How long they waited for their turn together.
    pub waited: Duration,
}

/// The calls of one BMC.
#[derive(Debug)]
pub struct Queue {
    host: String,
    places: Semaphore,
    waiting: AtomicUsize,
    state: Mutex<State>,
    /// Held while a user and password are tried that are not known to be right.
    login: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    limits: Limits,
    /// When the next call may start.
    next: Option<Instant>,
    calls: Calls,
    accounts: guard::Accounts,
}

static QUEUES: LazyLock<Mutex<HashMap<String, Arc<Queue>>>> = LazyLock::new(Mutex::default);

/// The queue of the BMC at `host`, the same for the whole process. `port` only counts when it is not the usual one of
/// its protocol: behind forwarded ports are different BMCs.
#[must_use]
pub fn of(host: &str, port: Option<u16>) -> Arc<Queue> {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let key = match port {
        Some(port) => format!("{host} port {port}"),
        None => host,
    };
    let mut queues = locked(&QUEUES);
    if let Some(queue) = queues.get(&key) {
        return Arc::clone(queue);
    }
    if queues.len() >= CAPACITY {
        queues.retain(|_, queue| Arc::strong_count(queue) > 1 || queue.remembers_refusal());
    }
    let queue = Arc::new(Queue::new(key.clone()));
    queues.insert(key, Arc::clone(&queue));
    queue
}

/// What all BMCs were asked so far.
#[must_use]
pub fn total() -> Calls {
    let queues: Vec<_> = locked(&QUEUES).values().cloned().collect();
    queues.iter().map(|queue| queue.calls()).fold(Calls::default(), |sum, one| Calls {
        number: sum.number + one.number,
        failed: sum.failed + one.failed,
        time: sum.time + one.time,
        waited: sum.waited + one.waited,
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends `operation` after `limit`: for what takes several calls and pauses.
pub async fn within<T>(
    address: &str,
    what: &str,
    limit: Duration,
    operation: impl Future<Output = Result<T, BmcError>>,
) -> Result<T, BmcError> {
    // Boxed: the many states of an operation would be copied about otherwise.
    match tokio::time::timeout(limit, Box::pin(operation)).await {
        Ok(result) => result,
        Err(_) => Err(BmcError::Timeout {
            address: address.to_owned(),
            what: what.to_owned(),
            seconds: limit.as_secs(),
        }),
    }
}

/// Counts a call when it ends, however it ends.
struct Running<'a> {
    queue: &'a Queue,
    _place: SemaphorePermit<'a>,
    started: Instant,
    waited: Duration,
    failed: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let calls = &mut locked(&self.queue.state).calls;
        calls.number += 1;
        calls.failed += u64::from(self.failed);
        calls.time += self.started.elapsed();
        calls.waited += self.waited;
    }
}

/// Somebody who waits for a place.
struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Queue ===

impl Queue {
    fn new(host: String) -> Self {
        Self {
            host,
            places: Semaphore::new(PARTS as usize),
            waiting: AtomicUsize::new(0),
            state: Mutex::default(),
            login: tokio::sync::Mutex::default(),
        }
    }

    /// What it is spared from now on.
    pub fn set_limits(&self, limits: Limits) {
        locked(&self.state).limits = limits;
    }

    /// What it is spared.
    #[must_use]
    pub fn limits(&self) -> Limits {
        locked(&self.state).limits
    }

    /// What it was asked so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        locked(&self.state).calls
    }

    /// Makes one call when it is its turn: first come, first served. `within` counts from the turn; waiting for it may
    /// take as long again.
    pub async fn run<T, E: From<BmcError>>(
        &self,
        what: &str,
        within: Duration,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut running = self.turn(within).await?;
        let result = match tokio::time::timeout(within, call).await {
            Ok(result) => result,
            Err(_) => Err(BmcError::Timeout {
                address: self.host.clone(),
                what: what.to_owned(),
                seconds: within.as_secs(),
            }
            .into()),
        };
        running.failed = result.is_err();
        result
    }

    async fn turn(&self, within: Duration) -> Result<Running<'_>, BmcError> {
        let limits = self.limits();
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiter = Waiter(&self.waiting);
        let busy = |waiting| BmcError::Busy { address: self.host.clone(), waiting };
        if waiting >= limits.waiting {
            return Err(busy(waiting));
        }
        let came = Instant::now();
        let parts = PARTS / limits.concurrency.clamp(1, PARTS);
        let place = tokio::time::timeout(within, self.places.acquire_many(parts)).await;
        let Ok(Ok(place)) = place else { return Err(busy(waiting)) };
        if let Some(start) = self.reserve(limits.spacing) {
            tokio::time::sleep_until(start).await;
        }
        drop(waiter);
        let started = Instant::now();
        Ok(Running { queue: self, _place: place, started, waited: started - came, failed: true })
    }

    /// Until when a call must still wait that is at its turn now.
    fn reserve(&self, spacing: Duration) -> Option<Instant> {
        let now = Instant::now();
        let mut state = locked(&self.state);
        let start = state.next.filter(|next| *next > now);
        state.next = (!spacing.is_zero()).then(|| start.unwrap_or(now) + spacing);
        start
    }
}

#[cfg(test)]
mod tests;
