//! The newest readings of each machine, in memory only: they are worth nothing after a restart.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bessemer_proto::ids::NodeId;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::{bmc::Sensor, node::Node};

/// Readings may be this many intervals old; then they are shown no more.
const STALE_AFTER: u32 = 3;

/// What was read from one machine.
#[derive(Clone, Debug)]
pub(crate) struct Readings {
    pub(crate) node: NodeId,
    pub(crate) name: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) driver: String,
    /// When the sensors were read.
    pub(crate) at: DateTime<Utc>,
    /// Of what was read last; empty when it was never read.
    pub(crate) sensors: Arc<[Sensor]>,
    /// Whether the last attempt worked.
    pub(crate) is_up: bool,
    read: Instant,
}

/// The newest readings of all machines; a handle.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<NodeId, Readings>>>);

impl Readings {
    pub(crate) fn of(node: &Node, sensors: Vec<Sensor>) -> Self {
        Self {
            node: node.uuid,
            name: node.name.clone(),
            instance: node.instance_uuid.clone(),
            driver: node.driver.clone(),
            at: Utc::now(),
            sensors: sensors.into(),
            is_up: true,
            read: Instant::now(),
        }
    }
}

impl Board {
    /// What was just read.
    pub(crate) fn put(&self, readings: Readings) {
        self.with(|board| board.insert(readings.node, readings));
    }

    /// Reading failed: what was read before stays until it is stale.
    pub(crate) fn fail(&self, node: &Node) {
        let never = || Readings { is_up: false, ..Readings::of(node, Vec::new()) };
        self.with(|board| board.entry(node.uuid).or_insert_with(never).is_up = false);
    }

    /// Its sensors are read no more.
    pub(crate) fn forget(&self, node: NodeId) {
        self.with(|board| board.remove(&node));
    }

    /// All that is not stale; what is, is forgotten.
    pub(crate) fn all(&self, interval: Duration) -> Vec<Readings> {
        self.with(|board| {
            board.retain(|_, readings| readings.read.elapsed() <= interval * STALE_AFTER);
            board.values().cloned().collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<NodeId, Readings>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_keeps_what_was_read_until_it_is_stale() {
        let (board, node) = (Board::default(), Node::new("redfish"));
        let minute = Duration::from_secs(60);
        board.put(Readings::of(&node, Vec::new()));
        tokio::time::advance(minute * 2).await;
        board.fail(&node);
        assert!(matches!(&board.all(minute)[..], [one] if !one.is_up));
        tokio::time::advance(minute * 2).await;
        assert!(board.all(minute).is_empty());
        board.fail(&node);
        assert!(matches!(&board.all(minute)[..], [one] if !one.is_up && one.sensors.is_empty()));
        board.forget(node.uuid);
        assert!(board.all(minute).is_empty());
    }
}
