use bessemer_proto::v1::{StepStarted, StepWarning};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

fn report() -> Report {
    Report::new(Clock::new())
}

fn progress(step: &str, stage: &str, done: u64) -> Event {
    Event::StepProgress(StepProgress {
        step_id: step.into(),
        stage: stage.into(),
        bytes_done: done,
        ..Default::default()
    })
}

fn batches(report: &Report) -> (Vec<LogRecord>, u64) {
    let (mut records, mut dropped) = (Vec::new(), 0);
    loop {
        let events = report.take();
        if events.is_empty() {
            return (records, dropped);
        }
        for event in events {
            if let Event::Log(batch) = event {
                assert!(batch.records.len() <= BATCH_RECORDS);
                records.extend(batch.records);
                dropped += batch.dropped;
            }
        }
    }
}

#[test]
fn a_flood_of_records_is_dropped_and_counted() {
    let report = report();
    let made = BURST as u64 + 1000;
    for n in 0..made {
        report.log(LogLevel::Info, "test", n.to_string());
    }
    let (records, dropped) = batches(&report);
    assert!(records.len() as u64 >= BURST as u64);
    assert!(dropped > 0);
    assert_eq!(records.len() as u64 + dropped, made);
}

#[test]
fn what_does_not_fit_is_dropped_oldest_first_and_counted() {
    let report = report();
    let big = "x".repeat(MAX_MESSAGE + 100);
    for _ in 0..1000 {
        report.log(LogLevel::Warn, "test", big.clone());
    }
    report.log(LogLevel::Error, "test", "the last word".into());
    let (records, dropped) = batches(&report);
    assert_eq!(records.len() as u64 + dropped, 1001);
    assert!(records.iter().map(|r| r.message.len()).sum::<usize>() <= MAX_RECORD_BYTES + MAX_MESSAGE);
    assert_eq!(records.last().unwrap().message, "the last word");
    assert!(records[0].message.len() <= MAX_MESSAGE + '…'.len_utf8());
}

#[test]
fn newer_progress_replaces_older_of_the_same_stage() {
    let report = report();
    report.event(Event::StepStarted(StepStarted { step_id: "a".into() }));
    for n in 0..1000 {
        report.event(progress("a", "writing", n));
    }
    report.event(progress("a", "flushing", 0));
    let events = report.take();
    assert_eq!(events.len(), 3);
    assert_eq!(events[1], progress("a", "writing", 999));
    assert_eq!(events[2], progress("a", "flushing", 0));
}

#[test]
fn events_that_nobody_fetches_do_not_grow_without_bound() {
    let report = report();
    for n in 0..MAX_EVENTS + 5 {
        let message = n.to_string();
        report.event(Event::StepWarning(StepWarning { step_id: "a".into(), message }));
    }
    let events = report.take();
    assert_eq!(events.len(), MAX_EVENTS + 1);
    assert_eq!(events.last(), Some(&Event::Log(LogBatch { records: vec![], dropped: 5 })));
}

#[test]
fn what_could_not_be_sent_is_kept_or_counted() {
    let report = report();
    report.event(Event::StepStarted(StepStarted { step_id: "a".into() }));
    report.event(progress("a", "writing", 1));
    report.log(LogLevel::Info, "test", "lost".into());
    let taken = report.take();
    report.event(progress("a", "writing", 2));
    report.give_back(taken.into_iter());
    let events = report.take();
    assert_eq!(events[0], Event::StepStarted(StepStarted { step_id: "a".into() }));
    assert_eq!(events[2], progress("a", "writing", 2));
    assert_eq!(events[3], Event::Log(LogBatch { records: vec![], dropped: 1 }));
}

#[test]
fn records_made_before_the_time_was_known_get_the_right_time() {
    let clock = Clock::new();
    let report = Report::new(clock.clone());
    report.log(LogLevel::Info, "test", "early".into());
    clock.set_controller(1_900_000_000_000);
    let (records, _) = batches(&report);
    assert!(records[0].time_ms.abs_diff(1_900_000_000_000) < 5_000);
}

#[test]
fn the_layer_queues_fields_and_spans_and_filters_libraries() {
    let report = report();
    let layer = LogLayer::new(Arc::new(Console::stderr()), report.clone());
    let subscriber = tracing_subscriber::registry().with(layer.clone());
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("step", id = "7");
        let _entered = span.enter();
        tracing::info!(bytes = 5, "written");
        tracing::info!(target: "h2::client", "noise");
        tracing::warn!(target: "h2::client", "trouble\u{1b}[2J");
        tracing::debug!("hidden");
        layer.set_debug(true);
        tracing::debug!("shown");
    });
    let (records, _) = batches(&report);
    let messages: Vec<_> = records.iter().map(|r| r.message.as_str()).collect();
    assert_eq!(messages, ["written bytes=5 id=7", "trouble [2J id=7", "shown id=7"]);
    assert_eq!(records[1].level(), LogLevel::Warn);
}
