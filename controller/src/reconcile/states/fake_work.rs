//! What a fake interface does instead of work: it takes as long as `driver_info` says, and fails when it says so.

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::{
    bmc::fake,
    node::Node,
    reconcile::{context::Context, error::Failure},
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

/// When the work ends that was begun.
pub(super) fn until(node: &Node) -> Result<Option<DateTime<Utc>>, Failure> {
    Ok(node.driver_internal_info.get(UNTIL).cloned().map(serde_json::from_value).transpose()?)
}

/// It was given up.
pub(super) fn forget(node: &mut Node) {
    node.driver_internal_info.remove(UNTIL);
}
