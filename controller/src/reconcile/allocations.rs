//! Allocations: finds a node, takes it, gives it back.
//!
//! A node is taken by writing it: its `instance_uuid` and version let one writer win. Only then is the allocation
//! written. Whoever is killed in between finds the taken node again at the next start.

use std::{collections::HashSet, panic::AssertUnwindSafe, time::Duration};

use bessemer_proto::ids::NodeId;
use futures_util::FutureExt as _;
use rand::seq::SliceRandom as _;
use uuid::Uuid;

use super::{
    context::Context,
    engine::Engine,
    error::{RequestError, sentence},
};
use crate::{
    node::{
        Node, ProvisionState,
        allocation::{Allocation, AllocationState},
        events,
    },
    store::{HistoryEvent, NodeFilter, NodeQuery, Resource, Store, StoreError, Stored},
};

/// Ironic tries three times, a second apart.
const ATTEMPTS: u32 = 3;
/// In `instance_info`: the traits that were asked for. Ironic's name.
const TRAITS: &str = "traits";
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

impl Resource for Allocation {
    const KIND: &'static str = "allocation";
    const WHAT: &'static str = "Allocation";

    fn uuid(&self) -> Uuid {
        self.uuid
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn node(&self) -> Option<NodeId> {
        self.node
    }

    fn unique(&self) -> Option<(&'static str, String)> {
        self.node.map(|node| ("node_uuid", node.to_string()))
    }
}

// === impl Engine ===

impl Engine {
    /// Adds an allocation; a node is looked for in the background. With `backfill` the node, which must be active,
    /// is given to it at once.
    pub async fn allocate(
        &self,
        allocation: Allocation,
        backfill: Option<NodeId>,
    ) -> Result<Stored<Allocation>, RequestError> {
        let mut stored = self.inner.cx.store.create_resource(&allocation).await?;
        let Some(node) = backfill else {
            self.look_for_node(stored.clone());
            return Ok(stored);
        };
        if let Err(error) = self.backfill(&mut stored, node).await {
            fail(&self.inner.cx.store, &mut stored, sentence(&error)).await;
            return Err(error);
        }
        Ok(stored)
    }

    /// Changes what may be changed of an allocation at any time.
    pub async fn edit_allocation<F>(&self, uuid: Uuid, change: F) -> Result<Stored<Allocation>, RequestError>
    where
        F: Fn(&mut Allocation) -> Result<(), RequestError> + Send,
    {
        let store = &self.inner.cx.store;
        loop {
            let mut stored = store.resource::<Allocation>(&uuid.to_string()).await?;
            change(&mut stored.value)?;
            match store.update_resource(&mut stored).await {
                Err(StoreError::Conflict { .. }) => {}
                written => return written.map(|()| stored).map_err(Into::into),
            }
        }
    }

    /// Removes an allocation; its node is free again. Refused while the node is in use.
    pub async fn release(&self, uuid: Uuid) -> Result<(), RequestError> {
        let store = &self.inner.cx.store;
        loop {
            let stored = store.resource::<Allocation>(&uuid.to_string()).await?;
            if let Some(id) = stored.value.node {
                self.free_node(&stored.value, id).await?;
            }
            match store.delete_unchanged_resource(&stored).await {
                // A node was found for it meanwhile.
                Err(StoreError::Conflict { .. }) => {}
                removed => {
                    removed?;
                    tracing::info!(allocation = %uuid, node = ?stored.value.node, "allocation removed");
                    return Ok(());
                }
            }
        }
    }

    async fn free_node(&self, allocation: &Allocation, id: NodeId) -> Result<(), RequestError> {
        let store = &self.inner.cx.store;
        let _guard = self.lock(id).await?;
        let mut node = store.node(&id.to_string()).await?;
        if node.allocation_uuid != Some(allocation.uuid) {
            return Ok(());
        }
        if let Some(problem) = allocation.release_problem(&node) {
            return Err(RequestError::InUse(problem));
        }
        take_back(&mut node);
        Ok(store.update_node(&mut node, None).await?)
    }

    /// Goes on with the allocations that another life of the controller was looking for nodes for, and frees the nodes
    /// that it took for one that was removed before it could give them back.
    pub(super) async fn resume_allocations(&self) -> Result<(), StoreError> {
        let store = &self.inner.cx.store;
        let allocations = store.resources::<Allocation>(None).await?;
        let known: HashSet<Uuid> = allocations.iter().map(|stored| stored.value.uuid).collect();
        // In other states somebody uses the node.
        let filter = NodeFilter {
            associated: Some(true),
            provision_states: vec![ProvisionState::Available],
            ..NodeFilter::default()
        };
        let query = NodeQuery { filter, without_secrets: true, ..NodeQuery::default() };
        for node in store.page_of_nodes(&query).await? {
            if let Some(removed) = node.allocation_uuid.filter(|uuid| !known.contains(uuid)) {
                give_back(store, node.uuid, removed).await?;
            }
        }
        for stored in allocations {
            if stored.value.state == AllocationState::Allocating {
                self.look_for_node(stored);
            }
        }
        Ok(())
    }

    fn look_for_node(&self, mut stored: Stored<Allocation>) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let uuid = stored.value.uuid;
            let work = AssertUnwindSafe(engine.find_and_take(&mut stored)).catch_unwind();
            let ended = tokio::select! {
                () = engine.inner.abandon.cancelled() => return,
                ended = work => ended,
            };
            let reason = match ended {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => reason,
                Err(_) => "internal error of the controller: please report it with its log".to_owned(),
            };
            let text = format!("Failed to process allocation {uuid}: {reason}.");
            tracing::warn!(allocation = %uuid, reason, "no node for an allocation");
            fail(&engine.inner.cx.store, &mut stored, text).await;
        });
    }

    async fn find_and_take(&self, stored: &mut Stored<Allocation>) -> Result<(), String> {
        let store = &self.inner.cx.store;
        let failed = |error: StoreError| sentence(&error);
        let uuid = stored.value.uuid;
        if let Some(node) = taken_by(store, uuid).await.map_err(failed)? {
            return self.note_taken(stored, node).await.map_err(failed);
        }
        let filter = NodeFilter {
            provision_states: vec![ProvisionState::Available],
            resource_class: stored.value.resource_class.clone(),
            associated: Some(false),
            maintenance: Some(false),
            ..NodeFilter::default()
        };
        let mut nodes = stored.value.candidates(store.nodes(&filter).await.map_err(failed)?)?;
        nodes.shuffle(&mut rand::rng());
        // A node of the same name first: less confusing when both follow one scheme.
        nodes.sort_by_key(|node| node.name.is_none() || node.name != stored.value.name);
        let mut left: Vec<NodeId> = nodes.iter().map(|node| node.uuid).collect();
        for attempt in 1..=ATTEMPTS {
            let mut busy = Vec::new();
            for id in left {
                match self.take(&stored.value, id).await.map_err(failed)? {
                    Attempt::Taken => return self.note_taken(stored, id).await.map_err(failed),
                    Attempt::Busy => busy.push(id),
                    Attempt::Unfit => {}
                }
            }
            if busy.is_empty() {
                return Err("all nodes were filtered out during reservation".to_owned());
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
            left = busy;
        }
        Err(format!("could not reserve any of {} suitable nodes", left.len()))
    }

    async fn take(&self, allocation: &Allocation, id: NodeId) -> Result<Attempt, StoreError> {
        let cx = &self.inner.cx;
        let Some(_guard) = self.inner.locks.acquire(id, Duration::ZERO).await else {
            return Ok(Attempt::Busy);
        };
        let mut node = match cx.store.node(&id.to_string()).await {
            Err(StoreError::NotFound { .. }) => return Ok(Attempt::Unfit),
            found => found?,
        };
        if node.reservation.is_some() {
            return Ok(Attempt::Busy);
        }
        if !allocation.fits(&node) {
            return Ok(Attempt::Unfit);
        }
        match give(cx, &mut node, allocation).await {
            Ok(()) => Ok(Attempt::Taken),
            Err(StoreError::Conflict { .. }) => Ok(Attempt::Busy),
            Err(error) => Err(error),
        }
    }

    async fn backfill(&self, stored: &mut Stored<Allocation>, id: NodeId) -> Result<(), RequestError> {
        let _guard = self.lock(id).await?;
        let cx = &self.inner.cx;
        let mut node = cx.store.node(&id.to_string()).await?;
        let uuid = stored.value.uuid;
        let mut problems = stored.value.backfill_problems(&node);
        let instance = uuid.to_string();
        if node.instance_uuid.as_ref().is_some_and(|taken| *taken != instance)
            || node.allocation_uuid.is_some()
        {
            problems.push(format!(
                "Node is already associated with {}",
                node.instance_uuid.as_deref().unwrap_or("another allocation")
            ));
        }
        if !problems.is_empty() {
            return Err(RequestError::InUse(format!(
                "Failed to process allocation {uuid}: Cannot backfill an allocation for node {id}: {}.",
                problems.join("; ")
            )));
        }
        give(cx, &mut node, &stored.value).await?;
        self.note_taken(stored, id).await?;
        Ok(())
    }

    /// Second half of taking a node. An allocation that was removed meanwhile gives it back.
    async fn note_taken(&self, stored: &mut Stored<Allocation>, node: NodeId) -> Result<(), StoreError> {
        let store = &self.inner.cx.store;
        let uuid = stored.value.uuid;
        loop {
            stored.value.node = Some(node);
            stored.value.state = AllocationState::Active;
            stored.value.last_error = None;
            match store.update_resource(stored).await {
                // Its name or extra was patched meanwhile.
                Err(StoreError::Conflict { .. }) => match store.resource(&uuid.to_string()).await {
                    Err(StoreError::NotFound { .. }) => return give_back(store, node, uuid).await,
                    newer => *stored = newer?,
                },
                Err(StoreError::NotFound { .. }) => return give_back(store, node, uuid).await,
                written => {
                    tracing::info!(allocation = %uuid, %node, "node allocated");
                    return written;
                }
            }
        }
    }
}

/// What became of an attempt to take a node.
enum Attempt {
    Taken,
    /// Somebody works on it: worth another attempt.
    Busy,
    /// It does not fit any more.
    Unfit,
}

async fn give(cx: &Context, node: &mut Node, allocation: &Allocation) -> Result<(), StoreError> {
    let uuid = allocation.uuid;
    node.instance_uuid = Some(uuid.to_string());
    node.allocation_uuid = Some(uuid);
    // By them the deploy finds its templates.
    node.instance_info.insert(TRAITS.to_owned(), allocation.traits.clone().into());
    let event = HistoryEvent::noted(node, events::ALLOCATION, format!("Taken by allocation {uuid}"));
    cx.store.update_node(node, Some(&event.by(&cx.hostname))).await
}

fn take_back(node: &mut Node) {
    node.allocation_uuid = None;
    node.instance_uuid = None;
    node.instance_info.remove(TRAITS);
}

async fn give_back(store: &Store, node: NodeId, allocation: Uuid) -> Result<(), StoreError> {
    loop {
        let mut node = match store.node(&node.to_string()).await {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            found => found?,
        };
        if node.allocation_uuid != Some(allocation) {
            return Ok(());
        }
        take_back(&mut node);
        match store.update_node(&mut node, None).await {
            Err(StoreError::Conflict { .. }) => {}
            written => return written,
        }
    }
}

/// The node that an allocation took before it could say so.
async fn taken_by(store: &Store, allocation: Uuid) -> Result<Option<NodeId>, StoreError> {
    let filter = NodeFilter { instance_uuid: Some(allocation.to_string()), ..NodeFilter::default() };
    let nodes = store.nodes(&filter).await?;
    Ok(nodes.into_iter().find(|node| node.allocation_uuid == Some(allocation)).map(|node| node.uuid))
}

async fn fail(store: &Store, stored: &mut Stored<Allocation>, reason: String) {
    loop {
        stored.value.state = AllocationState::Error;
        stored.value.node = None;
        stored.value.last_error = Some(reason.clone());
        let written = match store.update_resource(stored).await {
            Err(StoreError::Conflict { .. }) => match store.resource(&stored.value.uuid.to_string()).await {
                Ok(newer) => {
                    *stored = newer;
                    continue;
                }
                Err(error) => Err(error),
            },
            written => written,
        };
        if let Err(error) = written
            && !matches!(error, StoreError::NotFound { .. })
        {
            tracing::error!(error = sentence(&error), "a failed allocation could not be written");
        }
        return;
    }
}

/// A node whose instance goes gives its allocation up; called before the node is written without it.
pub(super) async fn forget(cx: &Context, node: &mut Node) -> Result<(), StoreError> {
    let Some(allocation) = node.allocation_uuid else { return Ok(()) };
    match cx.store.delete_resource::<Allocation>(allocation).await {
        Ok(()) | Err(StoreError::NotFound { .. }) => {
            take_back(node);
            Ok(())
        }
        Err(error) => Err(error),
    }
}
