//! Changes of power that the API asked for: in the background, one at a time per node.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bessemer_proto::ids::NodeId;
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    engine::Engine,
    error::{RequestError, sentence},
    locks::NodeGuard,
    machine,
    process::panic_text,
    requests::invalid,
};
use crate::{
    bmc::{Bmc, BmcError, PowerAction},
    node::{Node, PowerState, PowerTarget, events},
    reconcile::Config,
    store::HistoryEvent,
};

/// Soft power offs under way, and how to overtake them.
#[derive(Default)]
pub(super) struct SoftOffs(Arc<Mutex<HashMap<NodeId, CancellationToken>>>);

/// One of them, until dropped.
struct SoftOff {
    node: NodeId,
    all: Arc<Mutex<HashMap<NodeId, CancellationToken>>>,
    overtaken: CancellationToken,
}

// === impl Engine ===

impl Engine {
    /// Accepts a change of power; it happens in the background and shows in `target_power_state`, `last_error`.
    pub async fn power(&self, node: NodeId, target: PowerTarget) -> Result<(), RequestError> {
        self.power_within(node, target, None).await
    }

    /// The same; the machine may take `within` for each part of it instead of what the configuration says.
    pub async fn power_within(
        &self,
        node: NodeId,
        target: PowerTarget,
        within: Option<Duration>,
    ) -> Result<(), RequestError> {
        if target == PowerTarget::Off && !self.inner.cx.store.node(&node.to_string()).await?.disable_power_off
        {
            self.inner.soft.overtake(node);
        }
        let guard = self.lock(node).await?;
        let cx = &self.inner.cx;
        let mut node = cx.store.node(&node.to_string()).await?;
        if node.disable_power_off && matches!(target, PowerTarget::Off | PowerTarget::SoftOff) {
            return Err(RequestError::InUse(format!("Failed to set node power state to {target}.")));
        }
        let bmc = (cx.open_bmc)(&node).map_err(|error| invalid(&error))?;
        node.target_power_state = Some(shown(target));
        node.reservation = Some(cx.hostname.clone());
        node.last_error = None;
        cx.store.update_node(&mut node, None).await?;
        tracing::info!(node = %node.uuid, %target, "power change requested");
        let is_soft = matches!(target, PowerTarget::SoftOff | PowerTarget::SoftReboot);
        let soft = is_soft.then(|| self.inner.soft.begin(node.uuid));
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let abandon = engine.inner.abandon.clone();
            tokio::select! {
                () = abandon.cancelled() => {}
                () = engine.change_power(guard, node, bmc, Wanted { target, within, soft }) => {}
            }
        });
        Ok(())
    }

    async fn change_power(
        &self,
        guard: NodeGuard,
        mut node: Node,
        bmc: Bmc,
        Wanted { target, within, soft }: Wanted,
    ) {
        let limits = Limits::of(&self.inner.cx.config, within);
        let work = AssertUnwindSafe(change(&bmc, target, limits, node.disable_power_off)).catch_unwind();
        let change = match &soft {
            Some(soft) => {
                tokio::select! {
                    change = work => change.map(|done| done.map_err(|error| sentence(&error))),
                    () = soft.overtaken.cancelled() => Ok(Err("overtaken by a request to power it off".to_owned())),
                }
            }
            None => work.await.map(|done| done.map_err(|error| sentence(&error))),
        };
        let last_error = problem(&node, change)
            .map(|problem| format!("Failed to change the power state to \"{target}\". Error: {problem}"));
        let power_state = machine::read_power(&node, &bmc).await;
        tracing::info!(node = %node.uuid, %target, error = last_error, "power change ended");
        let event = HistoryEvent {
            error: last_error.clone(),
            ..HistoryEvent::noted(&node, events::POWER, format!("Power state change to \"{target}\" ended"))
        };
        let event = self.signed(event);
        self.write_end(&mut node, Some(&event), |node| {
            node.last_error.clone_from(&last_error);
            node.power_state = power_state;
            node.target_power_state = None;
            node.reservation = None;
        })
        .await;
        drop(guard);
        self.poke(node.uuid);
    }
}

// === impl SoftOffs ===

impl SoftOffs {
    /// The caller has the node's lock, so there is no other one.
    fn begin(&self, node: NodeId) -> SoftOff {
        let overtaken = CancellationToken::new();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(node, overtaken.clone());
        SoftOff { node, all: Arc::clone(&self.0), overtaken }
    }

    /// Ends the one of that node, if there is one.
    fn overtake(&self, node: NodeId) {
        if let Some(soft) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node) {
            soft.cancel();
        }
    }
}

impl Drop for SoftOff {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.node);
    }
}

fn problem(node: &Node, change: std::thread::Result<Result<(), String>>) -> Option<String> {
    match change {
        Ok(Ok(())) => None,
        Ok(Err(problem)) => Some(problem),
        Err(panic) => {
            tracing::error!(node = %node.uuid, panic = panic_text(&*panic), "a power change panicked");
            Some("internal error of the controller: please report it with its log".to_owned())
        }
    }
}

/// What `target_power_state` says meanwhile: where it ends, as in Ironic.
fn shown(target: PowerTarget) -> PowerTarget {
    match target {
        PowerTarget::On | PowerTarget::Reboot | PowerTarget::SoftReboot => PowerTarget::On,
        PowerTarget::Off | PowerTarget::SoftOff => PowerTarget::Off,
    }
}

/// What was asked for.
struct Wanted {
    target: PowerTarget,
    within: Option<Duration>,
    soft: Option<SoftOff>,
}

/// How long a machine may take.
#[derive(Clone, Copy)]
struct Limits {
    hard: Duration,
    soft: Duration,
}

impl Limits {
    fn of(config: &Config, asked: Option<Duration>) -> Self {
        Self {
            hard: asked.unwrap_or_else(|| config.power_timeout()),
            soft: asked.unwrap_or_else(|| config.soft_power_off_timeout()),
        }
    }
}

async fn change(bmc: &Bmc, target: PowerTarget, limits: Limits, stays_on: bool) -> Result<(), BmcError> {
    let restart = match target {
        PowerTarget::Reboot => Some(PowerAction::ForceRestart),
        PowerTarget::SoftReboot => Some(PowerAction::GracefulRestart),
        PowerTarget::On | PowerTarget::Off | PowerTarget::SoftOff => None,
    };
    if let Some(restart) = restart.filter(|_| stays_on) {
        bmc.power.set(restart).await?;
        return bmc.power.wait_for(PowerState::On, limits.hard).await;
    }
    let off = async |action, within| {
        bmc.power.set(action).await?;
        bmc.power.wait_for(PowerState::Off, within).await
    };
    match target {
        PowerTarget::On => {}
        PowerTarget::Off | PowerTarget::Reboot => off(PowerAction::ForceOff, limits.hard).await?,
        PowerTarget::SoftOff | PowerTarget::SoftReboot => {
            off(PowerAction::GracefulShutdown, limits.soft).await?;
        }
    }
    if shown(target) == PowerTarget::On {
        bmc.power.set(PowerAction::On).await?;
        bmc.power.wait_for(PowerState::On, limits.hard).await?;
    }
    Ok(())
}
