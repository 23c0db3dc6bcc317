//! `verifying`: is there a BMC, and does it take our credentials?

use async_trait::async_trait;

use super::State;
use crate::{
    node::Node,
    reconcile::{context::Context, error::Failure, hardware_cache, machine, outcome::Outcome},
};

pub(super) struct Verifying;

#[async_trait]
impl State for Verifying {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        let bmc = cx.bmc(node)?;
        cx.doing(node, "waiting for the BMC to answer", cx.config.power_timeout()).await?;
        machine::read(node, &bmc).await?;
        machine::read_vendor(node, &bmc).await;
        hardware_cache::refresh(node, &bmc, cx).await;
        Ok(Outcome::done())
    }

    async fn clean_up(&self, node: &mut Node, _cx: &Context) {
        node.power_state = None;
    }
}
