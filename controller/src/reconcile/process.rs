//! One look at one node: loads it, calls its state, persists what comes of it. Knows no state by name.

use std::{any::Any, panic::AssertUnwindSafe};

use bessemer_proto::ids::NodeId;
use chrono::Utc;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tracing::{debug, error, info};

use super::{
    context::Context,
    error::Failure,
    outcome::{Kind, Outcome, Until},
    ramdisk,
    states::{self, State},
    steps,
};
use crate::{
    node::{Node, ProvisionState, state::Kind as StateKind},
    store::{HistoryEvent, StoreError},
};

/// A state that goes round in circles is stopped here and goes on at the next look.
const MAX_MOVES: usize = 64;
/// In `driver_internal_info` while a failure is cleaned up after: the reason.
const FAILING: &str = "failing";

/// Works on a node as long as there is something to do. The caller holds the node's lock.
pub(super) async fn look(cx: &Context, id: NodeId, is_stopping: impl Fn() -> bool) -> Result<(), StoreError> {
    for _ in 0..MAX_MOVES {
        let mut node = match cx.store.node(&id.to_string()).await {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            found => found?,
        };
        let Some(state) = states::of(node.provision_state) else { return Ok(()) };
        if is_stopping() {
            return Ok(());
        }
        if reserves(node.provision_state) && node.reservation.is_none() {
            node.reservation = Some(cx.hostname.clone());
            cx.store.update_node(&mut node, None).await?;
        }
        let before = node.clone();
        let outcome = match ask(state, &mut node, cx).await {
            Ok(outcome) => outcome,
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Node(reason)) => Outcome::fail(reason),
        };
        if !apply(state, &before, node, outcome, cx).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Marks a node so that its state fails for this reason at the next look.
pub(super) fn fail_soon(node: &mut Node, reason: &str) {
    node.driver_internal_info.insert(FAILING.to_owned(), json!(reason));
    node.wait_reason = Some("waiting for the machine to be powered off after a failure".to_owned());
}

async fn ask(state: &dyn State, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
    if let Some(Value::String(reason)) = node.driver_internal_info.get(FAILING) {
        return Ok(Outcome::fail(reason.clone()));
    }
    let before = node.clone();
    let answer = AssertUnwindSafe(state.run(node, cx)).catch_unwind().await;
    answer.unwrap_or_else(|panic| {
        error!(node = %before.uuid, state = %before.provision_state, panic = panic_text(&*panic), "a state panicked");
        let version = node.version;
        *node = Node { version, ..before };
        Err(Failure::Node(format!(
            "internal error of the controller in state \"{}\": please report it with the controller's log",
            node.provision_state
        )))
    })
}

/// Persists an outcome; true when there is more to do at once.
async fn apply(
    state: &dyn State,
    before: &Node,
    mut node: Node,
    outcome: Outcome,
    cx: &Context,
) -> Result<bool, StoreError> {
    log(&node, &outcome);
    match outcome.kind {
        Kind::Wait { reason, until } => {
            if let Until::Deadline(until) = until
                && Utc::now() >= until.max(cx.started + cx.config.restart_grace())
            {
                let reason = timed_out(&node, &reason);
                fail(state, node, reason, cx).await?;
                return Ok(false);
            }
            node.wait_reason = Some(reason);
            node.wait_until = match until {
                Until::Deadline(until) | Until::Then(until) => Some(until),
                Until::Asked => None,
            };
            node.reservation = None;
            if node != *before {
                cx.store.update_node(&mut node, None).await?;
            }
            Ok(false)
        }
        Kind::Go(next) if node.provision_state.leads_to(next) => {
            enter(node, next, None, cx).await.map(|()| true)
        }
        Kind::Done => match destination(&node) {
            Some(target) if node.provision_state.leads_to(target) => {
                enter(node, target, None, cx).await.map(|()| false)
            }
            target => {
                let reason = no_way(&node, target);
                fail(state, node, reason, cx).await.map(|()| false)
            }
        },
        Kind::Go(next) => {
            let reason = no_way(&node, Some(next));
            fail(state, node, reason, cx).await.map(|()| false)
        }
        Kind::Fail(reason) => fail(state, node, reason, cx).await.map(|()| false),
    }
}

/// Where a node comes to rest: a retired one never is available again, as in Ironic.
fn destination(node: &Node) -> Option<ProvisionState> {
    match node.target_provision_state {
        Some(ProvisionState::Available) if node.retired => Some(ProvisionState::Manageable),
        target => target,
    }
}

/// A state that leaves the table is a mistake of ours.
fn no_way(node: &Node, next: Option<ProvisionState>) -> String {
    let next = next.map_or("nowhere", ProvisionState::as_str);
    let state = node.provision_state;
    error!(node = %node.uuid, %state, next, "not in the table of states");
    format!("internal error of the controller: state \"{state}\" cannot lead to {next}: please report it")
}

/// Whether a node is shown as reserved in this state: while somebody works, not while it waits.
pub(super) fn reserves(state: ProvisionState) -> bool {
    state.row().kind == StateKind::Work
}

fn log(node: &Node, outcome: &Outcome) {
    let (id, state, at) = (node.uuid, node.provision_state, outcome.at);
    if let Kind::Wait { .. } = outcome.kind {
        debug!(node = %id, %state, %at, outcome = %outcome.kind, "looked at");
    } else {
        info!(node = %id, %state, %at, outcome = %outcome.kind, "state ends");
    }
}

fn timed_out(node: &Node, reason: &str) -> String {
    let waited = node.provision_updated_at.map_or(0, |since| (Utc::now() - since).num_seconds());
    let step =
        steps::flow_of(node.provision_state).and_then(|flow| steps::shown(flow, node).get("step")?.as_str());
    let step = step.map(|step| format!(", step {step}")).unwrap_or_default();
    format!("Timed out in state \"{}\"{step} after {waited} s of {reason}", node.provision_state)
}

/// First notes that the node fails, so that a restart goes on here; then cleans up; then enters the failed state.
async fn fail(state: &dyn State, mut node: Node, reason: String, cx: &Context) -> Result<(), StoreError> {
    node.last_error = Some(reason.clone());
    node.reservation = Some(cx.hostname.clone());
    fail_soon(&mut node, &reason);
    cx.store.update_node(&mut node, None).await?;
    let cleaned = AssertUnwindSafe(state.clean_up(&mut node, cx)).catch_unwind().await;
    if let Err(panic) = cleaned {
        error!(node = %node.uuid, panic = panic_text(&*panic), "cleaning up panicked");
    }
    let failed = node.provision_state.failure().unwrap_or(ProvisionState::Error);
    enter(node, failed, Some(reason), cx).await
}

/// Whether [`fail_soon`] was asked for: nobody may let the node go on.
pub(super) fn fails_soon(node: &Node) -> bool {
    node.driver_internal_info.contains_key(FAILING)
}

/// Takes back what [`fail_soon`] asked for.
pub(super) fn forget_failure(node: &mut Node) {
    node.driver_internal_info.remove(FAILING);
    steps::forget_abort(node);
}

pub(super) async fn enter(
    mut node: Node,
    next: ProvisionState,
    error: Option<String>,
    cx: &Context,
) -> Result<(), StoreError> {
    let event = HistoryEvent::moved(&node, next, error).by(&cx.hostname);
    node.provision_state = next;
    node.provision_updated_at = Some(event.time);
    forget_failure(&mut node);
    node.wait_reason = None;
    node.wait_until = None;
    if !reserves(next) {
        node.reservation = None;
    }
    if next.row().kind == StateKind::Rest {
        node.target_provision_state = None;
    }
    if !next.is_moving() {
        steps::forget(&mut node);
        ramdisk::forget(&mut node);
        cx.memory.forget(node.uuid);
    }
    cx.store.update_node(&mut node, Some(&event)).await
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
