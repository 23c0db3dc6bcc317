//! What a fake interface does instead of work: it takes as long as `driver_info` says, and fails when it says so. So
//! far inspections and rescues are done by fake interfaces only.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::{
    bmc::fake,
    node::{Node, ProvisionState},
    reconcile::{
        context::Context,
        error::{Failure, RequestError},
        outcome::Outcome,
    },
};

/// In `driver_internal_info`: when the work ends. Kept over restarts.
const UNTIL: &str = "fake_work_until";

/// Whether it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Done,
    Until(DateTime<Utc>),
}

/// Begins the work, or goes on with it. `step` is its name in `fake_fail_step`, `delay` the key of its length.
pub(super) async fn go_on(node: &mut Node, cx: &Context, step: &str, delay: &str) -> Result<Work, Failure> {
    let until = match until(node)? {
        Some(until) => until,
        None => {
            let length = fake::delay(&node.driver_info, delay)?;
            let until = Utc::now() + length;
            if !length.is_zero() {
                node.driver_internal_info.insert(UNTIL.to_owned(), json!(until));
                cx.save(node).await?;
            }
            until
        }
    };
    if Utc::now() < until {
        return Ok(Work::Until(until));
    }
    forget(node);
    if fake::failing_steps(&node.driver_info)?.iter().any(|failing| failing == step) {
        return Err(Failure::Node(format!("{step} failed: fake_fail_step in driver_info asks for this")));
    }
    Ok(Work::Done)
}

/// Refuses an interface that has no work to do.
pub(super) fn refuse_absent(node: &Node, kind: &str) -> Result<(), Failure> {
    if node.interfaces.get(kind).is_some_and(|name| name == "fake") {
        return Ok(());
    }
    let refusal = RequestError::Unsupported { driver: node.driver.clone(), what: kind.to_owned() };
    Err(Failure::Node(refusal.to_string()))
}

/// What a waiting state does: `working` takes over when the work ends, which must be `within` that time.
pub(super) fn wait(
    node: &Node,
    cx: &Context,
    working: ProvisionState,
    delay: &str,
    within: Duration,
) -> Result<Outcome, Failure> {
    let Some(until) = until(node)?.filter(|until| Utc::now() < *until) else {
        return Ok(Outcome::go(working));
    };
    let reason = format!("waiting as long as {delay} in driver_info asks for");
    let latest = node.provision_updated_at.unwrap_or_else(Utc::now) + within;
    if until > latest {
        cx.wake(node.uuid, latest);
        return Ok(Outcome::wait(reason, latest));
    }
    cx.wake(node.uuid, until);
    Ok(Outcome::pause(reason, until))
}

/// When the work ends that was begun.
fn until(node: &Node) -> Result<Option<DateTime<Utc>>, Failure> {
    Ok(node.driver_internal_info.get(UNTIL).cloned().map(serde_json::from_value).transpose()?)
}

/// It was given up.
pub(super) fn forget(node: &mut Node) {
    node.driver_internal_info.remove(UNTIL);
}
