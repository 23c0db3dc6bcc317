//! Turns a step's many progress calls into a few events with a rate.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bessemer_proto::v1::{StepProgress, StepWarning, agent_event::Event};

use crate::{report::Report, steps::StepReport};

/// Shortest time between two progress events of one stage.
const INTERVAL: Duration = Duration::from_millis(250);
/// Warnings of one step that are passed on.
const MAX_WARNINGS: u32 = 100;
/// Longest warning.
const MAX_WARNING: usize = 2000;

/// What one running step reports to.
pub(super) struct Progress {
    step_id: String,
    report: Report,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: &'static str,
    last: Option<Sent>,
    rate: f64,
    /// The newest progress, when it was not sent.
    held: Option<(u64, u64)>,
    warnings: u32,
    closed: bool,
}

struct Sent {
    at: Instant,
    bytes_done: u64,
}

impl Progress {
    pub(super) fn new(step_id: String, report: Report) -> Self {
        Self { step_id, report, state: Mutex::new(State::default()) }
    }

    /// Sends what is held back. Nothing is passed on after it: the result follows.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((done, total)) = state.held.take() {
            self.send(&mut state, done, total);
        }
        state.closed = true;
    }

    fn send(&self, state: &mut State, bytes_done: u64, bytes_total: u64) {
        let now = Instant::now();
        if let Some(last) = &state.last {
            let seconds = now.duration_since(last.at).as_secs_f64().max(0.001);
            let rate = bytes_done.saturating_sub(last.bytes_done) as f64 / seconds;
            state.rate = if state.rate == 0.0 { rate } else { 0.5 * state.rate + 0.5 * rate };
        }
        state.last = Some(Sent { at: now, bytes_done });
        state.held = None;
        self.report.event(Event::StepProgress(StepProgress {
            step_id: self.step_id.clone(),
            stage: state.stage.to_owned(),
            bytes_done,
            bytes_total,
            bytes_per_second: state.rate as u64,
        }));
    }
}

impl StepReport for Progress {
    fn progress(&self, stage: &'static str, bytes_done: u64, bytes_total: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return;
        }
        if state.stage != stage {
            if let Some((done, total)) = state.held.take() {
                self.send(&mut state, done, total);
            }
            (state.stage, state.last, state.rate) = (stage, None, 0.0);
        }
        if state.last.as_ref().is_some_and(|last| last.at.elapsed() < INTERVAL) {
            state.held = Some((bytes_done, bytes_total));
        } else {
            self.send(&mut state, bytes_done, bytes_total);
        }
    }

    fn warning(&self, message: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.warnings += 1;
        if state.closed || state.warnings > MAX_WARNINGS {
            return;
        }
        tracing::warn!(id = %self.step_id, warning = %message, "step warns");
        let message = message.chars().take(MAX_WARNING).collect();
        self.report.event(Event::StepWarning(StepWarning { step_id: self.step_id.clone(), message }));
    }
}
