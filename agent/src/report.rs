//! What leaves the agent: events of steps and log records, queued until a session takes them.
//!
//! The queues are bounded. Progress that nobody fetched is replaced by newer progress; log records that do not
//! fit are dropped and counted. Results of steps are not here: [`crate::runner`] keeps them until acknowledged.

mod console;
pub(crate) mod layer;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bessemer_proto::v1::{LogBatch, LogLevel, LogRecord, StepProgress, agent_event::Event};
use tokio::sync::Notify;

pub use console::Console;
pub use layer::LogLayer;

use crate::link::clock::Clock;

/// Events kept while no session takes them.
const MAX_EVENTS: usize = 512;
/// Log records kept while no session takes them.
const MAX_RECORDS: usize = 4096;
/// Bytes of log text kept.
const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// Longest text of one record.
const MAX_MESSAGE: usize = 4096;
/// Records of one batch, and roughly its bytes.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;
/// Log records a second in the long run, and at once.
const RATE: f64 = 200.0;
const BURST: f64 = 2000.0;

/// The queue towards the controller. Cheap to clone.
#[derive(Clone)]
pub struct Report {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<Clock>,
    queue: Mutex<Queue>,
    changed: Notify,
}

struct Queue {
    events: VecDeque<Event>,
    records: VecDeque<Entry>,
    bytes: usize,
    dropped: u64,
    allowance: f64,
    refilled: Instant,
}

/// A log record whose wall-clock time is decided when it is sent: by then the time is known better.
struct Entry {
    at: Instant,
    level: LogLevel,
    target: String,
    message: String,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.target.len() + self.message.len()
    }
}

impl Report {
    /// An empty queue.
    #[must_use]
    pub fn new(clock: Arc<Clock>) -> Self {
        let queue = Queue {
            events: VecDeque::new(),
            records: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            allowance: BURST,
            refilled: Instant::now(),
        };
        Self { shared: Arc::new(Shared { clock, queue: Mutex::new(queue), changed: Notify::new() }) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event of a step.
    pub fn event(&self, event: Event) {
        self.queue().push_event(event);
        self.wake();
    }

    /// Queues a log record, or drops and counts it when there are too many.
    pub fn log(&self, level: LogLevel, target: &str, mut message: String) {
        truncate(&mut message, MAX_MESSAGE);
        let entry = Entry { at: Instant::now(), level, target: target.to_owned(), message };
        self.queue().push_record(entry);
        self.wake();
    }

    /// Takes back what could not be sent: events wait for the next session, log records count as dropped.
    pub fn give_back(&self, events: impl DoubleEndedIterator<Item = Event>) {
        let mut queue = self.queue();
        for event in events.rev() {
            match event {
                Event::Log(batch) => queue.dropped += batch.records.len() as u64 + batch.dropped,
                event if queue.events.len() < MAX_EVENTS => queue.events.push_front(event),
                _ => queue.dropped += 1,
            }
        }
    }

    /// Tells the session that there is something to fetch, here or at the runner.
    pub fn wake(&self) {
        self.shared.changed.notify_one();
    }

    /// Waits until something was queued since the last wait. For one waiter.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Takes what a session can send now: all events, and a batch of log records.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        let mut queue = self.queue();
        let mut events: Vec<_> = queue.events.drain(..).collect();
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            let Some(entry) = queue.pop_record() else { break };
            bytes += entry.bytes();
            records.push(LogRecord {
                time_ms: self.shared.clock.at_ms(entry.at),
                level: entry.level.into(),
                target: entry.target,
                message: entry.message,
            });
        }
        let dropped = std::mem::take(&mut queue.dropped);
        if !queue.records.is_empty() {
            self.wake();
        }
        if !records.is_empty() || dropped > 0 {
            events.push(Event::Log(LogBatch { records, dropped }));
        }
        events
    }
}

impl Queue {
    fn push_event(&mut self, event: Event) {
        if let Event::StepProgress(new) = &event {
            let older = self.events.iter_mut().rev().find_map(|queued| match queued {
                Event::StepProgress(old) if same_stage(old, new) => Some(old),
                _ => None,
            });
            if let Some(old) = older {
                *old = new.clone();
                return;
            }
        }
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.events.push_back(event);
    }

    fn push_record(&mut self, entry: Entry) {
        let now = Instant::now();
        let earned = now.duration_since(self.refilled).as_secs_f64() * RATE;
        self.allowance = (self.allowance + earned).min(BURST);
        self.refilled = now;
        if self.allowance < 1.0 {
            self.dropped += 1;
            return;
        }
        self.allowance -= 1.0;
        self.bytes += entry.bytes();
        self.records.push_back(entry);
        while self.records.len() > MAX_RECORDS || self.bytes > MAX_RECORD_BYTES {
            if self.pop_record().is_none() {
                break;
            }
            self.dropped += 1;
        }
    }

    fn pop_record(&mut self) -> Option<Entry> {
        let entry = self.records.pop_front()?;
        self.bytes -= entry.bytes();
        Some(entry)
    }
}

fn same_stage(a: &StepProgress, b: &StepProgress) -> bool {
    a.step_id == b.step_id && a.stage == b.stage
}

fn truncate(text: &mut String, longest: usize) {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
    }
}

#[cfg(test)]
mod tests;
