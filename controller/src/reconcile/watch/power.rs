//! One look at the power of one node.

use std::time::Duration;

use bessemer_proto::ids::NodeId;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{
    Failures,
    decide::{self, POWER_FAILURE, Rules, Seen, Verdict},
};
use crate::{
    bmc::{Bmc, PowerAction},
    node::{Node, PowerState, events},
    reconcile::{context::Context, engine::Inner, error::sentence, machine},
    store::{HistoryEvent, StoreError},
};

/// Power synchronisation: compares, puts right, and gives up after too many failures.
pub(super) async fn watch(inner: &Inner, id: NodeId, failures: &Failures) -> Result<(), StoreError> {
    let cx = &inner.cx;
    let node = cx.store.node(&id.to_string()).await?;
    if !decide::is_watched(&node) {
        failures.forget(id);
        return Ok(());
    }
    let asked_at = node.version;
    let (seen, fresh) = ask(cx, &node).await;
    if matches!(seen, Seen::Nothing(_)) && node.power_state.is_none() && (cx.open_bmc)(&node).is_err() {
        // It never worked: nobody has filled in driver_info yet.
        return Ok(());
    }
    // The BMC may take long: the lock is only taken afterwards. What changed meanwhile makes the answer one of yesterday.
    let Some(_guard) = inner.locks.acquire(id, Duration::ZERO).await else { return Ok(()) };
    let mut node = cx.store.node(&id.to_string()).await?;
    if node.version != asked_at || !decide::is_watched(&node) {
        return Ok(());
    }
    let rules = Rules {
        max_retries: cx.config.power_state_sync_max_retries,
        force: cx.config.force_power_state_during_sync,
    };
    let verdict = decide::decide(&node, seen, failures.of(id), rules);
    match &verdict {
        Verdict::Agrees | Verdict::Learn(_) => failures.forget(id),
        Verdict::GiveUp(_) => failures.forget(id),
        Verdict::Retry(_) | Verdict::Restore { .. } | Verdict::Follow { .. } => failures.one_more(id),
    }
    let event = apply(cx, &mut node, verdict, &fresh).await;
    write(cx, node, event).await
}

/// A node in maintenance because of its power: one good answer ends that.
pub(super) async fn recover(inner: &Inner, id: NodeId) -> Result<(), StoreError> {
    let cx = &inner.cx;
    let node = cx.store.node(&id.to_string()).await?;
    if !decide::is_to_be_recovered(&node) {
        return Ok(());
    }
    let asked_at = node.version;
    let (Seen::State(state), fresh) = ask(cx, &node).await else { return Ok(()) };
    let Some(_guard) = inner.locks.acquire(id, Duration::ZERO).await else { return Ok(()) };
    let mut node = cx.store.node(&id.to_string()).await?;
    if node.version != asked_at || !decide::is_to_be_recovered(&node) {
        return Ok(());
    }
    info!(node = %id, %state, "recovered from a power failure");
    refresh(&mut node, &fresh);
    node.power_state = Some(state);
    node.maintenance = false;
    node.maintenance_reason = None;
    node.fault = None;
    let event =
        noted(&node, format!("The BMC answers again, the power state is \"{state}\": maintenance unset"));
    write(cx, node, Some(event)).await
}

/// What the BMC says; beside it the node with what else was read.
async fn ask(cx: &Context, node: &Node) -> (Seen, Node) {
    let mut fresh = node.clone();
    let bmc = match (cx.open_bmc)(node) {
        Ok(bmc) => bmc,
        Err(error) => return (Seen::Nothing(sentence(&error)), fresh),
    };
    let within = cx.config.power_timeout();
    let seen = match timeout(within, machine::read(&mut fresh, &bmc)).await {
        Err(_) => Seen::Nothing(format!("the BMC took longer than {} s", within.as_secs())),
        Ok(Err(error)) => Seen::Nothing(sentence(&error)),
        Ok(Ok(())) => match fresh.power_state {
            Some(state) => Seen::State(state),
            None => Seen::Nothing("the BMC names no power state".to_owned()),
        },
    };
    (seen, fresh)
}

async fn apply(cx: &Context, node: &mut Node, verdict: Verdict, fresh: &Node) -> Option<HistoryEvent> {
    let health = node.health.clone();
    let event = of_power(cx, node, verdict, fresh).await;
    event.or_else(|| (node.health != health).then(|| noted(node, changed_health(health.as_deref(), node))))
}

fn changed_health(before: Option<&str>, node: &Node) -> String {
    let said = |health: Option<&str>| health.unwrap_or("not known").to_owned();
    format!("The BMC says the health is {}; before it was {}", said(node.health.as_deref()), said(before))
}

async fn of_power(cx: &Context, node: &mut Node, verdict: Verdict, fresh: &Node) -> Option<HistoryEvent> {
    match verdict {
        Verdict::Agrees => {
            refresh(node, fresh);
            if decide::may_forget_error(node) {
                node.last_error = None;
            }
            None
        }
        Verdict::Learn(state) => {
            refresh(node, fresh);
            node.power_state = Some(state);
            Some(noted(node, format!("The power state is \"{state}\"")))
        }
        Verdict::Retry(reason) => {
            warn!(node = %node.uuid, reason, "the power state cannot be read");
            None
        }
        Verdict::Follow { known, seen } => {
            refresh(node, fresh);
            node.power_state = Some(seen);
            Some(noted(
                node,
                format!("The power state was changed from \"{known}\" to \"{seen}\" by somebody else"),
            ))
        }
        Verdict::Restore { known, seen } => {
            warn!(node = %node.uuid, %known, %seen, "the machine is put back into its power state");
            let text = format!("The power state was \"{seen}\" instead of \"{known}\" and is put back");
            let error = restore(cx, node, known).await.err();
            Some(HistoryEvent { error, ..noted(node, text) })
        }
        Verdict::GiveUp(reason) => {
            warn!(node = %node.uuid, reason, "maintenance is set");
            node.power_state = match fresh.power_state {
                Some(state) if fresh.power_state != node.power_state => Some(state),
                _ => None,
            };
            let text = format!(
                "{reason}. The node is in maintenance until its BMC answers: check the BMC and driver_info"
            );
            node.maintenance = true;
            node.maintenance_reason = Some(text.clone());
            node.fault = Some(POWER_FAILURE.to_owned());
            node.last_error = Some(text.clone());
            Some(HistoryEvent { error: Some(text), ..noted(node, "Maintenance set".to_owned()) })
        }
    }
}

/// What was read besides power.
fn refresh(node: &mut Node, fresh: &Node) {
    node.boot_mode = fresh.boot_mode;
    node.secure_boot = fresh.secure_boot;
    node.health.clone_from(&fresh.health);
}

async fn restore(cx: &Context, node: &Node, state: PowerState) -> Result<(), String> {
    let change = async {
        let bmc: Bmc = (cx.open_bmc)(node)?;
        let action = match state {
            PowerState::On => PowerAction::On,
            PowerState::Off => PowerAction::ForceOff,
        };
        bmc.power.set(action).await?;
        bmc.power.wait_for(state, cx.config.power_timeout()).await
    };
    let problem = match timeout(cx.config.power_timeout() * 2, change).await {
        Ok(done) => done.map_err(|error| sentence(&error)),
        Err(_) => Err("the BMC did not answer in time".to_owned()),
    };
    problem.inspect_err(|reason| warn!(node = %node.uuid, reason, "the power state could not be put back"))
}

fn noted(node: &Node, text: String) -> HistoryEvent {
    HistoryEvent::noted(node, events::MONITORING, text)
}

/// Writes what changed, if anything did.
async fn write(cx: &Context, mut node: Node, event: Option<HistoryEvent>) -> Result<(), StoreError> {
    let event = event.map(|event| event.by(&cx.hostname));
    if event.is_none() && cx.store.node(&node.uuid.to_string()).await? == node {
        return Ok(());
    }
    cx.store.update_node(&mut node, event.as_ref()).await
}
