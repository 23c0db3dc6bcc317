//! The bytes of an object in order, by as many connections as bring something.
//!
//! It starts with the one body that is open. When the stages behind wait for the network and the server takes ranges,
//! two range requests run at once, then four, as long as each doubling is faster by a sixth; else it goes back and
//! stays there. What arrives out of order waits in memory, at most [`WINDOW`].

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Body, FetchError, Object};
use crate::{
    disk::buffer::{Block, Ring},
    stream::{StreamError, chunks::Item, work::StageClock},
};

/// Most range requests at once.
pub const MOST_CONNECTIONS: u8 = 8;
/// Without being told: enough for servers that limit each connection.
pub const DEFAULT_CONNECTIONS: u8 = 4;
/// Bytes under way in all range requests.
const WINDOW: u64 = 6 << 20;
/// A rate is taken over this time and this many bytes.
const MEASURE: (Duration, u64) = (Duration::from_millis(750), 2 * WINDOW);
/// Less than this is not worth more connections.
const LEAST_LEFT: u64 = 8 * WINDOW;
/// More connections must be so much faster.
const WORTH_IT: f64 = 7.0 / 6.0;

/// Where the bytes go: full blocks to the next stage.
pub struct Sink {
    ring: Ring,
    next: mpsc::Sender<Item>,
    current: Option<Block>,
    /// The account of the fetch stage.
    pub clock: StageClock,
}

impl Sink {
    /// Sends blocks of `ring` to `next`.
    #[must_use]
    pub fn new(ring: Ring, next: mpsc::Sender<Item>) -> Self {
        Self { ring, next, current: None, clock: StageClock::new("fetch") }
    }

    async fn push(&mut self, mut chunk: &[u8]) -> Result<(), StreamError> {
        self.clock.bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            let mut block = match self.current.take() {
                Some(block) => block,
                None => self.clock.wait_for(self.ring.take()).await,
            };
            let count = block.append(chunk);
            chunk = chunk.get(count..).unwrap_or_default();
            if block.is_full() {
                self.send(Some(block)).await?;
            } else {
                self.current = Some(block);
            }
        }
        Ok(())
    }

    async fn send(&mut self, item: Item) -> Result<(), StreamError> {
        self.clock.wait_for(self.next.send(item)).await.map_err(|_| StreamError::Stopped)
    }
}

/// Sends all bytes of `object` to `sink` and the word that they are complete. `most` connections at once. After an
/// error what has arrived is sent, without that word.
pub async fn fetch(object: Arc<Object>, first: Body, most: u8, sink: &mut Sink) -> Result<(), StreamError> {
    let fetched = fetch_all(object, first, most, sink).await;
    if let Some(block) = sink.current.take() {
        sink.send(Some(block)).await.and(fetched)?;
    } else {
        fetched?;
    }
    sink.send(None).await
}

async fn fetch_all(object: Arc<Object>, first: Body, most: u8, sink: &mut Sink) -> Result<(), StreamError> {
    let mut climb = Climb::new(most.clamp(1, MOST_CONNECTIONS));
    let mut body = first;
    loop {
        let position = match single(&object, &mut body, &mut climb, sink).await? {
            None => return Ok(()),
            Some(position) => position,
        };
        // The open body goes on behind the place where range requests begin: it is given up.
        drop(body);
        let position = Parallel::new(&object, position).run(&mut climb, sink).await?;
        if Some(position) == object.length() {
            return Ok(());
        }
        let Some(length) = object.length() else { return Err(StreamError::Stopped) };
        body = object.range(position..length);
    }
}

/// One body; ends early, with the place it got to, when more connections shall be tried.
async fn single(
    object: &Object,
    body: &mut Body,
    climb: &mut Climb,
    sink: &mut Sink,
) -> Result<Option<u64>, StreamError> {
    climb.restart(sink);
    while let Some(chunk) = body.next().await? {
        sink.push(&chunk).await?;
        let left = object.length().map_or(0, |length| length - body.position());
        if left >= LEAST_LEFT && object.has_ranges() && climb.step(sink) > 1 {
            return Ok(Some(body.position()));
        }
    }
    Ok(None)
}

/// Finds the number of connections that brings most.
struct Climb {
    most: u8,
    now: u8,
    settled: bool,
    /// Rate with half as many connections.
    before: f64,
    since: Instant,
    bytes: u64,
    waited: Duration,
}

impl Climb {
    fn new(most: u8) -> Self {
        let (now, settled) = (1, most == 1);
        Self { most, now, settled, before: 0.0, since: Instant::now(), bytes: 0, waited: Duration::ZERO }
    }

    fn restart(&mut self, sink: &Sink) {
        self.since = Instant::now();
        self.bytes = sink.clock.bytes;
        self.waited = sink.clock.waited();
    }

    /// How many connections there shall be from now on.
    fn step(&mut self, sink: &Sink) -> u8 {
        let (elapsed, bytes) = (self.since.elapsed(), sink.clock.bytes - self.bytes);
        if self.settled || elapsed < MEASURE.0 || bytes < MEASURE.1 {
            return self.now;
        }
        let rate = bytes as f64 / elapsed.as_secs_f64();
        let others = (sink.clock.waited() - self.waited).as_secs_f64() / elapsed.as_secs_f64();
        self.restart(sink);
        if self.now > 1 && rate < self.before * WORTH_IT {
            self.now /= 2;
            self.settled = true;
        } else if others > 0.1 {
            // The network is not what is waited for.
            self.settled = self.now > 1;
        } else if self.now < self.most {
            self.before = rate;
            self.now = (self.now * 2).min(self.most);
        } else {
            self.settled = true;
        }
        self.now
    }

    /// The server does not want it.
    fn give_up(&mut self) {
        self.now = 1;
        self.settled = true;
    }
}

/// Range requests under way, first byte first.
struct Parallel<'a> {
    object: &'a Arc<Object>,
    /// The first byte that no request is for.
    next: u64,
    /// The first byte that has not been passed on.
    position: u64,
    /// With the place where each ends.
    parts: VecDeque<(u64, mpsc::UnboundedReceiver<Result<Bytes, FetchError>>)>,
    tasks: JoinSet<()>,
}

impl<'a> Parallel<'a> {
    fn new(object: &'a Arc<Object>, position: u64) -> Self {
        Self { object, next: position, position, parts: VecDeque::new(), tasks: JoinSet::new() }
    }

    /// Passes bytes on until the end, or until one connection is enough; says where it got to.
    async fn run(mut self, climb: &mut Climb, sink: &mut Sink) -> Result<u64, StreamError> {
        climb.restart(sink);
        loop {
            let wanted = if climb.now > 1 { usize::from(climb.now) } else { 0 };
            while self.parts.len() < wanted && self.start_part(wanted) {}
            let counts = &self.object.counts;
            counts.connections.fetch_max(self.parts.len() as u64, Ordering::Relaxed);
            let Some((end, mut part)) = self.parts.pop_front() else { return Ok(self.position) };
            while let Some(chunk) = part.recv().await {
                match chunk {
                    Ok(chunk) => {
                        self.position += chunk.len() as u64;
                        sink.push(&chunk).await?;
                    }
                    // The others are given up with `self`; one connection goes on from here.
                    Err(error) if is_refusal(&error) => {
                        climb.give_up();
                        return Ok(self.position);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if self.position != end {
                return Err(StreamError::Died("fetch"));
            }
            climb.step(sink);
            while self.tasks.try_join_next().is_some() {}
        }
    }

    /// False when all of the object is asked for.
    fn start_part(&mut self, connections: usize) -> bool {
        let length = self.object.length().unwrap_or(0);
        let range = part(self.next, length, connections as u64);
        if range.is_empty() {
            return false;
        }
        self.next = range.end;
        let mut body = self.object.range(range).impatient();
        // Bounded by the length of the part.
        let (sender, receiver) = mpsc::unbounded_channel();
        self.tasks.spawn(async move {
            loop {
                let item = match body.next().await {
                    Ok(Some(chunk)) => Ok(chunk),
                    Ok(None) => return,
                    Err(error) => Err(error),
                };
                let failed = item.is_err();
                if sender.send(item).is_err() || failed {
                    return;
                }
            }
        });
        self.parts.push_back((self.next, receiver));
        true
    }
}

fn part(start: u64, length: u64, connections: u64) -> Range<u64> {
    start..length.min(start + WINDOW / connections.max(1))
}

/// Whether one connection may do what several could not.
fn is_refusal(error: &FetchError) -> bool {
    match error {
        FetchError::GaveUp { source, .. } => is_refusal(source),
        error => error.is_about_ranges() || error.is_transient(),
    }
}
