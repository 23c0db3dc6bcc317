//! Work that is answered by 202 and a task monitor (DSP0266, "Asynchronous operations").

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{Bmc, documents::Document};

const TASKS: &str = "/redfish/v1/TaskService/Tasks";
const MONITORS: &str = "/redfish/v1/TaskService/TaskMonitors";

struct Task {
    /// How often it still says "not yet" when its end is known.
    looks: u32,
    /// Its end: nothing, or the body of an error answer.
    end: Option<Result<(), Value>>,
}

/// The tasks that clients may still ask for.
#[derive(Default)]
pub(super) struct Tasks {
    open: Mutex<BTreeMap<u64, Task>>,
}

impl Tasks {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Task>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a task. `end` may come later, by [`finish`].
pub(super) fn begin(bmc: &Bmc, name: &str, end: Option<Result<(), Value>>) -> u64 {
    let number = bmc.documents.number();
    bmc.tasks.open().insert(number, Task { looks: bmc.profile().answers.task_looks, end });
    bmc.documents.put(Document::new(json!({
        "@odata.id": format!("{TASKS}/{number}"),
        "@odata.type": "#Task.v1_7_4.Task",
        "Id": number.to_string(),
        "Name": name,
        "TaskState": "Running",
        "TaskStatus": "OK",
        "StartTime": super::actions::now(bmc),
        "TaskMonitor": format!("{MONITORS}/{number}"),
        "Messages": [],
    })));
    number
}

/// Says how a task ended.
pub(super) fn finish(bmc: &Bmc, number: u64, end: Result<(), Value>) {
    if let Some(task) = bmc.tasks.open().get_mut(&number) {
        task.end = Some(end);
    }
}

/// The answer to the request that began it.
pub(super) fn accepted(bmc: &Bmc, number: u64) -> Response {
    let place =
        HeaderValue::from_str(&format!("{MONITORS}/{number}")).unwrap_or(HeaderValue::from_static("/"));
    let body = bmc.documents.shown(&format!("{TASKS}/{number}")).unwrap_or_default();
    (StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(body)).into_response()
}

/// One look at a task, by its resource or its monitor. `None`: it is another path.
pub(super) fn look(bmc: &Bmc, path: &str) -> Option<Response> {
    let (is_monitor, number) = match path.strip_prefix(MONITORS) {
        Some(rest) => (true, rest),
        None => (false, path.strip_prefix(TASKS)?),
    };
    let number: u64 = number.strip_prefix('/')?.parse().ok()?;
    let end = {
        let mut open = bmc.tasks.open();
        let task = open.get_mut(&number)?;
        match &task.end {
            Some(end) if task.looks == 0 => Some(end.clone()),
            Some(_) => {
                task.looks -= 1;
                None
            }
            None => None,
        }
    };
    if let Some(end) = &end {
        bmc.documents.change(&format!("{TASKS}/{number}"), |body| conclude(body, end));
    }
    match (is_monitor, end) {
        (false, _) => None,
        (true, None) => Some(accepted(bmc, number)),
        (true, Some(Ok(()))) => Some(StatusCode::NO_CONTENT.into_response()),
        (true, Some(Err(error))) => Some((StatusCode::BAD_REQUEST, Json(error)).into_response()),
    }
}

fn conclude(task: &mut Value, end: &Result<(), Value>) {
    let Some(task) = task.as_object_mut() else { return };
    match end {
        Ok(()) => {
            task.insert("TaskState".into(), "Completed".into());
            task.insert("PercentComplete".into(), 100.into());
        }
        Err(error) => {
            task.insert("TaskState".into(), "Exception".into());
            task.insert("TaskStatus".into(), "Critical".into());
            let messages = error.pointer("/error/@Message.ExtendedInfo").cloned().unwrap_or(json!([]));
            task.insert("Messages".into(), messages);
        }
    }
}
