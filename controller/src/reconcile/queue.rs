//! Nodes to be looked at soon: a set, so that a node poked a thousand times is looked at once.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use bessemer_proto::ids::NodeId;
use tokio::sync::Notify;

/// Where everybody pokes and the engine listens; made before the engine, because the fleet pokes too.
#[derive(Clone, Debug, Default)]
pub struct Pokes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    nodes: Mutex<BTreeSet<NodeId>>,
    news: Notify,
}

impl Pokes {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The engine looks at the node soon.
    pub fn poke(&self, node: NodeId) {
        self.add([node]);
    }

    pub(crate) fn add(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner).extend(nodes);
        self.0.news.notify_one();
    }

    /// All nodes that were poked, as soon as there is one.
    pub(crate) async fn take(&self) -> BTreeSet<NodeId> {
        loop {
            let news = self.0.news.notified();
            let nodes = std::mem::take(&mut *self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner));
            if !nodes.is_empty() {
                return nodes;
            }
            news.await;
        }
    }
}
