//! From what a request asks for to the plan of a node.

use serde_json::{Map, Value, json};

use super::{forget, key, lay_down};
use crate::{
    drivers,
    node::{
        Node, ProvisionState, Verb,
        plan::{self, Flow, GivenStep, PlannedStep, Shape},
    },
    reconcile::{
        config::{NO_CLEAN_STEPS, NOTHING_ERASES},
        context::Context,
        deploy,
        error::{Failure, RequestError},
    },
};

/// In `driver_internal_info`: the steps that were asked for run without an agent. Ironic's names.
pub(super) const CLEAN_WITHOUT: &str = "cleaning_disable_ramdisk";
pub(super) const SERVICE_WITHOUT: &str = "service_disable_ramdisk";

/// Whether there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// There is a plan.
    Plan,
    /// Nothing was asked for.
    Nothing,
}

/// A verb begins: what it asks for goes into the node, nothing of an older plan is left. Arguments that the verb
/// does not know are refused: who asks for a step counts on it.
pub(in crate::reconcile) fn begin(
    node: &mut Node,
    verb: Verb,
    arguments: &Map<String, Value>,
    templates: &[GivenStep],
) -> Result<(), RequestError> {
    let list = |name: &str, shape| match arguments.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(given) => GivenStep::parse_all(given, shape)
            .map_err(|problem| RequestError::Invalid(format!("Invalid {name}: {problem}."))),
    };
    match verb {
        Verb::Deploy | Verb::Rebuild => {
            let request = list("deploy_steps", Shape::Prioritised)?;
            let invalid = |problem: String| {
                RequestError::Invalid(format!(
                    "Failed to validate deploy or power info for node {}. Error: {problem}",
                    node.uuid
                ))
            };
            let plan = plan::deploy(&drivers::offers(node), templates, &request)
                .map_err(|problem| invalid(problem.to_string()))?;
            if deploy::uses_ramdisk(node) && !plan.iter().any(|step| step.label() == "deploy.write_image") {
                return Err(invalid(
                    "step deploy.write_image is switched off, so nothing would be written: give it a priority, or \
                     adopt the machine as it is"
                        .to_owned(),
                ));
            }
            forget(node);
            deploy::forget_last(node);
            name_image_type(node);
            lay_down(Flow::Deploy, node, &plan).map_err(unreadable)
        }
        Verb::Clean => given(node, Flow::Clean, arguments, list("clean_steps", Shape::Listed)?),
        Verb::Service => given(node, Flow::Service, arguments, list("service_steps", Shape::Listed)?),
        Verb::Provide => {
            forget(node);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// As in Ironic an image without a kernel beside it is that of a whole disk, and the node says so.
fn name_image_type(node: &mut Node) {
    let info = &mut node.instance_info;
    let given = |key: &str| info.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if given("image_source") && !["image_type", "kernel", "ramdisk"].into_iter().any(given) {
        info.insert("image_type".to_owned(), "whole-disk".into());
    }
}

/// As in Ironic, whether the node has these steps is found out when the work begins.
fn given(
    node: &mut Node,
    flow: Flow,
    arguments: &Map<String, Value>,
    steps: Vec<GivenStep>,
) -> Result<(), RequestError> {
    if steps.is_empty() {
        return Err(RequestError::Invalid(format!(
            "\"{0}_steps\" is required when setting target provision state to {0}",
            flow.as_str()
        )));
    }
    let without = arguments.get("disable_ramdisk").and_then(Value::as_bool).unwrap_or_default();
    let listed = steps.into_iter().map(|step| match step.args.is_empty() {
        true => json!({"interface": step.interface, "step": step.step}),
        false => json!({"interface": step.interface, "step": step.step, "args": step.args}),
    });
    let listed: Value = listed.collect();
    forget(node);
    node.driver_internal_info.insert(key(flow, "steps"), listed);
    node.driver_internal_info.insert(without_key(flow).to_owned(), without.into());
    Ok(())
}

/// The work begins: makes the plan of a cleaning or service; that of a deploy was made by the request.
pub(super) fn make(flow: Flow, node: &mut Node, cx: &Context) -> Result<Made, Failure> {
    let offers = drivers::offers(node);
    let plan = match (flow, node.target_provision_state) {
        (Flow::Deploy, _) => {
            return Err(Failure::Node("the deploy has no plan: deploy the node again".to_owned()));
        }
        (Flow::Clean, Some(ProvisionState::Available)) => {
            if !node.automated_clean.unwrap_or(cx.config.automated_clean) {
                return Ok(Made::Nothing);
            }
            between_users(node, cx).map_err(|reason| Failure::Node(reason.to_owned()))?
        }
        (Flow::Clean | Flow::Service, _) => {
            let listed = node.driver_internal_info.get(&key(flow, "steps")).cloned().unwrap_or_default();
            let without = node.driver_internal_info.get(without_key(flow)) == Some(&json!(true));
            let steps = GivenStep::parse_all(&listed, Shape::Listed).map_err(Failure::Node)?;
            plan::by_hand(flow, &offers, &steps, without).map_err(|problem| {
                Failure::Node(format!("Cannot {} node {}: {problem}", flow.as_str(), node.uuid))
            })?
        }
    };
    lay_down(flow, node, &plan)?;
    Ok(Made::Plan)
}

fn without_key(flow: Flow) -> &'static str {
    if flow == Flow::Service { SERVICE_WITHOUT } else { CLEAN_WITHOUT }
}

fn unreadable(error: serde_json::Error) -> RequestError {
    RequestError::Invalid(format!("the steps cannot be stored: {error}"))
}

/// The steps of a cleaning of this node between two users, or why that cannot be called cleaning.
pub(in crate::reconcile) fn between_users(
    node: &Node,
    cx: &Context,
) -> Result<Vec<PlannedStep>, &'static str> {
    let offers = drivers::offers(node);
    let mut priorities = cx.config.clean_step_priority_override.clone();
    // Other hardware types have steps of the same names.
    if drivers::chosen(node, "management") == Some("ilo") {
        cx.ilo.add_to(&mut priorities);
    }
    let plan = plan::automated(&offers, &priorities);
    let gets_images = drivers::chosen(node, "deploy") == Some("direct");
    match plan.is_empty() {
        true => Err(NO_CLEAN_STEPS),
        false
            if gets_images && !cx.config.automated_clean_without_erasing && !plan::erases(&offers, &plan) =>
        {
            Err(NOTHING_ERASES)
        }
        false => Ok(plan),
    }
}
