//! Running one in-band step: given to the agent once, asked after until it ends.

use std::time::Duration;

use bessemer_proto::ids::StepId;
use chrono::Utc;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{Waiting, record::Record};
use crate::{
    agents::SessionInfo,
    node::{Node, PowerState},
    reconcile::{
        context::Context,
        error::{Failure, sentence},
    },
    store::{StepOutcome, StepRow},
};

/// The agent ends a step itself at its deadline; its report may take this much longer.
const REPORT_WITHIN: Duration = Duration::from_secs(30);
const POWER_EVERY: Duration = Duration::from_secs(30);
/// The same while the agent is not connected.
const POWER_EVERY_WITHOUT_AGENT: Duration = Duration::from_secs(5);
const POWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two readings that must agree before a machine counts as off.
const POWER_AGAIN: Duration = Duration::from_secs(2);

/// How an in-band step ended.
pub(super) enum Ended<R> {
    /// It runs.
    NotYet,
    /// With this result.
    With(R),
}

/// Gives a step to the agent. The step is stored and noted in the node before it is sent.
pub(super) async fn start<A: Serialize>(
    node: &mut Node,
    cx: &Context,
    name: &'static str,
    arguments: &A,
    within: u32,
) -> Result<(), Failure> {
    let mut record = Record::of(node)?;
    let row = StepRow {
        id: StepId::random(),
        node: node.uuid,
        boot: record.boot()?,
        name: name.to_owned(),
        attempt: 1,
        arguments: serde_json::to_value(arguments)?,
        deadline_seconds: within,
        outcome: None,
        created: Utc::now(),
    };
    if let Some(session) = cx.fleet.session(node.uuid) {
        refuse_old_agent(&session, name)?;
    }
    cx.store.create_step(&row).await?;
    record.steps.insert(name.to_owned(), row.id);
    record.keep(node)?;
    cx.save(node).await?;
    send(node, cx, row.id).await
}

/// What became of a step that was started; `None` when it was not.
pub(super) async fn ended<R: DeserializeOwned>(
    node: &Node,
    cx: &Context,
    name: &'static str,
) -> Result<Option<Ended<R>>, Failure> {
    let Some(id) = Record::of(node)?.steps.get(name).copied() else { return Ok(None) };
    match cx.store.step(id).await?.outcome {
        None => Ok(Some(Ended::NotYet)),
        Some(StepOutcome::Failed(error)) => Err(Failure::Node(format!("the agent's {name}: {error}"))),
        Some(StepOutcome::Succeeded(result)) => {
            serde_json::from_value(result).map(|result| Some(Ended::With(result))).map_err(|error| {
                Failure::Node(format!(
                    "the agent's {name} succeeded, but its result cannot be read ({error}): the deploy ISO and \
                     the controller are of different versions"
                ))
            })
        }
    }
}

/// Whether a started step has ended; looks after agent and machine while it has not.
pub(super) async fn waiting(node: &Node, cx: &Context, name: &'static str) -> Result<Waiting, Failure> {
    let Some(id) = Record::of(node)?.steps.get(name).copied() else { return Ok(Waiting::Over) };
    let row = cx.store.step(id).await?;
    if row.outcome.is_some() {
        return Ok(Waiting::Over);
    }
    let session = cx.fleet.session(node.uuid);
    if let Some(session) = &session {
        if session.boot != row.boot {
            return Err(Failure::Node(format!(
                "the machine booted the deploy ramdisk anew while the agent's {name} ran"
            )));
        }
        if cx.memory.of(node.uuid).sent != Some((id, session.since)) {
            send(node, cx, id).await?;
        }
        let last_seen = Some(session.last_seen);
        cx.memory.change(node.uuid, |memory| memory.last_seen = last_seen);
    }
    if is_off(node, cx, session.is_some()).await && cx.store.step(id).await?.outcome.is_none() {
        return Err(Failure::Node(format!(
            "the machine is powered off, but the agent's {name} had not ended"
        )));
    }
    Ok(Waiting::Still { reason: reason(node, cx, &row, session.is_some()), until: deadline(&row) })
}

async fn send(node: &Node, cx: &Context, id: StepId) -> Result<(), Failure> {
    let since = cx.fleet.session(node.uuid).map(|session| session.since);
    if cx.fleet.send_step(node.uuid, id).await? {
        cx.memory.change(node.uuid, |memory| memory.sent = since.map(|since| (id, since)));
    }
    Ok(())
}

fn refuse_old_agent(session: &SessionInfo, name: &str) -> Result<(), Failure> {
    if session.supported_steps.iter().any(|step| step == name) {
        return Ok(());
    }
    Err(Failure::Node(format!(
        "the agent (version {}) has no step {name}: build the deploy ISO with the agent of this controller",
        session.agent_version
    )))
}

fn deadline(row: &StepRow) -> chrono::DateTime<Utc> {
    row.created + Duration::from_secs(row.deadline_seconds.into()) + REPORT_WITHIN
}

fn reason(node: &Node, cx: &Context, row: &StepRow, is_connected: bool) -> String {
    let waiting = format!("waiting for the agent to end {}", row.name);
    if is_connected {
        return waiting;
    }
    match cx.memory.of(node.uuid).last_seen {
        Some(seen) => {
            format!(
                "{waiting}; the agent has not been heard of since {}",
                seen.format("%Y-%m-%d %H:%M:%S UTC")
            )
        }
        None => format!("{waiting}; the agent has not been heard of since the controller started"),
    }
}

/// Asks the BMC now and then; only two readings in a row count, and no answer does not.
pub(super) async fn is_off(node: &Node, cx: &Context, is_connected: bool) -> bool {
    let every = if is_connected { POWER_EVERY } else { POWER_EVERY_WITHOUT_AGENT };
    let is_due = cx.memory.of(node.uuid).power_read.is_none_or(|at| at.elapsed() >= every);
    if !is_due {
        return false;
    }
    cx.memory.change(node.uuid, |memory| memory.power_read = Some(Instant::now()));
    if read_power(node, cx).await != Some(PowerState::Off) {
        return false;
    }
    tokio::time::sleep(POWER_AGAIN).await;
    read_power(node, cx).await == Some(PowerState::Off)
}

async fn read_power(node: &Node, cx: &Context) -> Option<PowerState> {
    let bmc = (cx.open_bmc)(node).ok()?;
    match tokio::time::timeout(POWER_WITHIN, bmc.power.state()).await {
        Ok(Ok(state)) => Some(state),
        Ok(Err(error)) => {
            tracing::debug!(node = %node.uuid, error = sentence(&error), "the power state cannot be read");
            None
        }
        Err(_) => None,
    }
}
