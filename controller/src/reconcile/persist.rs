//! Ends of background work: written until they are stored, however long the database is away.

use std::time::Duration;

use super::{engine::Engine, error::sentence};
use crate::{
    node::Node,
    store::{HistoryEvent, StoreError},
};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often something was tried.
pub(super) struct Insistence(Duration);

// === impl Insistence ===

impl Insistence {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// Waits, twice as long each time; false when trying again does not help, or the controller stops.
    pub(super) async fn waits(&mut self, engine: &Engine, error: &StoreError) -> bool {
        if !matches!(error, StoreError::Database { .. }) || engine.inner.stop.is_cancelled() {
            return false;
        }
        tracing::warn!(error = sentence(error), "the end of a change is not stored yet: it is tried again");
        tokio::select! {
            // There is one last attempt.
            () = engine.inner.stop.cancelled() => {}
            () = tokio::time::sleep(self.0) => {}
        }
        self.0 = self.0.saturating_mul(2).min(LONGEST_PAUSE);
        true
    }
}

// === impl Engine ===

impl Engine {
    /// Changes a node at the end of work on it, whose lock the caller holds. False when that cannot be stored.
    pub(super) async fn write_end(
        &self,
        node: &mut Node,
        event: Option<&HistoryEvent>,
        change: impl Fn(&mut Node),
    ) -> bool {
        let mut insistence = Insistence::new();
        change(node);
        loop {
            let error = match self.inner.cx.store.update_node(node, event).await {
                Ok(()) => return true,
                Err(error) => error,
            };
            let error = match error {
                // An attempt before was stored after all, or somebody wrote beside the lock.
                StoreError::Conflict { .. } => match self.inner.cx.store.node(&node.uuid.to_string()).await {
                    Ok(stored) => {
                        *node = stored.clone();
                        change(node);
                        if *node == stored {
                            return true;
                        }
                        continue;
                    }
                    Err(error) => error,
                },
                error => error,
            };
            if !insistence.waits(self, &error).await {
                let problem = sentence(&error);
                tracing::error!(node = %node.uuid, error = problem, "the end of a change could not be stored");
                return false;
            }
        }
    }
}
