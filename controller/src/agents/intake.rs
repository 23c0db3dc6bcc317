//! Log records on their way from one agent to the store: clipped, rate-bounded, in batches.

use std::time::Duration;

use bessemer_proto::v1::{LogBatch, LogLevel, LogRecord};
use chrono::Utc;
use tokio::time::Instant;

use super::enroll::clip;

/// Records kept at once, and records a second after that.
const BURST: u32 = 5000;
const PER_SECOND: u32 = 200;
const BATCH: usize = 512;
const BATCH_WITHIN: Duration = Duration::from_millis(500);
const MAX_MESSAGE_CHARS: usize = 4096;
const MAX_TARGET_CHARS: usize = 128;

/// Collects records of one session.
pub(super) struct LogIntake {
    pending: Vec<LogRecord>,
    dropped: u64,
    allowance: f64,
    refilled: Instant,
    due: Option<Instant>,
}

impl LogIntake {
    pub(super) fn new() -> Self {
        Self {
            pending: Vec::new(),
            dropped: 0,
            allowance: f64::from(BURST),
            refilled: Instant::now(),
            due: None,
        }
    }

    /// Takes an agent's batch.
    pub(super) fn take(&mut self, batch: LogBatch) {
        self.dropped = self.dropped.saturating_add(batch.dropped);
        for record in batch.records {
            self.push(record);
        }
        if self.dropped > 0 {
            self.due.get_or_insert_with(|| Instant::now() + BATCH_WITHIN);
        }
    }

    /// Takes one record.
    pub(super) fn push(&mut self, record: LogRecord) {
        let now = Instant::now();
        let refill = (now - self.refilled).as_secs_f64() * f64::from(PER_SECOND);
        self.allowance = (self.allowance + refill).min(f64::from(BURST));
        self.refilled = now;
        if self.allowance < 1.0 {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.allowance -= 1.0;
        self.due.get_or_insert(now + BATCH_WITHIN);
        self.pending.push(LogRecord {
            time_ms: record.time_ms,
            level: LogLevel::try_from(record.level).unwrap_or(LogLevel::Unspecified).into(),
            target: clip(&record.target, MAX_TARGET_CHARS),
            message: clip(&record.message, MAX_MESSAGE_CHARS),
        });
    }

    /// When the records must be written, at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.pending.len() >= BATCH { Some(Instant::now()) } else { self.due }
    }

    /// All records, with a line about those that were thrown away.
    pub(super) fn drain(&mut self) -> Vec<LogRecord> {
        self.due = None;
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.pending.push(LogRecord {
                time_ms: Utc::now().timestamp_millis(),
                level: LogLevel::Warn.into(),
                target: "bessemer".to_owned(),
                message: format!("{dropped} log records were dropped: too many in a short time"),
            });
        }
        std::mem::take(&mut self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(count: usize, message: &str) -> LogBatch {
        let record = LogRecord { message: message.to_owned(), level: 99, ..LogRecord::default() };
        LogBatch { records: vec![record; count], dropped: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_counted_and_later_records_pass_again() {
        let mut intake = LogIntake::new();
        intake.take(batch(6000, "x"));
        let records = intake.drain();
        assert_eq!(records.len(), 5001);
        assert!(records[5000].message.starts_with("1000 log records were dropped"));
        assert_eq!(intake.due(), None);

        tokio::time::advance(Duration::from_secs(1)).await;
        intake.take(batch(300, "x"));
        assert_eq!(intake.drain().len(), 201);
    }

    #[tokio::test(start_paused = true)]
    async fn long_texts_and_unknown_levels_are_tamed() {
        let mut intake = LogIntake::new();
        intake.take(batch(1, &"ä".repeat(10_000)));
        let records = intake.drain();
        assert_eq!(records[0].message.chars().count(), 4096);
        assert_eq!(records[0].level, i32::from(LogLevel::Unspecified));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_agent_dropped_is_said_even_without_records() {
        let mut intake = LogIntake::new();
        intake.take(LogBatch { records: Vec::new(), dropped: 7 });
        assert!(intake.due().is_some());
        assert!(intake.drain()[0].message.starts_with("7 log records"));
    }
}
