//! `adopting`: a machine that already runs is taken over as it is. Nothing of it is changed, its power least of all.

use async_trait::async_trait;

use super::State;
use crate::{
    node::Node,
    reconcile::{context::Context, error::Failure, machine, outcome::Outcome, validate},
};

pub(super) struct Adopting;

#[async_trait]
impl State for Adopting {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        validate::adoptable(cx, node).map_err(|reason| {
            Failure::Node(format!("Error while attempting to adopt node {}: {reason}", node.uuid))
        })?;
        let bmc = cx.bmc(node)?;
        cx.doing(node, "waiting for the BMC to answer", cx.config.power_timeout()).await?;
        machine::read(node, &bmc).await?;
        Ok(Outcome::done())
    }

    /// What is known of its power is probably wrong, as in Ironic.
    async fn clean_up(&self, node: &mut Node, _cx: &Context) {
        node.power_state = None;
    }
}
