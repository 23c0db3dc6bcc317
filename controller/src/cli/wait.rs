//! Waiting until a node has reached a state, by polling.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use serde_json::Value;

use super::{
    client::{Client, ClientError},
    output::printable,
};
use crate::node::{ProvisionState, state::Kind};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// What a node's state is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This one.
    State(ProvisionState),
    /// Any in which nothing is under way.
    Rest,
}

/// What is looked at.
const FIELDS: &str = "uuid,name,provision_state,target_provision_state,last_error,deploy_step,clean_step,\
                      service_step,driver_internal_info";

/// What came of a look at a node.
pub(super) enum Sight<'a> {
    /// The node.
    Node(&'a Value),
    /// The controller does not answer; it may be restarting.
    Silence(&'a ClientError),
}

/// Polls until the node is in `wanted`. A state that the node rests in and that is not `wanted` is an error, with
/// the node's `last_error`; so is the end of `timeout`. `watch` sees every look.
pub(super) async fn until(
    client: &Client,
    ident: &str,
    wanted: impl Into<Wanted>,
    timeout: Duration,
    mut watch: impl FnMut(Sight<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Value> {
    let wanted = wanted.into();
    let start = Instant::now();
    let mut state = String::from("not known");
    loop {
        match client.get(&["nodes", ident], &[("fields", FIELDS.to_owned())]).await {
            Ok(node) => {
                watch(Sight::Node(&node))?;
                node["provision_state"].as_str().unwrap_or("not known").clone_into(&mut state);
                // A state this version does not know is taken for one on the way.
                let known = state.parse::<ProvisionState>().ok();
                let rests = known.is_some_and(|state| !state.is_moving());
                match wanted {
                    Wanted::State(wanted) if state == wanted.as_str() => return Ok(node),
                    Wanted::Rest if rests => return Ok(node),
                    Wanted::State(wanted) if rests => return Err(failure(ident, &node, wanted)),
                    _ if known.is_some_and(|state| state.row().kind == Kind::Hold) => {
                        return Err(held(ident, &state));
                    }
                    _ => {}
                }
            }
            Err(error) if error.is_transient() => watch(Sight::Silence(&error))?,
            Err(error) => return Err(error.into()),
        }
        if start.elapsed() >= timeout {
            bail!(
                "node {ident} is not {} after {} s, its state is {state}; the controller goes on with it",
                match wanted {
                    Wanted::State(wanted) => wanted.as_str(),
                    Wanted::Rest => "at rest",
                },
                timeout.as_secs()
            );
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn failure(ident: &str, node: &Value, wanted: ProvisionState) -> anyhow::Error {
    let state = node["provision_state"].as_str().unwrap_or_default();
    match node["last_error"].as_str() {
        Some(error) => anyhow!("node {ident} is in state \"{state}\": {}", printable(error)),
        None => anyhow!("node {ident} is in state \"{state}\" and will not become {wanted} by itself"),
    }
}

fn held(ident: &str, state: &str) -> anyhow::Error {
    anyhow!(
        "node {ident} is in state \"{state}\": `bessemer node unhold {ident}` lets it go on, `bessemer node abort \
         {ident}` ends it"
    )
}

/// For what the node waits; empty when it does not.
pub(super) fn reason(node: &Value) -> String {
    let info = &node["driver_internal_info"];
    match (info["wait_reason"].as_str(), info["wait_until"].as_str()) {
        (Some(reason), Some(until)) => format!("{reason} (until {until})"),
        (Some(reason), None) => reason.to_owned(),
        (None, _) => String::new(),
    }
}

/// What the node does, in a line; empty when it rests.
pub(super) fn sentence(node: &Value) -> String {
    let step = ["deploy_step", "clean_step", "service_step"]
        .into_iter()
        .find_map(|field| node[field]["step"].as_str());
    let words =
        [node["provision_state"].as_str().unwrap_or_default(), step.unwrap_or_default(), &reason(node)]
            .map(str::to_owned);
    if words[1].is_empty() && words[2].is_empty() {
        return String::new();
    }
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": ")
}

impl From<ProvisionState> for Wanted {
    fn from(state: ProvisionState) -> Self {
        Self::State(state)
    }
}
