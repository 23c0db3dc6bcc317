//! Steps kept under a name: deploy templates and runbooks.

use serde_json::{Map, Value, json};

use crate::{
    node::{
        Node, Verb,
        deploy_template::DeployTemplate,
        plan::GivenStep,
        runbook::{Runbook, RunbookStep},
    },
    reconcile::{context::Context, error::RequestError},
    store::StoreError,
};

/// Most traits an instance may name, as in Ironic.
const MAX_TRAITS: usize = 50;
const RUNBOOK: &str = "runbook";

/// The steps of the deploy templates that a node's instance asks for by its traits.
pub(in crate::reconcile) async fn templates(
    node: &Node,
    cx: &Context,
) -> Result<Vec<GivenStep>, RequestError> {
    let mut steps = Vec::new();
    for name in instance_traits(node)? {
        let template = match cx.store.resource::<DeployTemplate>(&name).await {
            Err(StoreError::NotFound { .. }) => continue,
            found => found?.value,
        };
        steps.extend(template.steps.into_iter().map(|step| GivenStep {
            interface: step.interface,
            step: step.step,
            args: step.args,
            priority: step.priority,
        }));
    }
    Ok(steps)
}

/// The traits that an instance asks for: the node must have them.
fn instance_traits(node: &Node) -> Result<Vec<String>, RequestError> {
    let unreadable = || {
        RequestError::Invalid(format!(
            "Error parsing traits from Node {} instance_info field. A list of strings is expected.",
            node.uuid
        ))
    };
    let traits: Vec<String> = match node.instance_info.get("traits") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(traits) => serde_json::from_value(traits.clone()).map_err(|_| unreadable())?,
    };
    if traits.len() > MAX_TRAITS {
        return Err(unreadable());
    }
    let missing: Vec<_> = traits.iter().filter(|name| !node.traits.contains(name)).cloned().collect();
    match missing.is_empty() {
        true => Ok(traits),
        false => Err(RequestError::Invalid(format!(
            "Cannot specify instance traits that are not also set on the node. Node {} is missing traits {}",
            node.uuid,
            missing.join(", ")
        ))),
    }
}

/// Puts the steps of a runbook in the place of its name.
pub(in crate::reconcile) async fn with_runbook(
    node: &Node,
    verb: Verb,
    arguments: &Map<String, Value>,
    cx: &Context,
) -> Result<Map<String, Value>, RequestError> {
    let mut arguments = arguments.clone();
    let ident = match arguments.remove(RUNBOOK) {
        None | Some(Value::Null) => return Ok(arguments),
        Some(Value::String(ident)) => ident,
        Some(_) => return Err(RequestError::Invalid("runbook must be a UUID or a name.".to_owned())),
    };
    let key = match verb {
        Verb::Service => "service_steps",
        _ => "clean_steps",
    };
    if arguments.contains_key(key) {
        return Err(RequestError::Invalid(format!(
            "Please provide either \"{key}\" or a runbook, but not both."
        )));
    }
    let runbook = cx.store.resource::<Runbook>(&ident).await?.value;
    if !runbook.fits(&node.traits) {
        return Err(RequestError::Invalid(format!(
            "This runbook has not been approved for use on this node {}. The node has none of its traits: ask an \
             administrator to add one to the node.",
            node.uuid
        )));
    }
    let mut steps = runbook.steps;
    steps.sort_by_key(|step| step.order);
    arguments.insert(key.to_owned(), steps.into_iter().map(listed).collect());
    if runbook.disable_ramdisk {
        arguments.insert("disable_ramdisk".to_owned(), true.into());
    }
    Ok(arguments)
}

fn listed(step: RunbookStep) -> Value {
    json!({"interface": step.interface, "step": step.step, "args": step.args})
}
