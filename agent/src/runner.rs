//! Runs steps, one at a time, and keeps their results until the controller has stored them.
//!
//! The runner does not know connections: sessions come and go, it goes on. A step is known by its id and never
//! runs twice.

mod progress;
mod supervise;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bessemer_proto::{
    step::names,
    v1::{RunStep, StepFinished, StepStarted, StepStatus, StepUnknown, agent_event::Event},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    report::Report,
    steps::{Registry, Roots, Step},
};

/// Results kept, acknowledged ones included: a step that is sent again is answered from here.
const MAX_RESULTS: usize = 64;
/// Longest step id.
const MAX_ID: usize = 128;
/// Longest result of a step.
const MAX_RESULT_BYTES: usize = 2 * 1024 * 1024;
/// Deadline of a step that was sent without one, and the longest there is.
const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// Runs steps. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    roots: Roots,
    report: Report,
    shutdown: CancellationToken,
    /// How long a step may go on after it was told to stop.
    grace: Duration,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    running: Option<Running>,
    /// Steps that were reported as ended but do not stop.
    stuck: Vec<Running>,
    results: VecDeque<Stored>,
}

struct Running {
    id: String,
    name: String,
    cancel: CancellationToken,
}

struct Stored {
    finished: StepFinished,
    acknowledged: bool,
}

impl Runner {
    /// A runner of these steps. When `shutdown` fires, a running step is cancelled.
    #[must_use]
    pub fn new(registry: Registry, roots: Roots, report: Report, shutdown: CancellationToken) -> Self {
        Self::with_grace(registry, roots, report, shutdown, Duration::from_secs(30))
    }

    fn with_grace(
        registry: Registry,
        roots: Roots,
        report: Report,
        shutdown: CancellationToken,
        grace: Duration,
    ) -> Self {
        let table = Mutex::new(Table::default());
        Self { shared: Arc::new(Shared { registry, roots, report, shutdown, grace, table }) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of the steps that can be run.
    #[must_use]
    pub fn supported_steps(&self) -> Vec<String> {
        self.shared.registry.names()
    }

    /// Id of the step that runs now; empty when idle.
    #[must_use]
    pub fn running_step_id(&self) -> String {
        self.table().running.as_ref().map_or_else(String::new, |running| running.id.clone())
    }

    /// Starts a step, unless its id is known. What is returned is an answer for this session only; results
    /// come by [`Self::unacknowledged`].
    #[must_use]
    pub fn run(&self, command: RunStep) -> Option<Event> {
        let id = command.step_id.clone();
        if id.is_empty() || id.len() > MAX_ID {
            tracing::warn!(name = ?command.name, "a step without a proper id is refused");
            return Some(Event::StepUnknown(StepUnknown { step_id: id.chars().take(MAX_ID).collect() }));
        }
        let mut table = self.table();
        if let Some(known) = table.known(&id) {
            return Some(known);
        }
        if let Err((status, error)) = self.start(&mut table, command) {
            let refused = refusal(&id, status, error);
            if table.results.iter().filter(|stored| !stored.acknowledged).count() >= MAX_RESULTS {
                return Some(Event::StepFinished(refused));
            }
            table.conclude(refused);
            self.shared.report.wake();
        }
        None
    }

    fn start(&self, table: &mut Table, command: RunStep) -> Result<(), (StepStatus, String)> {
        if let Some(busy) = table.obstacle(&command.name) {
            return Err((StepStatus::Failed, busy));
        }
        let Some(step) = self.shared.registry.get(&command.name) else {
            let name: String = command.name.chars().take(MAX_ID).collect();
            let error = format!("this agent has no step \"{name}\": use a newer deploy image");
            return Err((StepStatus::UnknownStep, error));
        };
        let arguments = if command.arguments_json.trim().is_empty() {
            Value::Object(serde_json::Map::new())
        } else {
            serde_json::from_str(&command.arguments_json)
                .map_err(|error| (StepStatus::BadArguments, format!("the arguments are not JSON: {error}")))?
        };
        let deadline = match command.deadline_seconds {
            0 => LONGEST_DEADLINE,
            seconds => Duration::from_secs(seconds.into()).min(LONGEST_DEADLINE),
        };
        tracing::info!(step = %command.name, id = %command.step_id, attempt = command.attempt, "step starts");
        let cancel = self.shared.shutdown.child_token();
        table.running =
            Some(Running { id: command.step_id.clone(), name: command.name.clone(), cancel: cancel.clone() });
        self.shared.report.event(Event::StepStarted(StepStarted { step_id: command.step_id.clone() }));
        let work = Work { id: command.step_id, step, arguments, deadline, cancel };
        tokio::spawn(self.clone().supervise(work));
        Ok(())
    }

    /// Tells a running step to stop. Its result says whether it did.
    pub fn cancel(&self, step_id: &str) {
        match self.table().running.as_ref().filter(|running| running.id == step_id) {
            Some(running) => {
                tracing::info!(step = %running.name, id = %running.id, "step is cancelled by the controller");
                running.cancel.cancel();
            }
            None => tracing::info!(id = ?step_id, "a step to cancel does not run"),
        }
    }

    /// What became of a step.
    #[must_use]
    pub fn query(&self, step_id: &str) -> Event {
        let unknown = || Event::StepUnknown(StepUnknown { step_id: step_id.chars().take(MAX_ID).collect() });
        self.table().known(step_id).unwrap_or_else(unknown)
    }

    /// The controller has stored a result.
    pub fn acknowledge(&self, step_id: &str) {
        let mut table = self.table();
        if let Some(stored) = table.results.iter_mut().find(|stored| stored.finished.step_id == step_id) {
            stored.acknowledged = true;
        }
    }

    /// Results that the controller has not acknowledged, oldest first.
    #[must_use]
    pub fn unacknowledged(&self) -> Vec<StepFinished> {
        let table = self.table();
        table
            .results
            .iter()
            .filter(|stored| !stored.acknowledged)
            .map(|stored| stored.finished.clone())
            .collect()
    }

    /// Waits until nothing runs and every result is acknowledged; false when that takes longer than `deadline`.
    pub async fn settled(&self, deadline: Duration) -> bool {
        self.until(deadline, |table| {
            table.running.is_none() && table.results.iter().all(|stored| stored.acknowledged)
        })
        .await
    }

    /// Waits until nothing runs; false when that takes longer than `deadline`.
    pub async fn idle(&self, deadline: Duration) -> bool {
        self.until(deadline, |table| table.running.is_none()).await
    }

    async fn until(&self, deadline: Duration, condition: impl Fn(&Table) -> bool) -> bool {
        let reached = async {
            while !condition(&self.table()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(deadline, reached).await.is_ok()
    }
}

/// A step about to run.
struct Work {
    id: String,
    step: Arc<dyn Step>,
    arguments: Value,
    deadline: Duration,
    cancel: CancellationToken,
}

impl Table {
    fn known(&self, id: &str) -> Option<Event> {
        if self.running.as_ref().is_some_and(|running| running.id == id) {
            return Some(Event::StepStarted(StepStarted { step_id: id.to_owned() }));
        }
        let stored = self.results.iter().find(|stored| stored.finished.step_id == id)?;
        Some(Event::StepFinished(stored.finished.clone()))
    }

    /// Why a step of this name cannot start now. A step that does not stop does not hold up power off.
    fn obstacle(&self, name: &str) -> Option<String> {
        let power = [names::POWER_OFF, names::REBOOT].contains(&name);
        let stuck = self.stuck.first().filter(|_| !power);
        let (what, note) = match (&self.running, stuck) {
            (Some(running), _) => (running, ""),
            (None, Some(stuck)) => (stuck, ", which was told to stop and does not; power-cycle the machine"),
            (None, None) => return None,
        };
        Some(format!("busy with {} {}{note}", what.name, what.id))
    }

    fn conclude(&mut self, finished: StepFinished) {
        self.results.push_back(Stored { finished, acknowledged: false });
        while self.results.len() > MAX_RESULTS {
            let oldest = self.results.iter().position(|stored| stored.acknowledged).unwrap_or(0);
            self.results.remove(oldest);
        }
    }
}

fn refusal(id: &str, status: StepStatus, error: String) -> StepFinished {
    tracing::warn!(id, %error, "step is refused");
    StepFinished { step_id: id.to_owned(), status: status.into(), result_json: String::new(), error }
}

#[cfg(test)]
mod tests;
