//! Inspection rules at the end of an inspection: loads them, lets them change the node and its ports, keeps the result.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::{
    context::Context,
    error::{Failure, sentence},
};
use crate::{
    drivers::KINDS,
    node::{
        Dictionary, Node, Port,
        inspection_rule::{InspectionRule, PHASE},
        rules::{self, Budget, Subject},
    },
    store::StoreError,
};

/// Longest time that the rules of one inspection may take.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Applies all rules; all of them or, on a failure, none. Changes `node` (the caller persists it) and its ports. The
/// answer is `plugin_data` as the rules left it.
pub(super) async fn apply(
    node: &mut Node,
    inventory: &Dictionary,
    plugin_data: Dictionary,
    cx: &Context,
) -> Result<Dictionary, Failure> {
    let stored = cx.store.resources::<InspectionRule>(None).await?;
    let rules: Vec<_> =
        stored.into_iter().map(|rule| rule.value).filter(|rule| rule.phase == PHASE).collect();
    if rules.is_empty() {
        return Ok(plugin_data);
    }
    let ports = cx.store.ports(Some(node.uuid), None).await?;
    let subject = Subject {
        node: with_interfaces(object(serde_json::to_value(&*node)?), node),
        ports: ports.iter().map(|port| serde_json::to_value(port).map(object)).collect::<Result<_, _>>()?,
        inventory: inventory.clone(),
        plugin_data,
    };
    let subject = on_a_thread_of_its_own(rules, subject).await?;
    let changed: Node = read(subject.node)?;
    check_name(node, &changed, cx).await?;
    let after: Vec<Port> = subject.ports.into_iter().map(read).collect::<Result<_, _>>()?;
    for (before, after) in ports.iter().zip(after) {
        if after != *before {
            cx.store.update_port(&after).await?;
        }
    }
    *node = changed;
    Ok(subject.plugin_data)
}

/// Rules compute; the engine's threads must not wait for that.
async fn on_a_thread_of_its_own(
    rules: Vec<InspectionRule>,
    mut subject: Subject,
) -> Result<Subject, Failure> {
    let applied = tokio::task::spawn_blocking(move || {
        let mut budget = Budget::until(Instant::now() + MAX_TIME);
        rules::apply(rules, &mut subject, &mut budget).map(|()| subject)
    });
    let broken = |_| {
        let sentence =
            "internal error of the controller in an inspection rule: please report it with the log";
        Failure::Node(sentence.to_owned())
    };
    applied.await.map_err(broken)?.map_err(|error| Failure::Node(sentence(&error)))
}

/// The interfaces under the names that the API has for them.
fn with_interfaces(mut shown: Map<String, Value>, node: &Node) -> Map<String, Value> {
    for kind in KINDS {
        let interface = node.interfaces.get(kind).cloned();
        shown.insert(format!("{kind}_interface"), interface.into());
    }
    shown
}

/// Names are unique. Without this look the database would refuse the node again and again.
async fn check_name(before: &Node, after: &Node, cx: &Context) -> Result<(), Failure> {
    let Some(name) = after.name.as_ref().filter(|_| after.name != before.name) else { return Ok(()) };
    match cx.store.node(name).await {
        Err(StoreError::NotFound { .. }) => Ok(()),
        Ok(other) if other.uuid == after.uuid => Ok(()),
        Ok(_) => Err(Failure::Node(
            "An inspection rule gives the node a name that another node has: change the rule".to_owned(),
        )),
        Err(error) => Err(error.into()),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The error of the decoder would show the value, which may be a secret.
fn read<T: serde::de::DeserializeOwned>(map: Map<String, Value>) -> Result<T, Failure> {
    serde_json::from_value(map.into()).map_err(|_| {
        Failure::Node("An inspection rule sets a field to a value that it cannot have".to_owned())
    })
}
