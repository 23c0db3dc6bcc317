//! `deploy.boot_instance`: the machine starts what was written.

use async_trait::async_trait;

use super::{Progress, Step};
use crate::{
    node::Node,
    reconcile::{context::Context, error::Failure, machine},
};

pub(super) struct BootInstance;

#[async_trait]
impl Step for BootInstance {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let bmc = cx.bmc(node)?;
        machine::power_on(node, &bmc, cx).await?;
        machine::read(node, &bmc).await?;
        Ok(Progress::Done)
    }
}
