//! At most one piece of work per node.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bessemer_proto::ids::NodeId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Table = Arc<Mutex<HashMap<NodeId, Arc<AsyncMutex<()>>>>>;

/// The locks of all nodes that somebody works on.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeLocks(Table);

/// The right to work on a node, until dropped.
#[derive(Debug)]
pub(crate) struct NodeGuard {
    node: NodeId,
    table: Table,
    held: Option<OwnedMutexGuard<()>>,
}

impl NodeLocks {
    /// Waits at most `within` for the node.
    pub(crate) async fn acquire(&self, node: NodeId, within: Duration) -> Option<NodeGuard> {
        let lock = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default());
        // Made before the wait, so that its drop takes an unused entry out of the table in every case.
        let mut guard = NodeGuard { node, table: Arc::clone(&self.0), held: None };
        guard.held = tokio::time::timeout(within, lock.lock_owned()).await.ok();
        guard.held.is_some().then_some(guard)
    }
}

impl Drop for NodeGuard {
    fn drop(&mut self) {
        self.held = None;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.get(&self.node).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            table.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_holder_at_a_time_and_nothing_stays_behind() {
        let (locks, node) = (NodeLocks::default(), NodeId::random());
        let first = locks.acquire(node, Duration::ZERO).await.unwrap();
        assert!(locks.acquire(node, Duration::from_secs(3)).await.is_none());
        assert!(locks.acquire(NodeId::random(), Duration::ZERO).await.is_some());
        drop(first);
        assert!(locks.acquire(node, Duration::ZERO).await.is_some());
        assert!(locks.0.lock().unwrap().is_empty());
    }
}
