//! Turning consoles on and off; the consoles themselves are another room.

use std::time::Duration;

use super::{
    engine::Engine,
    error::{RequestError, sentence},
    hardware::supports,
    requests::invalid,
};
use crate::{
    console::Consoles,
    node::Node,
    store::{NodeFilter, StoreError},
};

/// Between two consoles that are opened when the controller starts.
const BETWEEN: Duration = Duration::from_millis(50);

// === impl Engine ===

impl Engine {
    /// The consoles of all nodes.
    #[must_use]
    pub fn consoles(&self) -> &Consoles {
        &self.inner.cx.consoles
    }

    /// Makes the console of a node available or not. The caller has the node's lock.
    pub(super) async fn switch_console(&self, node: &mut Node, enabled: bool) -> Result<(), RequestError> {
        let cx = &self.inner.cx;
        // One that is open can always be turned off.
        if enabled || !node.console_enabled {
            supports(node, "console")?;
        }
        if enabled {
            // The machines of `fake-hardware` have none: theirs is nothing but a flag.
            let bmc = (cx.open_bmc)(node).map_err(|error| invalid(&error))?;
            if bmc.console.is_some() {
                let started = cx.consoles.start(node.uuid);
                started.map_err(|error| RequestError::Invalid(error.to_string()))?;
            }
        }
        node.console_enabled = enabled;
        node.last_error = None;
        let stored = cx.store.update_node(node, None).await;
        if !enabled || stored.is_err() {
            cx.consoles.stop(node.uuid).await;
        }
        Ok(stored?)
    }

    /// After a change of a node: its console leads to where the node is now.
    pub(super) fn redirect_console(&self, before: &Node, node: &Node) {
        if node.console_enabled && before.driver_info != node.driver_info {
            self.inner.cx.consoles.reopen(node.uuid);
        }
    }

    /// Opens the consoles that were enabled in another life of the controller.
    pub(super) fn resume_consoles(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let work = engine.inner.stop.run_until_cancelled(engine.open_enabled());
            if let Some(Err(error)) = work.await {
                tracing::error!(error = sentence(&error), "consoles are not opened again");
            }
        });
    }

    async fn open_enabled(&self) -> Result<(), StoreError> {
        let cx = &self.inner.cx;
        for id in cx.store.node_ids(&NodeFilter::default()).await? {
            let node = match cx.store.node(&id.to_string()).await {
                Err(StoreError::NotFound { .. }) => continue,
                node => node?,
            };
            let has_console = || {
                supports(&node, "console").is_ok()
                    && (cx.open_bmc)(&node).is_ok_and(|bmc| bmc.console.is_some())
            };
            if !node.console_enabled || !has_console() {
                continue;
            }
            if let Err(error) = cx.consoles.start(id) {
                tracing::warn!(node = %id, %error, "a console is not opened");
            }
            tokio::time::sleep(BETWEEN).await;
        }
        Ok(())
    }
}
