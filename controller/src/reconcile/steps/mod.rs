//! Running the steps of a plan, one after the other: of a deploy, a cleaning, a service. The plan, the place in it and
//! what the step under way needs to be resumed live in the node's `driver_internal_info`.

mod fake;
mod ilo;
mod named;
mod out_of_band;
mod pause;
mod plans;
mod reserved;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{context::Context, deploy, error::Failure, hardware_cache, outcome::Outcome};
use crate::{
    drivers,
    node::{
        Dictionary, Node, ProvisionState,
        plan::{Flow, PlannedStep},
    },
};
pub(super) use named::{templates, with_runbook};
pub(super) use plans::{begin, between_users};

/// In `driver_internal_info` while an abort is carried out: the failure is no fault of the machine.
const ABORTED: &str = "aborted";

/// One step.
#[async_trait]
pub(crate) trait Step: Send + Sync {
    /// Does what can be done now. Called again until it says [`Progress::Done`], also after a restart.
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure>;

    /// Whether the wait is over. Changes nothing.
    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        let _ = (node, cx);
        Ok(Waiting::Over)
    }
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The next step may start.
    Done,
    /// It goes on when the agent has answered, or its time has come.
    Wait,
    /// Nothing goes on before somebody says `unhold`.
    Hold,
}

/// A wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The step can go on.
    Over,
    /// Not yet, and after that time never.
    Still {
        /// For what.
        reason: String,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// Not yet; at that time the step goes on.
    Pause {
        /// For what.
        reason: String,
        /// Until when.
        until: DateTime<Utc>,
    },
}

/// The code of a step.
pub(crate) fn step_of(node: &Node, step: &PlannedStep) -> Result<&'static dyn Step, Failure> {
    if let Some(found) = reserved::step_of(&step.step) {
        return Ok(found);
    }
    let found = match drivers::chosen(node, &step.interface) {
        Some("direct") => deploy::step_of(&step.step),
        Some("fake") => fake::step_of(step),
        Some("ilo") => ilo::step_of(step).or_else(|| out_of_band::step_of(step)),
        Some(name) if !drivers::is_absent(name) => out_of_band::step_of(step),
        _ => None,
    };
    found.ok_or_else(|| Failure::Node(format!("this controller has no step {}", step.label())))
}

// === the states of a flow ===

/// Which list of steps a state works on.
pub(crate) fn flow_of(state: ProvisionState) -> Option<Flow> {
    use ProvisionState as S;
    Some(match state {
        S::Deploying | S::WaitCallBack | S::DeployHold => Flow::Deploy,
        S::Cleaning | S::CleanWait | S::CleanHold => Flow::Clean,
        S::Servicing | S::ServiceWait | S::ServiceHold => Flow::Service,
        _ => return None,
    })
}

/// Working, waiting, held.
fn states(flow: Flow) -> [ProvisionState; 3] {
    use ProvisionState as S;
    match flow {
        Flow::Deploy => [S::Deploying, S::WaitCallBack, S::DeployHold],
        Flow::Clean => [S::Cleaning, S::CleanWait, S::CleanHold],
        Flow::Service => [S::Servicing, S::ServiceWait, S::ServiceHold],
    }
}

/// What a working state does.
pub(crate) async fn work(flow: Flow, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
    let [_, waiting, held] = states(flow);
    if !has_place(flow, node) && plans::make(flow, node, cx)? == plans::Made::Nothing {
        return Ok(Outcome::done());
    }
    while let Some(step) = current(flow, node)? {
        if show(flow, node, &step)? {
            cx.save(node).await?;
        }
        match step_of(node, &step)?.run(node, cx).await.map_err(|failure| in_step(flow, &step, failure))? {
            Progress::Wait => return Ok(Outcome::go(waiting)),
            Progress::Hold => return Ok(Outcome::go(held)),
            Progress::Done => {
                tracing::info!(node = %node.uuid, flow = flow.as_str(), step = step.label(), "step done");
                // What the step kept may say that it is to be the last one.
                if current(flow, node)?.is_some_and(|step| step.abort_after) {
                    note_abort(node);
                    return Ok(Outcome::fail(format!(
                        "{} after step {}, which could not be interrupted",
                        aborted(node),
                        step.label()
                    )));
                }
                advance(flow, node)?;
                // The end of the last step is written with the state that it leads to.
                if current(flow, node)?.is_some() {
                    cx.save(node).await?;
                }
            }
        }
    }
    match flow {
        Flow::Deploy => deploy::finish(node)?,
        Flow::Clean | Flow::Service => {
            forget(node);
            // The steps may have changed settings and versions.
            hardware_cache::refresh(node, &cx.bmc(node)?, cx).await;
        }
    }
    Ok(Outcome::done())
}

/// What a waiting state does. Changes nothing.
pub(crate) async fn wait(flow: Flow, node: &Node, cx: &Context) -> Result<Outcome, Failure> {
    let [working, ..] = states(flow);
    let Some(step) = current(flow, node)? else { return Ok(Outcome::go(working)) };
    let waiting = step_of(node, &step)?.waiting(node, cx).await;
    Ok(match waiting.map_err(|failure| in_step(flow, &step, failure))? {
        Waiting::Over => Outcome::go(working),
        Waiting::Still { reason, until } => Outcome::wait(reason, until),
        Waiting::Pause { until, .. } if Utc::now() >= until => Outcome::go(working),
        Waiting::Pause { reason, until } => {
            cx.wake(node.uuid, until);
            Outcome::pause(reason, until)
        }
    })
}

/// After a failure of any state of a flow.
pub(crate) async fn clean_up(flow: Flow, node: &mut Node, cx: &Context) {
    if flow == Flow::Deploy {
        deploy::give_up(node, cx).await;
    }
    let has_started = !shown(flow, node).is_empty();
    let was_aborted = node.driver_internal_info.contains_key(ABORTED);
    if flow != Flow::Deploy && has_started && !was_aborted {
        node.maintenance = true;
        node.maintenance_reason = node.last_error.clone();
        node.fault = Some(format!("{} failure", flow.as_str()));
    }
    forget(node);
}

/// Notes that what fails next was asked for.
pub(super) fn note_abort(node: &mut Node) {
    node.driver_internal_info.insert(ABORTED.to_owned(), json!(true));
}

/// Takes that back.
pub(super) fn forget_abort(node: &mut Node) {
    node.driver_internal_info.remove(ABORTED);
}

/// The first words of the reason when somebody says `abort`.
pub(super) fn aborted(node: &Node) -> &'static str {
    match flow_of(node.provision_state) {
        Some(Flow::Deploy) => "Deploy aborted by user",
        Some(Flow::Clean) => "Cleaning aborted by user",
        Some(Flow::Service) => "Service aborted by user",
        None => "Aborted by user",
    }
}

/// For an abort: true when the step under way may be stopped in the middle; else it is marked as the last one.
pub(super) fn may_stop_now(node: &mut Node) -> Result<bool, Failure> {
    let Some(flow) = flow_of(node.provision_state) else { return Ok(true) };
    let is_held = node.provision_state == states(flow)[2];
    match current(flow, node)? {
        Some(step) if !step.abortable && !is_held => {
            let mut plan = plan(flow, node)?;
            let at = place(flow, node)?;
            if let Some(step) = plan.get_mut(at) {
                step.abort_after = true;
            }
            node.driver_internal_info.insert(key(flow, "steps"), serde_json::to_value(plan)?);
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// For `unhold`: the step that held is done.
pub(super) fn release(node: &mut Node) -> Result<(), Failure> {
    match flow_of(node.provision_state) {
        Some(flow) => advance(flow, node),
        None => Ok(()),
    }
}

// === the plan in the node ===

fn key(flow: Flow, what: &str) -> String {
    format!("{}_{what}", flow.as_str())
}

fn plan(flow: Flow, node: &Node) -> Result<Vec<PlannedStep>, Failure> {
    let plan = node.driver_internal_info.get(&key(flow, "steps")).cloned().unwrap_or(json!([]));
    Ok(serde_json::from_value(plan)?)
}

fn place(flow: Flow, node: &Node) -> Result<usize, Failure> {
    let place = node.driver_internal_info.get(&key(flow, "step_index")).cloned();
    Ok(serde_json::from_value(place.unwrap_or(json!(0)))?)
}

fn has_place(flow: Flow, node: &Node) -> bool {
    node.driver_internal_info.get(&key(flow, "step_index")).is_some_and(Value::is_u64)
}

/// Puts a plan into the node.
fn lay_down(flow: Flow, node: &mut Node, plan: &[PlannedStep]) -> Result<(), serde_json::Error> {
    node.driver_internal_info.insert(key(flow, "steps"), serde_json::to_value(plan)?);
    node.driver_internal_info.insert(key(flow, "step_index"), json!(0));
    Ok(())
}

/// The step under way; `None` when all are done.
pub(crate) fn current(flow: Flow, node: &Node) -> Result<Option<PlannedStep>, Failure> {
    Ok(plan(flow, node)?.into_iter().nth(place(flow, node)?))
}

/// The step under way of whatever flow the node is in.
fn current_of(node: &Node) -> Result<PlannedStep, Failure> {
    let step = flow_of(node.provision_state).map(|flow| current(flow, node)).transpose()?.flatten();
    step.ok_or_else(|| Failure::Node("no step is under way".to_owned()))
}

/// Whether a later step of the plan needs an agent.
fn ramdisk_is_needed_later(node: &Node) -> Result<bool, Failure> {
    let Some(flow) = flow_of(node.provision_state) else { return Ok(false) };
    let at = place(flow, node)?;
    Ok(plan(flow, node)?.iter().skip(at + 1).any(|step| step.requires_ramdisk))
}

/// The node's field that shows the step under way.
pub(super) fn shown(flow: Flow, node: &Node) -> &Dictionary {
    match flow {
        Flow::Deploy => &node.deploy_step,
        Flow::Clean => &node.clean_step,
        Flow::Service => &node.service_step,
    }
}

fn show(flow: Flow, node: &mut Node, step: &PlannedStep) -> Result<bool, Failure> {
    let new: Dictionary = match serde_json::to_value(step)? {
        Value::Object(map) => map.into_iter().filter(|(key, _)| key != "args").collect(),
        _ => Dictionary::new(),
    };
    let field = match flow {
        Flow::Deploy => &mut node.deploy_step,
        Flow::Clean => &mut node.clean_step,
        Flow::Service => &mut node.service_step,
    };
    let is_news = *field != new;
    *field = new;
    Ok(is_news)
}

fn advance(flow: Flow, node: &mut Node) -> Result<(), Failure> {
    let next = place(flow, node)? + 1;
    node.driver_internal_info.insert(key(flow, "step_index"), json!(next));
    node.driver_internal_info.remove(pause::KEY);
    node.driver_internal_info.remove(out_of_band::WORK);
    node.driver_internal_info.remove(ilo::KEY);
    Ok(())
}

/// Nothing of any plan is left in the node.
pub(crate) fn forget(node: &mut Node) {
    for flow in [Flow::Deploy, Flow::Clean, Flow::Service] {
        node.driver_internal_info.remove(&key(flow, "steps"));
        node.driver_internal_info.remove(&key(flow, "step_index"));
    }
    for key in [
        deploy::RECORD,
        pause::KEY,
        ilo::KEY,
        out_of_band::WORK,
        ABORTED,
        plans::CLEAN_WITHOUT,
        plans::SERVICE_WITHOUT,
    ] {
        node.driver_internal_info.remove(key);
    }
    for step in [&mut node.deploy_step, &mut node.clean_step, &mut node.service_step] {
        step.clear();
    }
}

fn in_step(flow: Flow, step: &PlannedStep, failure: Failure) -> Failure {
    let flow = match flow {
        Flow::Deploy => "Deploy",
        Flow::Clean => "Clean",
        Flow::Service => "Service",
    };
    match failure {
        Failure::Node(reason) => Failure::Node(format!("{flow} step {} failed: {reason}", step.label())),
        store @ Failure::Store(_) => store,
    }
}
