//! Waiting until a node has reached a state, by polling.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use serde_json::Value;

use super::{
    client::{Client, ClientError},
    output::printable,
};
use crate::node::ProvisionState;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// What is looked at.
const FIELDS: &str = "uuid,name,provision_state,target_provision_state,last_error,deploy_step,clean_step,\
                      driver_internal_info";

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
    wanted: ProvisionState,
    timeout: Duration,
    mut watch: impl FnMut(Sight<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Value> {
    let start = Instant::now();
    let mut state = String::from("not known");
    loop {
        match client.get(&["nodes", ident], &[("fields", FIELDS.to_owned())]).await {
            Ok(node) => {
                watch(Sight::Node(&node))?;
                node["provision_state"].as_str().unwrap_or("not known").clone_into(&mut state);
                if state == wanted.as_str() {
                    return Ok(node);
                }
                // A state this version does not know is taken for one on the way.
                if state.parse::<ProvisionState>().is_ok_and(|state| !state.is_moving()) {
                    return Err(failure(ident, &node, wanted));
                }
            }
            Err(error) if error.is_transient() => watch(Sight::Silence(&error))?,
            Err(error) => return Err(error.into()),
        }
        if start.elapsed() >= timeout {
            bail!(
                "node {ident} is not {wanted} after {} s, its state is {state}; the controller goes on with it",
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
