//! The steps of a deploy, one file per step. The plan, the step under way and what it needs to be resumed live in
//! the node's `driver_internal_info`.

mod agent_step;
mod boot_instance;
mod boot_ramdisk;
mod prepare_instance_boot;
mod record;
mod tear_down_agent;
mod write_config_drive;
mod write_image;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{context::Context, error::Failure};
use crate::node::{
    Dictionary, Node,
    plan::{self, PlannedStep},
};
use record::Record;

const PLAN: &str = "deploy_steps";
const INDEX: &str = "deploy_step_index";
const LAST: &str = "last_deploy";

/// One step of a deploy.
#[async_trait]
pub(crate) trait DeployStep: Send + Sync {
    /// Does what can be done now. Called again until it says [`Progress::Done`], also after a restart.
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure>;

    /// Whether the wait for the agent is over. Changes nothing.
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
    /// It goes on when the agent has answered.
    AwaitAgent,
}

/// A wait for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The step can go on.
    Over,
    /// Not yet.
    Still {
        /// For what.
        reason: String,
        /// Until when.
        until: DateTime<Utc>,
    },
}

/// The visible list of steps.
pub(crate) fn step_of(step: &PlannedStep) -> Result<&'static dyn DeployStep, Failure> {
    Ok(match (step.interface.as_str(), step.step.as_str()) {
        ("deploy", "deploy") => &boot_ramdisk::BootRamdisk,
        ("deploy", "write_image") => &write_image::WriteImage,
        ("deploy", "write_config_drive") => &write_config_drive::WriteConfigDrive,
        ("deploy", "prepare_instance_boot") => &prepare_instance_boot::PrepareInstanceBoot,
        ("deploy", "tear_down_agent") => &tear_down_agent::TearDownAgent,
        ("deploy", "boot_instance") => &boot_instance::BootInstance,
        _ => return Err(Failure::Node(format!("there is no deploy step {}", step.label()))),
    })
}

/// A deploy begins: the plan is made, nothing of an older one is left.
pub(crate) fn begin(node: &mut Node) -> Result<(), serde_json::Error> {
    forget(node);
    node.driver_internal_info.remove(LAST);
    node.driver_internal_info.insert(PLAN.to_owned(), serde_json::to_value(plan::deploy())?);
    node.driver_internal_info.insert(INDEX.to_owned(), json!(0));
    Ok(())
}

/// The step under way; `None` when all are done.
pub(crate) fn current_step(node: &Node) -> Result<Option<PlannedStep>, Failure> {
    let plan = node.driver_internal_info.get(PLAN).cloned().unwrap_or(Value::Null);
    let plan: Vec<PlannedStep> = serde_json::from_value(plan)?;
    Ok(plan.into_iter().nth(index(node)?))
}

/// Shows the step under way in `deploy_step`; true when that is news.
pub(crate) fn show_step(node: &mut Node, step: &PlannedStep) -> Result<bool, Failure> {
    let shown: Dictionary = match serde_json::to_value(step)? {
        Value::Object(map) => map.into_iter().filter(|(key, _)| key != "args").collect(),
        _ => Dictionary::new(),
    };
    let is_news = node.deploy_step != shown;
    node.deploy_step = shown;
    Ok(is_news)
}

/// The step under way is done.
pub(crate) fn next_step(node: &mut Node) -> Result<(), Failure> {
    let next = index(node)? + 1;
    node.driver_internal_info.insert(INDEX.to_owned(), json!(next));
    Ok(())
}

/// All steps are done: keeps the receipt, drops the rest.
pub(crate) fn finish(node: &mut Node) -> Result<(), Failure> {
    let record = Record::of(node)?;
    forget(node);
    node.driver_internal_info.insert(LAST.to_owned(), record.summary()?);
    Ok(())
}

/// Nothing of a deploy is left in the node.
pub(crate) fn forget(node: &mut Node) {
    for key in [PLAN, INDEX, record::KEY] {
        node.driver_internal_info.remove(key);
    }
    node.deploy_step.clear();
}

/// Tells the agent to stop what it is doing, if it is doing something.
pub(crate) async fn cancel_agent_step(node: &Node, cx: &Context) {
    let Ok(record) = Record::of(node) else { return };
    for step in record.steps.values() {
        if cx.store.step(*step).await.is_ok_and(|row| row.outcome.is_none()) {
            cx.fleet.cancel_step(node.uuid, *step).await;
        }
    }
}

fn index(node: &Node) -> Result<usize, Failure> {
    Ok(serde_json::from_value(node.driver_internal_info.get(INDEX).cloned().unwrap_or(json!(0)))?)
}
