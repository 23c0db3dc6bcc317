//! Watches what nobody asked about: whether machines are on or off as they should be, and whether BMCs that did
//! not answer do again; reads their sensors. Decides in [`decide`]; touches a node only while it has the node's lock.

mod decide;
mod power;
mod sensors;
mod turns;

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bessemer_proto::ids::NodeId;
use futures_util::FutureExt as _;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tracing::{error, warn};

use self::turns::Turns;
use super::{engine::Inner, error::sentence, process::panic_text};
use crate::{
    bmc,
    store::{NodeFilter, StoreError},
};

/// How often in a row something was wrong with a node. Lost at a restart, as in Ironic.
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<NodeId, u32>>);

/// Starts the loops that the configuration wants.
pub(super) fn start(inner: &Arc<Inner>) {
    let config = &inner.cx.config;
    let failures: Arc<Failures> = Arc::default();
    if let Some(period) = period(config.sync_power_state_interval) {
        let looked = Arc::clone(inner);
        inner.tasks.spawn(until_stopped(Arc::clone(inner), async move {
            let filter = NodeFilter { maintenance: Some(false), ..NodeFilter::default() };
            let turns = turns(&looked, looked.cx.config.sync_power_state_workers);
            every(&looked, period, filter, turns, |inner, node| {
                let failures = Arc::clone(&failures);
                async move { power::watch(&inner, node, &failures).await }
            })
            .await;
        }));
    }
    if let Some(period) = period(config.power_failure_recovery_interval) {
        let looked = Arc::clone(inner);
        inner.tasks.spawn(until_stopped(Arc::clone(inner), async move {
            let filter = NodeFilter { maintenance: Some(true), ..NodeFilter::default() };
            let turns = turns(&looked, looked.cx.config.sync_power_state_workers);
            every(
                &looked,
                period,
                filter,
                turns,
                |inner, node| async move { power::recover(&inner, node).await },
            )
            .await;
        }));
    }
    if inner.cx.sensor_data.send_sensor_data {
        let looked = Arc::clone(inner);
        inner.tasks.spawn(until_stopped(Arc::clone(inner), async move {
            let (period, filter) = (looked.cx.sensor_data.interval(), NodeFilter::default());
            let turns = turns(&looked, looked.cx.sensor_data.workers);
            every(
                &looked,
                period,
                filter,
                turns,
                |inner, node| async move { sensors::watch(&inner, node).await },
            )
            .await;
        }));
    }
}

fn turns(inner: &Inner, workers: u32) -> Arc<Turns> {
    Arc::new(Turns::new(workers, inner.cx.config.bmc_polls_per_subnet))
}

fn period(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

async fn until_stopped(inner: Arc<Inner>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = inner.stop.cancelled() => {}
        () = work => {}
    }
}

/// Looks at the nodes once in each period, each at its own moment of it; at one that is still looked at, not again.
async fn every<F>(
    inner: &Arc<Inner>,
    period: Duration,
    filter: NodeFilter,
    turns: Arc<Turns>,
    look: impl Fn(Arc<Inner>, NodeId) -> F,
) where
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    // The first look a period after the start: agents and BMCs have time to come back.
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut looks, mut busy) = (JoinSet::new(), HashSet::new());
    loop {
        let start = ticks.tick().await;
        let mut nodes = match inner.cx.store.node_ids(&filter).await {
            Ok(nodes) => nodes,
            Err(error) => {
                error!(error = sentence(&error), "nodes to be watched cannot be listed");
                continue;
            }
        };
        nodes.sort_by_cached_key(|node| decide::offset(*node, period));
        for node in nodes {
            tokio::time::sleep_until(start + decide::offset(node, period)).await;
            while let Some(Ok(done)) = looks.try_join_next() {
                busy.remove(&done);
            }
            if !busy.insert(node) {
                continue;
            }
            let (work, turns, inner) = (look(Arc::clone(inner), node), Arc::clone(&turns), Arc::clone(inner));
            looks.spawn(async move {
                let work = async {
                    let host = bmc::host(&inner.cx.store.node(&node.to_string()).await?);
                    let _turn = turns.turn(host.as_deref()).await;
                    work.await
                };
                match AssertUnwindSafe(work).catch_unwind().await {
                    Ok(Ok(()) | Err(StoreError::NotFound { .. })) => {}
                    Ok(Err(error)) => warn!(%node, error = sentence(&error), "a node could not be watched"),
                    Err(panic) => error!(%node, panic = panic_text(&*panic), "watching a node panicked"),
                }
                node
            });
        }
    }
}

// === impl Failures ===

impl Failures {
    fn of(&self, node: NodeId) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied().unwrap_or_default()
    }

    fn one_more(&self, node: NodeId) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(node).or_default();
        *count = count.saturating_add(1);
    }

    fn forget(&self, node: NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }
}
