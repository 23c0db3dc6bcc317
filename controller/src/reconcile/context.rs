//! What states work with.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bessemer_proto::ids::{NodeId, StepId};
use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Config, Pokes, error::Failure};
use crate::{
    agents::Fleet,
    bmc::{Bmc, BmcError},
    boot::MediaShelf,
    config_drive::ConfigDrives,
    console::Consoles,
    drivers::IloConfig,
    image::Images,
    node::Node,
    notify::Announcer,
    sensors,
    store::Store,
};

/// Makes the BMC of a node; [`crate::bmc::open`] in the product.
pub type OpenBmc = Arc<dyn Fn(&Node) -> Result<Bmc, BmcError> + Send + Sync>;

/// The rooms a state may use, and what it may remember for speed only.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) fleet: Fleet,
    pub(crate) shelf: MediaShelf,
    pub(crate) images: Images,
    pub(crate) config_drives: ConfigDrives,
    pub(crate) consoles: Consoles,
    pub(crate) open_bmc: OpenBmc,
    pub(crate) config: Config,
    pub(crate) sensor_data: sensors::Config,
    pub(crate) announcer: Announcer,
    /// The newest readings of sensors.
    pub(crate) sensors: sensors::Board,
    pub(crate) ilo: IloConfig,
    pub(crate) hostname: String,
    pub(crate) token_lifetime: Duration,
    pub(crate) started: DateTime<Utc>,
    /// This life of the controller: boot media made by another one are gone.
    pub(crate) life: Uuid,
    pub(crate) memory: Memory,
    pub(crate) pokes: Pokes,
}

/// What is remembered about nodes while they wait for their agent. May be lost at any time.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<NodeId, Remembered>>);

/// About one node.
#[derive(Clone, Copy, Default)]
pub(crate) struct Remembered {
    /// The step that was sent, and in the session since when.
    pub(crate) sent: Option<(StepId, DateTime<Utc>)>,
    /// The agent's last sign of life.
    pub(crate) last_seen: Option<DateTime<Utc>>,
    /// When the BMC was last asked whether the machine is on.
    pub(crate) power_read: Option<Instant>,
    /// When the node is poked next because a pause ends.
    pub(crate) alarm: Option<DateTime<Utc>>,
}

// === impl Context ===

impl Context {
    pub(crate) fn bmc(&self, node: &Node) -> Result<Bmc, Failure> {
        Ok((self.open_bmc)(node)?)
    }

    /// Persists the node: before anything is done that must not be done twice.
    pub(crate) async fn save(&self, node: &mut Node) -> Result<(), Failure> {
        Ok(self.store.update_node(node, None).await?)
    }

    /// Shows what the node waits for during the next lines, and persists the node.
    pub(crate) async fn doing(
        &self,
        node: &mut Node,
        what: impl Into<String>,
        within: Duration,
    ) -> Result<(), Failure> {
        node.wait_reason = Some(what.into());
        node.wait_until = Some(Utc::now() + within);
        self.save(node).await
    }
}

impl Context {
    /// Has the node looked at when a pause ends. One that ends later than the next periodic look is left to that.
    pub(crate) fn wake(&self, node: NodeId, at: DateTime<Utc>) {
        let left = (at - Utc::now()).to_std().unwrap_or_default();
        if left > self.config.interval() || self.memory.of(node).alarm == Some(at) {
            return;
        }
        self.memory.change(node, |memory| memory.alarm = Some(at));
        let pokes = self.pokes.clone();
        tokio::spawn(async move {
            tokio::time::sleep(left).await;
            pokes.poke(node);
        });
    }
}

// === impl Memory ===

impl Memory {
    pub(crate) fn of(&self, node: NodeId) -> Remembered {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied().unwrap_or_default()
    }

    pub(crate) fn change(&self, node: NodeId, change: impl FnOnce(&mut Remembered)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default());
    }

    pub(crate) fn forget(&self, node: NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }
}
