//! One step from its start to its one result: deadline, cancellation, panics.

use std::{any::Any, sync::Arc, time::Duration};

use bessemer_proto::v1::{StepFinished, StepStatus};
use serde_json::Value;
use tokio::{
    task::{JoinError, JoinHandle},
    time::timeout,
};
use tracing::Instrument as _;

use super::{MAX_RESULT_BYTES, Runner, Work, progress::Progress};
use crate::{
    report::layer::chain,
    steps::{StepContext, StepError},
};

type Joined = Result<Result<Value, StepError>, JoinError>;

/// Why a step was told to stop.
#[derive(Clone, Copy)]
enum Stopped {
    Deadline(Duration),
    Cancelled,
}

impl Runner {
    pub(super) async fn supervise(self, work: Work) {
        let progress = Arc::new(Progress::new(work.id.clone(), self.shared.report.clone()));
        let context = StepContext {
            cancel: work.cancel.clone(),
            report: progress.clone(),
            roots: self.shared.roots.clone(),
        };
        let name = work.step.name();
        let span = tracing::info_span!("step", step = name, id = %work.id);
        let step = work.step.clone();
        let arguments = work.arguments;
        let mut task = tokio::spawn(async move { step.run(arguments, context).await }.instrument(span));

        let stopped = tokio::select! {
            joined = &mut task => {
                progress.close();
                return self.end(&work.id, None, outcome(name, joined, None));
            }
            () = tokio::time::sleep(work.deadline) => {
                work.cancel.cancel();
                Stopped::Deadline(work.deadline)
            }
            () = work.cancel.cancelled() => Stopped::Cancelled,
        };
        match timeout(self.shared.grace, &mut task).await {
            Ok(joined) => {
                progress.close();
                self.end(&work.id, None, outcome(name, joined, Some(stopped)));
            }
            Err(_) => {
                progress.close();
                let error = format!(
                    "{}; the step {name} did not stop within {} s and may still be at work: power-cycle the machine",
                    stopped.reason(),
                    self.shared.grace.as_secs()
                );
                self.end(&work.id, Some(task), (stopped.status(), String::new(), error));
            }
        }
    }

    /// Stores the result. A step that does not stop keeps its place until it does.
    fn end(
        &self,
        id: &str,
        stuck: Option<JoinHandle<Result<Value, StepError>>>,
        (status, result_json, error): (StepStatus, String, String),
    ) {
        if error.is_empty() {
            tracing::info!(id, "step succeeded");
        } else {
            tracing::error!(id, status = status.as_str_name(), error, "step did not succeed");
        }
        let finished = StepFinished { step_id: id.to_owned(), status: status.into(), result_json, error };
        let mut table = self.table();
        let running = table.running.take();
        table.conclude(finished);
        if let (Some(task), Some(running)) = (stuck, running) {
            table.stuck.push(running);
            let (runner, id) = (self.clone(), id.to_owned());
            tokio::spawn(async move {
                task.await.ok();
                tracing::warn!(id, "a step that had been given up has stopped now");
                runner.table().stuck.retain(|stuck| stuck.id != id);
            });
        }
        drop(table);
        self.shared.report.wake();
    }
}

impl Stopped {
    fn status(self) -> StepStatus {
        match self {
            Self::Deadline(_) => StepStatus::TimedOut,
            Self::Cancelled => StepStatus::Cancelled,
        }
    }

    fn reason(self) -> String {
        match self {
            Self::Deadline(deadline) => format!("the deadline of {} s passed", deadline.as_secs()),
            Self::Cancelled => "the step was cancelled".to_owned(),
        }
    }
}

fn outcome(name: &str, joined: Joined, stopped: Option<Stopped>) -> (StepStatus, String, String) {
    match joined {
        // It may have ended in the moment it was told to stop: what is done is done.
        Ok(Ok(result)) => success(name, &result),
        Ok(Err(error)) => failure(&error, stopped),
        Err(error) => (StepStatus::Failed, String::new(), panicked(name, error)),
    }
}

fn success(name: &str, result: &Value) -> (StepStatus, String, String) {
    let json = result.to_string();
    if json.len() > MAX_RESULT_BYTES {
        let error = format!(
            "the step {name} did its work but its result of {} bytes is larger than {MAX_RESULT_BYTES}",
            json.len()
        );
        return (StepStatus::Failed, String::new(), error);
    }
    (StepStatus::Succeeded, json, String::new())
}

fn failure(error: &StepError, stopped: Option<Stopped>) -> (StepStatus, String, String) {
    let text = chain(error);
    match (error, stopped) {
        (StepError::Cancelled, Some(stopped)) => (stopped.status(), String::new(), stopped.reason()),
        (_, Some(stopped)) => (stopped.status(), String::new(), format!("{}: {text}", stopped.reason())),
        (StepError::Arguments(_), None) => (StepStatus::BadArguments, String::new(), text),
        (StepError::Cancelled, None) => (StepStatus::Cancelled, String::new(), text),
        (StepError::Failed(_), None) => (StepStatus::Failed, String::new(), text),
    }
}

fn panicked(name: &str, error: JoinError) -> String {
    let payload: Box<dyn Any + Send> = match error.try_into_panic() {
        Ok(payload) => payload,
        Err(error) => return format!("the step {name} was aborted: {error}"),
    };
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    format!("the step {name} panicked ({message}): this is a defect of the agent, please report it")
}
