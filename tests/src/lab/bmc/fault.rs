//! Misbehaviour on demand, for tests and for the lab program.

use std::{
    collections::VecDeque,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{Bmc, Shared, actions, disguise, error::RedfishError, tasks, wire::Cut};
use crate::lab::machine::Handle;

/// Calls that are remembered.
const CALLS_KEPT: usize = 10_000;

/// What a fault does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Answers with this status instead of doing anything.
    Status(u16),
    /// Does what was asked, this much later.
    Delay(Duration),
    /// Breaks the connection instead of doing anything.
    ResetBefore,
    /// Does what was asked, then breaks the connection without an answer.
    ResetAfter,
    /// Says yes without doing anything.
    Pretend,
    /// Says 202; the task fails.
    FailingTask,
    /// Leaves out the second half of the answer, which says that it is complete.
    CutOff,
    /// Swaps the types of the answer's values.
    WrongTypes,
    /// Sends the answer byte after byte, all within this time.
    Trickle(Duration),
    /// The BMC starts again and is away for so long.
    Restart(Duration),
}

impl FromStr for FaultKind {
    type Err = String;

    /// `status=503`, `delay=2`, `reset-before`, `reset-after`, `pretend`, `failing-task`, `cut-off`, `wrong-types`,
    /// `trickle=5`, `restart=10`; times in seconds.
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, number) = text.split_once('=').map_or((text, None), |(word, rest)| (word, Some(rest)));
        let number = number.map(|text| text.parse::<u16>().map_err(|_| format!("\"{text}\" is no number")));
        let wanted = number.transpose()?.ok_or_else(|| format!("{word} needs a number: {word}=5"));
        let seconds = || wanted.clone().map(|seconds| Duration::from_secs(seconds.into()));
        Ok(match word {
            "status" => Self::Status(wanted?),
            "delay" => Self::Delay(seconds()?),
            "trickle" => Self::Trickle(seconds()?),
            "restart" => Self::Restart(seconds()?),
            "reset-before" => Self::ResetBefore,
            "reset-after" => Self::ResetAfter,
            "pretend" => Self::Pretend,
            "failing-task" => Self::FailingTask,
            "cut-off" => Self::CutOff,
            "wrong-types" => Self::WrongTypes,
            other => return Err(format!("\"{other}\" is no fault")),
        })
    }
}

/// A fault that is waiting for its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Only this method; `None`: any.
    pub method: Option<Method>,
    /// Only paths that contain this.
    pub path: String,
    /// For so many requests.
    pub times: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

impl FromStr for Fault {
    type Err = String;

    /// `METHOD:PATH:TIMES:KIND`, such as `POST:InsertMedia:3:status=503`; `*` for any method.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.splitn(4, ':').collect();
        let [method, path, times, kind] = parts[..] else {
            return Err(format!("\"{text}\" is not METHOD:PATH:TIMES:KIND"));
        };
        let method = if method == "*" {
            None
        } else {
            Some(Method::from_str(method).map_err(|_| format!("\"{method}\" is no method"))?)
        };
        let times = times.parse().map_err(|_| format!("\"{times}\" is no number"))?;
        Ok(Self { method, path: path.into(), times, kind: kind.parse()? })
    }
}

/// One request that a BMC was asked.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The status of the answer; `None` when there was none.
    pub status: Option<u16>,
}

/// The faults of one machine's BMC and firmware. Cheap to clone.
#[derive(Clone)]
pub struct Faults {
    armed: Arc<Mutex<Vec<Fault>>>,
    calls: Arc<Mutex<VecDeque<Call>>>,
    refuse_credentials: Arc<AtomicBool>,
    machine: Handle,
    bmc: Arc<OnceLock<Weak<Bmc>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    pub(in crate::lab) fn new(machine: Handle) -> Self {
        Self {
            armed: Arc::default(),
            calls: Arc::default(),
            refuse_credentials: Arc::default(),
            machine,
            bmc: Arc::default(),
        }
    }

    pub(super) fn belong_to(&self, bmc: &Shared) {
        // A lab makes one BMC for these faults.
        let _ = self.bmc.set(Arc::downgrade(bmc));
    }

    fn bmc(&self) -> Option<Shared> {
        self.bmc.get().and_then(Weak::upgrade)
    }

    /// Arms one more fault. The oldest that fits a request is used.
    pub fn arm(&self, fault: Fault) {
        lock(&self.armed).push(fault);
    }

    /// Disarms all that are left.
    pub fn disarm(&self) {
        lock(&self.armed).clear();
    }

    /// Whether all log-ins are refused, right or wrong.
    pub fn refuse_credentials(&self, refuse: bool) {
        self.refuse_credentials.store(refuse, Ordering::Relaxed);
    }

    /// Whether the firmware ignores the boot override: it is used up without effect.
    pub fn ignore_boot_override(&self, ignore: bool) {
        self.machine.ignore_boot_override(ignore);
    }

    /// All slots say for the next `looks` looks that they are full.
    pub fn stale_media(&self, looks: u32) {
        if let Some(bmc) = self.bmc() {
            bmc.state().stale_looks = looks;
        }
    }

    /// Whether no session can be opened because there are too many.
    pub fn sessions_are_full(&self, full: bool) {
        if let Some(bmc) = self.bmc() {
            bmc.sessions.pretend_full(full);
        }
    }

    /// Locks the account for a while, as wrong passwords do.
    pub fn lock_account(&self, duration: Duration) {
        if let Some(bmc) = self.bmc() {
            bmc.state().locked_until = Some(std::time::Instant::now() + duration);
        }
    }

    /// The BMC's clock is wrong by so many seconds, in its answers' Date and in Manager.DateTime.
    pub fn clock_is_off_by(&self, seconds: i64) {
        if let Some(bmc) = self.bmc() {
            bmc.state().clock_offset = seconds;
        }
    }

    /// The BMC starts again: connections are refused for `down`; sessions and media are lost.
    pub async fn restart_bmc(&self, down: Duration) {
        if let Some(bmc) = self.bmc() {
            bmc.restart(down).await;
        }
    }

    /// The BMC writes an event into its log and tells its subscribers.
    pub fn send_event(&self, id: &str, message: &str) {
        if let Some(bmc) = self.bmc() {
            actions::send_event(&bmc, id, message);
        }
    }

    /// What the BMC was asked, oldest first; the last ten thousand.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).iter().cloned().collect()
    }

    pub(super) fn refuses_credentials(&self) -> bool {
        self.refuse_credentials.load(Ordering::Relaxed)
    }

    fn remember(&self, method: Method, path: String, status: Option<u16>) {
        let mut calls = lock(&self.calls);
        if calls.len() == CALLS_KEPT {
            calls.pop_front();
        }
        calls.push_back(Call { method, path, status });
    }

    fn take(&self, method: &Method, path: &str) -> Option<FaultKind> {
        let mut armed = lock(&self.armed);
        let fits =
            |fault: &Fault| fault.method.as_ref().is_none_or(|m| m == method) && path.contains(&fault.path);
        let at = armed.iter().position(fits)?;
        let fault = armed.get_mut(at)?;
        let kind = fault.kind;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            armed.remove(at);
        }
        Some(kind)
    }
}

/// The outermost layer: every request passes here.
pub(super) async fn inject(
    State(bmc): State<Shared>,
    ConnectInfo(line): ConnectInfo<Cut>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let kind = bmc.faults.take(&method, &path);
    let mut response = misbehave(&bmc, kind, &line, request, next).await;
    let answered =
        !matches!(kind, Some(FaultKind::ResetBefore | FaultKind::ResetAfter | FaultKind::Restart(_)));
    bmc.faults.remember(method, path, answered.then(|| response.status().as_u16()));
    let date = actions::time(&bmc).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

async fn misbehave(
    bmc: &Shared,
    kind: Option<FaultKind>,
    line: &Cut,
    request: Request,
    next: Next,
) -> Response {
    match kind {
        None => next.run(request).await,
        Some(FaultKind::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            next.run(request).await
        }
        Some(FaultKind::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            RedfishError::general(status, "The service failed because a test told it to.").into_response()
        }
        Some(FaultKind::ResetBefore) => {
            line.now();
            StatusCode::NO_CONTENT.into_response()
        }
        Some(FaultKind::ResetAfter) => {
            let response = next.run(request).await;
            line.now();
            response
        }
        Some(FaultKind::Restart(down)) => {
            bmc.restart(down).await;
            line.now();
            StatusCode::NO_CONTENT.into_response()
        }
        Some(FaultKind::Pretend) => StatusCode::NO_CONTENT.into_response(),
        Some(FaultKind::FailingTask) => {
            let error =
                RedfishError::general(StatusCode::BAD_REQUEST, "The task failed because a test told it to.");
            tasks::accepted(bmc, tasks::begin(bmc, "Failing task", Some(Err(error.body()))))
        }
        Some(FaultKind::CutOff) => {
            changed(next.run(request).await, |bytes| {
                let half = bytes.len() / 2;
                bytes.slice(..half)
            })
            .await
        }
        Some(FaultKind::WrongTypes) => {
            changed(next.run(request).await, |bytes| {
                let swapped = serde_json::from_slice(&bytes).map(|value| swap(&value).to_string().into());
                swapped.unwrap_or(bytes)
            })
            .await
        }
        Some(FaultKind::Trickle(time)) => trickle(next.run(request).await, time).await,
    }
}

async fn changed(response: Response, change: impl FnOnce(Bytes) -> Bytes) -> Response {
    let (mut parts, bytes) = disguise::bytes(response).await;
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(change(bytes)))
}

/// Numbers become texts, texts numbers, lists objects; links stay, so that a walk finds more of it.
fn swap(value: &Value) -> Value {
    match value {
        Value::String(_) => 7.into(),
        Value::Number(number) => number.to_string().into(),
        Value::Bool(_) => "maybe".into(),
        Value::Null => Value::Array(Vec::new()),
        Value::Array(all) => all.iter().enumerate().map(|(at, one)| (at.to_string(), swap(one))).collect(),
        Value::Object(object) => object
            .iter()
            .map(|(key, one)| (key.clone(), if key.starts_with('@') { one.clone() } else { swap(one) }))
            .collect(),
    }
}

async fn trickle(response: Response, time: Duration) -> Response {
    let (parts, bytes) = disguise::bytes(response).await;
    let pause = time / u32::try_from(bytes.len()).unwrap_or(u32::MAX).max(1);
    let slow = futures_util::stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let one = rest.split_to(1);
        Some((Ok::<_, std::convert::Infallible>(one), rest))
    });
    Response::from_parts(parts, Body::from_stream(slow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_from_text() {
        let fault: Fault = "POST:InsertMedia:3:status=503".parse().unwrap();
        let kind = FaultKind::Status(503);
        assert_eq!(fault, Fault { method: Some(Method::POST), path: "InsertMedia".into(), times: 3, kind });
        let fault: Fault = "*:/redfish:1:trickle=2".parse().unwrap();
        assert_eq!((fault.method, fault.kind), (None, FaultKind::Trickle(Duration::from_secs(2))));
        for wrong in
            ["", "POST:x:1", "POST:x:y:pretend", "POST:x:1:status", "POST:x:1:burn", "P ST:x:1:pretend"]
        {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn swapped_types_are_all_others() {
        let value = serde_json::json!({"@odata.id": "/x", "a": 1, "b": "t", "c": [true], "d": null});
        let swapped = serde_json::json!({"@odata.id": "/x", "a": "1", "b": 7, "c": {"0": "maybe"}, "d": []});
        assert_eq!(swap(&value), swapped);
    }
}
