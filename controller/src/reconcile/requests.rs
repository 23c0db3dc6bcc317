//! What the API may ask about nodes, besides power.

use std::time::Duration;

use bessemer_proto::ids::NodeId;
use serde_json::{Map, Value};

use super::{
    allocations,
    engine::Engine,
    error::{Failure, RequestError, sentence},
    lessee,
    locks::NodeGuard,
    maintenance, process, rescue, states, steps, validate,
};
use crate::{
    bmc, config_drive,
    node::{
        Node, ProvisionState, Verb,
        state::{Event, Transition},
    },
    store::{HistoryEvent, NodeFilter},
};

/// Ironic tries three times, a second apart.
const LOCK_WITHIN: Duration = Duration::from_secs(3);

// === impl Engine ===

impl Engine {
    /// Applies a provisioning verb: checks it, enters the first state of it, and pokes. `arguments` is the body of
    /// `PUT /v1/nodes/X/states/provision` without `target` (for example `configdrive`).
    pub async fn provision(
        &self,
        node: NodeId,
        verb: Verb,
        arguments: &Map<String, Value>,
    ) -> Result<(), RequestError> {
        let (rescue_password, arguments) = &rescue::take(verb, arguments).await?;
        let config_drive = self.config_drive(arguments).await?;
        refuse_busy(&self.inner.cx.store.node(&node.to_string()).await?, verb)?;
        let guard = self.lock(node).await?;
        let mut node = self.inner.cx.store.node(&node.to_string()).await?;
        let transition = transition(&node, verb)?;
        refuse_arguments(arguments)?;
        // Without one, a rebuild keeps what the node has, as in Ironic.
        if let Some(config_drive) = config_drive {
            node.instance_info.insert(config_drive::KEY.to_owned(), config_drive);
        }
        maintenance::check_verb(&node, verb)?;
        self.check_verb(&node, verb)?;
        self.refuse_crowd(&node, verb).await?;
        rescue::keep(&mut node, rescue_password.as_ref());
        node.last_error = None;
        if verb == Verb::Abort && node.provision_state.is_moving() {
            abort(&mut node)?;
            self.inner.cx.store.update_node(&mut node, None).await?;
            drop(guard);
            self.poke(node.uuid);
            return Ok(());
        }
        refuse_aborted(&node, verb)?;
        // What was not yet looked at is overtaken by an undeploy, which does its own tidying.
        process::forget_failure(&mut node);
        if matches!(verb, Verb::Deploy | Verb::Rebuild) {
            lessee::set(&mut node, self.inner.cx.config.automatic_lessee_source);
        }
        if verb == Verb::Unhold {
            steps::release(&mut node).map_err(not_readable)?;
        }
        let arguments = steps::with_runbook(&node, verb, arguments, &self.inner.cx).await?;
        let templates = match verb {
            Verb::Deploy | Verb::Rebuild => steps::templates(&node, &self.inner.cx).await?,
            _ => Vec::new(),
        };
        steps::begin(&mut node, verb, &arguments, &templates)?;
        let event = self.signed(HistoryEvent::moved(&node, transition.next, None));
        node.provision_state = transition.next;
        node.target_provision_state = transition.target;
        node.provision_updated_at = Some(event.time);
        node.wait_reason = None;
        node.wait_until = None;
        node.reservation = process::reserves(transition.next).then(|| self.inner.cx.hostname.clone());
        self.inner.cx.store.update_node(&mut node, Some(&event)).await?;
        tracing::info!(node = %node.uuid, %verb, from = %event.from, to = %event.to, "requested");
        drop(guard);
        self.poke(node.uuid);
        Ok(())
    }

    /// The config drive of a request, checked; done before the node is locked, since it can take a second.
    async fn config_drive(&self, arguments: &Map<String, Value>) -> Result<Option<Value>, RequestError> {
        let given = arguments.get(config_drive::KEY).filter(|value| !config_drive::is_empty(value)).cloned();
        let Some(given) = given else { return Ok(None) };
        let checked = self.inner.cx.config_drives.check(given).await;
        checked.map(Some).map_err(|error| RequestError::Invalid(sentence(&error)))
    }

    /// Changes a node that nobody works on: waits up to three seconds for its reservation, lets `change` edit it,
    /// writes it. For PATCH and maintenance.
    pub async fn edit<F>(&self, node: NodeId, change: F) -> Result<Node, RequestError>
    where
        F: FnOnce(&mut Node) -> Result<(), RequestError> + Send,
    {
        let guard = self.lock(node).await?;
        let mut node = self.inner.cx.store.node(&node.to_string()).await?;
        let before = node.clone();
        change(&mut node)?;
        if node.automated_clean == Some(true) && before.automated_clean != Some(true) {
            self.refuse_cleaning(&node)?;
        }
        lessee::changed(&before, &mut node);
        // The instance of an allocation goes, and so does the allocation, as in Ironic.
        if before.instance_uuid.is_some() && node.instance_uuid.is_none() {
            allocations::forget(&self.inner.cx, &mut node).await?;
        }
        let event = maintenance::changed(&before, &node).map(|event| self.signed(event));
        self.inner.cx.store.update_node(&mut node, event.as_ref()).await?;
        self.redirect_console(&before, &node);
        drop(guard);
        self.poke(node.uuid);
        Ok(node)
    }

    /// Removes a node that may be removed.
    pub async fn delete(&self, node: NodeId) -> Result<(), RequestError> {
        let _guard = self.lock(node).await?;
        let cx = &self.inner.cx;
        let node = cx.store.node(&node.to_string()).await?;
        refuse_protected(&node)?;
        if !node.maintenance && !node.provision_state.delete_allowed() {
            return Err(RequestError::InvalidState {
                verb: "delete".to_owned(),
                node: node.uuid,
                state: node.provision_state,
            });
        }
        if let (Some(instance), false) = (&node.instance_uuid, node.maintenance) {
            return Err(RequestError::Invalid(format!(
                "Node {} is associated with instance {instance}.",
                node.uuid
            )));
        }
        cx.shelf.remove(node.uuid);
        cx.config_drives.remove(node.uuid);
        cx.fleet.close(node.uuid).await?;
        cx.memory.forget(node.uuid);
        cx.store.delete_node(node.uuid).await?;
        cx.consoles.forget(node.uuid).await;
        bmc::forget(node.uuid);
        tracing::info!(node = %node.uuid, name = node.name, "node removed");
        Ok(())
    }

    /// Keeps everybody else from working on a node while what hangs on it is changed.
    pub(crate) async fn hold(&self, node: NodeId) -> Result<NodeGuard, RequestError> {
        self.lock(node).await
    }

    pub(super) async fn lock(&self, node: NodeId) -> Result<NodeGuard, RequestError> {
        if let Some(guard) = self.inner.locks.acquire(node, LOCK_WITHIN).await {
            return Ok(guard);
        }
        let host = self.inner.cx.store.node(&node.to_string()).await?.reservation;
        Err(RequestError::Locked { node, host: host.unwrap_or_else(|| self.inner.cx.hostname.clone()) })
    }

    fn check_verb(&self, node: &Node, verb: Verb) -> Result<(), RequestError> {
        match verb {
            Verb::Provide => {
                if node.retired {
                    return Err(RequestError::Invalid(format!(
                        "The providing operation can't be performed on node {} because it is retired.",
                        node.uuid
                    )));
                }
                self.refuse_cleaning(node)
            }
            Verb::Deploy | Verb::Rebuild => {
                if verb == Verb::Rebuild {
                    refuse_protected(node)?;
                }
                refuse_maintenance(node, "provisioning")?;
                self.refuse_cleaning(node)?;
                validate::deployable(&self.inner.cx, node).map_err(|reason| {
                    RequestError::Invalid(format!(
                        "Failed to validate deploy or power info for node {}. Error: {reason}",
                        node.uuid
                    ))
                })
            }
            Verb::Undeploy => refuse_protected(node),
            Verb::Clean => refuse_maintenance(node, "cleaning"),
            Verb::Service => refuse_maintenance(node, "service"),
            Verb::Manage
            | Verb::Abort
            | Verb::Inspect
            | Verb::Adopt
            | Verb::Rescue
            | Verb::Unrescue
            | Verb::Unhold => Ok(()),
        }
    }

    fn refuse_cleaning(&self, node: &Node) -> Result<(), RequestError> {
        let cx = &self.inner.cx;
        if !node.automated_clean.unwrap_or(cx.config.automated_clean) {
            return Ok(());
        }
        steps::between_users(node, cx).map(drop).map_err(|reason| {
            RequestError::Invalid(format!(
                "automated_clean is true: {reason}. Set automated_clean of the node to false."
            ))
        })
    }

    /// So many nodes at once and no more.
    async fn refuse_crowd(&self, node: &Node, verb: Verb) -> Result<(), RequestError> {
        use ProvisionState as S;
        let config = &self.inner.cx.config;
        let (task, states, most) = match verb {
            Verb::Deploy | Verb::Rebuild => {
                ("deployment", vec![S::Deploying, S::WaitCallBack], config.max_concurrent_deploy)
            }
            Verb::Undeploy | Verb::Clean | Verb::Provide => {
                ("cleaning", vec![S::Deleting, S::Cleaning, S::CleanWait], config.max_concurrent_clean)
            }
            _ => return Ok(()),
        };
        let filter = NodeFilter { provision_states: states, ..NodeFilter::default() };
        let busy = self.inner.cx.store.node_ids(&filter).await?;
        match busy.iter().filter(|id| **id != node.uuid).count() >= most as usize {
            true => Err(RequestError::Crowded { task }),
            false => Ok(()),
        }
    }
}

/// Where the verb leads; a verb that is not allowed, or whose work this controller does not have, is refused.
fn transition(node: &Node, verb: Verb) -> Result<Transition, RequestError> {
    let found = node.provision_state.next(verb, node.target_provision_state);
    let transition = found.ok_or_else(|| RequestError::InvalidState {
        verb: verb.to_string(),
        node: node.uuid,
        state: node.provision_state,
    })?;
    if transition.next.is_moving() && states::of(transition.next).is_none() {
        return Err(RequestError::Unsupported { driver: node.driver.clone(), what: verb.to_string() });
    }
    Ok(transition)
}

/// A verb that is not allowed while somebody works on the node may be allowed afterwards: that is a 409, as in Ironic.
fn refuse_busy(node: &Node, verb: Verb) -> Result<(), RequestError> {
    match (&node.reservation, node.provision_state.on(Event::Ask(verb))) {
        (Some(host), None) => Err(RequestError::Locked { node: node.uuid, host: host.clone() }),
        _ => Ok(()),
    }
}

fn refuse_protected(node: &Node) -> Result<(), RequestError> {
    match node.protected {
        true => Err(RequestError::Invalid(format!(
            "Node {} is protected and can not be undeployed, rebuilt or deleted.",
            node.uuid
        ))),
        false => Ok(()),
    }
}

/// The state fails itself: its way of failing also stops the machine.
fn abort(node: &mut Node) -> Result<(), RequestError> {
    if steps::may_stop_now(node).map_err(not_readable)? {
        steps::note_abort(node);
        let reason = steps::aborted(node);
        process::fail_soon(node, reason);
    }
    Ok(())
}

/// An abort that was accepted is carried out.
fn refuse_aborted(node: &Node, verb: Verb) -> Result<(), RequestError> {
    match process::fails_soon(node) && verb != Verb::Undeploy {
        true => Err(RequestError::InUse(format!(
            "The requested action \"{verb}\" can not be performed on node \"{}\": it is being aborted or has failed. Wait \
             until it is in state \"{}\".",
            node.uuid,
            node.provision_state.failure().unwrap_or(ProvisionState::Error)
        ))),
        false => Ok(()),
    }
}

fn not_readable(failure: Failure) -> RequestError {
    match failure {
        Failure::Store(error) => error.into(),
        Failure::Node(reason) => RequestError::Invalid(reason),
    }
}

fn refuse_maintenance(node: &Node, operation: &'static str) -> Result<(), RequestError> {
    match node.maintenance {
        true => Err(RequestError::Maintenance { operation, node: node.uuid }),
        false => Ok(()),
    }
}

/// What would be ignored is refused: an operator who asks for a step counts on it.
fn refuse_arguments(arguments: &Map<String, Value>) -> Result<(), RequestError> {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    const KNOWN: &[&str] =
        &[config_drive::KEY, "deploy_steps", "clean_steps", "service_steps", "disable_ramdisk", "runbook"];
    match arguments.iter().find(|(name, value)| !KNOWN.contains(&name.as_str()) && !is_empty(value)) {
        None => Ok(()),
        Some((name, _)) => Err(RequestError::Invalid(format!(
            "\"{}\" is not supported yet: leave it out.",
            name.chars().take(64).collect::<String>()
        ))),
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// The sentence of an error, for answers.
pub(super) fn invalid(error: &(dyn std::error::Error + 'static)) -> RequestError {
    RequestError::Invalid(sentence(error))
}
