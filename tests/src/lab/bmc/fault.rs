//! Misbehaviour on demand, for tests.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Shared, error::RedfishError};
use crate::lab::machine::Handle;

/// What a fault does to a request.
#[derive(Clone, Copy, Debug)]
pub enum FaultKind {
    /// Answers with this status instead of doing anything.
    Status(u16),
    /// Does what was asked, this much later.
    Delay(Duration),
}

/// A fault that is waiting for its requests.
#[derive(Clone, Debug)]
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

/// The faults of one machine's BMC and firmware. Cheap to clone.
#[derive(Clone)]
pub struct Faults {
    armed: Arc<Mutex<Vec<Fault>>>,
    refuse_credentials: Arc<AtomicBool>,
    machine: Handle,
}

impl Faults {
    pub(in crate::lab) fn new(machine: Handle) -> Self {
        Self { armed: Arc::default(), refuse_credentials: Arc::default(), machine }
    }

    /// Arms one more fault. The oldest that fits a request is used.
    pub fn arm(&self, fault: Fault) {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Whether all log-ins are refused, right or wrong.
    pub fn refuse_credentials(&self, refuse: bool) {
        self.refuse_credentials.store(refuse, Ordering::Relaxed);
    }

    /// Whether the firmware ignores the boot override: it is used up without effect.
    pub fn ignore_boot_override(&self, ignore: bool) {
        self.machine.ignore_boot_override(ignore);
    }

    pub(super) fn refuses_credentials(&self) -> bool {
        self.refuse_credentials.load(Ordering::Relaxed)
    }

    fn take(&self, method: &Method, path: &str) -> Option<FaultKind> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
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

pub(super) async fn inject(State(bmc): State<Shared>, request: Request, next: Next) -> Response {
    match bmc.faults.take(request.method(), request.uri().path()) {
        None => next.run(request).await,
        Some(FaultKind::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            next.run(request).await
        }
        Some(FaultKind::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            RedfishError::general(status, "The service failed because a test told it to.").into_response()
        }
    }
}
