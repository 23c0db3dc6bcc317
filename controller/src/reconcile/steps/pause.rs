//! A pause within a step, kept over restarts.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::Waiting;
use crate::{
    node::Node,
    reconcile::{context::Context, error::Failure},
};

/// In `driver_internal_info`: when the pause ends.
pub(super) const KEY: &str = "step_pause_until";

/// Begins the pause of the step under way, once; true when it is over.
pub(super) async fn is_over(node: &mut Node, cx: &Context, length: Duration) -> Result<bool, Failure> {
    if let Some(until) = until(node)? {
        return Ok(Utc::now() >= until);
    }
    node.driver_internal_info.insert(KEY.to_owned(), json!(Utc::now() + length));
    cx.save(node).await?;
    Ok(length.is_zero())
}

/// Begins another pause of the step under way; the caller persists the node.
pub(super) fn again(node: &mut Node, length: Duration) {
    node.driver_internal_info.insert(KEY.to_owned(), json!(Utc::now() + length));
}

/// Whether a pause is under way.
pub(super) fn is_running(node: &Node) -> Result<bool, Failure> {
    Ok(until(node)?.is_some_and(|until| Utc::now() < until))
}

/// What a waiting step says during its pause.
pub(super) fn waiting(node: &Node, reason: impl Into<String>) -> Result<Waiting, Failure> {
    Ok(match until(node)? {
        None => Waiting::Over,
        Some(until) => Waiting::Pause { reason: reason.into(), until },
    })
}

fn until(node: &Node) -> Result<Option<DateTime<Utc>>, Failure> {
    Ok(node.driver_internal_info.get(KEY).cloned().map(serde_json::from_value).transpose()?)
}
