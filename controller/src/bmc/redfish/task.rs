//! Changes that a BMC answers with 202: its task is watched until it ends.

use http::{Method, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    client::Client,
    document::error_sentence,
    transport::{Answer, Call},
};
use crate::bmc::BmcError;

enum Progress {
    Running,
    Done,
    Failed(String),
}

impl Client {
    /// Waits for the task behind an answer with status 202; without a monitor the change counts as made.
    pub(super) async fn wait_for_task(&self, call: &Call<'_>, accepted: &Answer) -> Result<(), BmcError> {
        let monitor = accepted.header(header::LOCATION).and_then(|link| self.on_origin(link));
        let Some(monitor) = monitor else { return Ok(()) };
        let pace = self.transport.pace;
        let until = Instant::now() + pace.task;
        let mut pause = accepted.retry_after().unwrap_or(pace.poll);
        loop {
            if Instant::now() + pause > until {
                let seconds = pace.task.as_secs();
                let address = self.transport.address.clone();
                return Err(BmcError::Timeout {
                    address,
                    what: format!("the task of {}", call.what()),
                    seconds,
                });
            }
            tokio::time::sleep(pause).await;
            let look = Call { method: &Method::GET, link: monitor.as_str(), body: None, if_match: None };
            let answer = self.send(look).await?;
            match progress(&answer) {
                Progress::Done => return Ok(()),
                Progress::Running => pause = answer.retry_after().unwrap_or(pause * 2).min(pace.poll_max),
                Progress::Failed(message) => {
                    return Err(BmcError::TaskFailed {
                        address: self.transport.address.clone(),
                        what: call.what(),
                        message: self.masked(message),
                    });
                }
            }
        }
    }
}

/// `Location` may be a task monitor or the task itself.
fn progress(answer: &Answer) -> Progress {
    match answer.status {
        StatusCode::ACCEPTED => return Progress::Running,
        // The task ended and was thrown away.
        StatusCode::NOT_FOUND | StatusCode::GONE => return Progress::Done,
        status if !status.is_success() => return Progress::Failed(error_sentence(&answer.body)),
        _ => {}
    }
    let task: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    match task.get("TaskState").and_then(Value::as_str) {
        None | Some("Completed") => Progress::Done,
        Some(state @ ("Exception" | "Killed" | "Cancelled" | "Interrupted")) => {
            let messages = task.get("Messages").and_then(Value::as_array).into_iter().flatten();
            let texts = messages.filter_map(|message| message.get("Message")?.as_str()).take(4);
            let text: String = texts.collect::<Vec<_>>().join(" ").chars().take(500).collect();
            Progress::Failed(format!("{state}. {text}").trim().to_owned())
        }
        Some(_) => Progress::Running,
    }
}
