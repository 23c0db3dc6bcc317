//! Changes that a BMC answers with 202 (DSP0266, "Asynchronous operations"): its task is watched until it ends, or is
//! handed out as a job when it takes longer than anyone waits.

use http::{Method, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    client::{Client, Refusal},
    messages::{self, error_sentence},
    transport::{Answer, Call},
};
use crate::bmc::{BmcError, Job, Outcome};

/// Letters of a monitor that is kept: it is a path.
const MAX_MONITOR: usize = 2048;
/// Between the monitors of a job: it is in no link.
const SEPARATOR: char = '\n';

/// A change that a BMC accepted.
#[derive(Debug, Default)]
pub(super) struct Started {
    /// Where its task is watched; `None`: it is done.
    pub(super) monitor: Option<String>,
    /// What was made by it.
    pub(super) location: Option<String>,
}

/// One job of several changes; `None` when all of them are done.
pub(super) fn job_of(started: impl IntoIterator<Item = Started>) -> Option<Job> {
    let monitors = started.into_iter().filter_map(|one| one.monitor);
    let monitors: Vec<_> = monitors.filter(|monitor| monitor.len() <= MAX_MONITOR).collect();
    (!monitors.is_empty()).then(|| Job(monitors.join(&SEPARATOR.to_string())))
}

impl Client {
    /// Asks for a change and does not wait for the task that the BMC may make of it.
    pub(super) async fn start(&self, call: Call<'_>) -> Result<Result<Started, Refusal>, BmcError> {
        let answer = self.send(call).await?;
        Ok(self.started(&call, &answer))
    }

    pub(super) fn started(&self, call: &Call<'_>, answer: &Answer) -> Result<Started, Refusal> {
        let location = answer.header(header::LOCATION).and_then(|link| self.path_of(link));
        match answer.status {
            StatusCode::ACCEPTED => Ok(Started { monitor: self.monitor(answer), location }),
            status if status.is_success() => {
                // Some BMCs answer 200 with a task that goes on.
                let runs = matches!(progress(answer), Outcome::Pending(_) | Outcome::NeedsRestart);
                Ok(Started { monitor: self.monitor(answer).filter(|_| runs), location })
            }
            _ => Err(self.refusal(call, answer)),
        }
    }

    /// How far a job is.
    pub(super) async fn job_progress(&self, job: &Job) -> Result<Outcome, BmcError> {
        let (mut least, mut has_not_begun) = (None, false);
        for monitor in job.0.split(SEPARATOR) {
            match self.look_at(monitor).await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Failed(message)) => return Ok(Outcome::Failed(message)),
                Ok(Outcome::NeedsRestart) => has_not_begun = true,
                Ok(Outcome::Pending(percent)) => {
                    let percent = percent.unwrap_or_default();
                    least = Some(least.map_or(percent, |least: u8| least.min(percent)));
                }
                // Many jobs restart the BMC.
                Err(BmcError::Unreachable { .. } | BmcError::Timeout { .. } | BmcError::Busy { .. }) => {
                    least = Some(0);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(match least {
            None if has_not_begun => Outcome::NeedsRestart,
            None => Outcome::Done,
            Some(0) => Outcome::Pending(None),
            Some(percent) => Outcome::Pending(Some(percent)),
        })
    }

    async fn look_at(&self, monitor: &str) -> Result<Outcome, BmcError> {
        let look = Call { method: &Method::GET, link: monitor, body: None, if_match: None };
        let answer = self.send(look).await?;
        Ok(match progress(&answer) {
            Outcome::Failed(message) => Outcome::Failed(self.masked(message)),
            other => other,
        })
    }

    /// Waits for the task behind an answer with status 202; without a monitor the change counts as made.
    pub(super) async fn wait_for_task(&self, call: &Call<'_>, accepted: &Answer) -> Result<(), BmcError> {
        let Some(monitor) = self.monitor(accepted) else { return Ok(()) };
        let pace = self.transport.pace;
        let until = Instant::now() + pace.task;
        let mut pause = accepted.retry_after().unwrap_or(pace.poll);
        let address = || self.transport.address.clone();
        loop {
            if Instant::now() + pause > until {
                let what = format!("the task of {}", call.what());
                return Err(BmcError::Timeout { address: address(), what, seconds: pace.task.as_secs() });
            }
            tokio::time::sleep(pause).await;
            let look = Call { method: &Method::GET, link: &monitor, body: None, if_match: None };
            let answer = self.send(look).await?;
            match progress(&answer) {
                Outcome::Done => return Ok(()),
                Outcome::Pending(_) | Outcome::NeedsRestart => {
                    pause = answer.retry_after().unwrap_or(pause * 2).min(pace.poll_max);
                }
                Outcome::Failed(message) => {
                    let message = self.masked(message);
                    return Err(BmcError::TaskFailed { address: address(), what: call.what(), message });
                }
            }
        }
    }

    /// Where a task is watched: as the header says, else as the task in the body says.
    fn monitor(&self, answer: &Answer) -> Option<String> {
        if let Some(link) = answer.header(header::LOCATION) {
            return self.path_of(link);
        }
        let task: Value = serde_json::from_slice(&answer.body).ok()?;
        let state = task.get("TaskState");
        let link = task.get("TaskMonitor").or_else(|| task.get("@odata.id").filter(|_| state.is_some()));
        self.path_of(link?.as_str()?)
    }

    fn path_of(&self, link: &str) -> Option<String> {
        let url = self.on_origin(link)?;
        Some(url[url::Position::BeforePath..].to_owned())
    }
}

/// What is read may be a task monitor or the task itself.
fn progress(answer: &Answer) -> Outcome {
    let task: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    match answer.status {
        // The task ended and was thrown away.
        StatusCode::NOT_FOUND | StatusCode::GONE => return Outcome::Done,
        // The BMC is busy, which says nothing of the task.
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            return Outcome::Pending(None);
        }
        status if !status.is_success() => return Outcome::Failed(error_sentence(&answer.body)),
        _ => {}
    }
    let percent = task.get("PercentComplete").and_then(Value::as_u64);
    let pending = Outcome::Pending(percent.map(|percent| percent.min(100) as u8));
    let said = || messages::sentence(&messages::listed(task.get("Messages")));
    let is_critical = task.get("TaskStatus").and_then(Value::as_str) == Some("Critical");
    match task.get("TaskState").and_then(Value::as_str) {
        None if answer.status == StatusCode::ACCEPTED => pending,
        Some("Completed") if is_critical => Outcome::Failed(said()),
        None | Some("Completed") => Outcome::Done,
        Some(state @ ("Exception" | "Killed" | "Cancelled" | "Interrupted")) => {
            Outcome::Failed(format!("{state}. {}", said()).trim().to_owned())
        }
        // It waits for a condition: of what happens at the start of a machine, for that.
        Some("Starting" | "Pending") => Outcome::NeedsRestart,
        Some(_) => pending,
    }
}
