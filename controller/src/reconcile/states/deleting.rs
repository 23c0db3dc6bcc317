//! `deleting`: takes a deployment down.

use async_trait::async_trait;

use super::State;
use crate::{
    node::{Node, ProvisionState},
    reconcile::{
        allocations, context::Context, deploy, error::Failure, lessee, machine, outcome::Outcome, steps, vifs,
    },
};

pub(super) struct Deleting;

#[async_trait]
impl State for Deleting {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        deploy::cancel_agent_step(node, cx).await;
        let bmc = cx.bmc(node)?;
        machine::power_off(node, &bmc, cx).await?;
        machine::eject_all(node, &bmc, cx).await?;
        cx.fleet.close(node.uuid).await?;
        cx.shelf.remove(node.uuid);
        cx.config_drives.remove(node.uuid);
        vifs::forget(cx, node.uuid).await?;
        allocations::forget(cx, node).await?;
        forget_instance(node);
        Ok(Outcome::go(ProvisionState::Cleaning))
    }

    /// The instance is gone even when its machine cannot be reached, as in Ironic; its agent is shut out.
    async fn clean_up(&self, node: &mut Node, cx: &Context) {
        cx.shelf.remove(node.uuid);
        cx.config_drives.remove(node.uuid);
        if let Err(error) = cx.fleet.close(node.uuid).await {
            tracing::warn!(node = %node.uuid, %error, "could not close the node's boots");
        }
        if let Err(error) = vifs::forget(cx, node.uuid).await {
            tracing::warn!(node = %node.uuid, %error, "could not detach the node's VIFs");
        }
        if let Err(error) = allocations::forget(cx, node).await {
            tracing::warn!(node = %node.uuid, %error, "could not remove the node's allocation");
        }
        forget_instance(node);
    }
}

fn forget_instance(node: &mut Node) {
    node.instance_info.clear();
    node.instance_uuid = None;
    node.instance_name = None;
    lessee::forget(node);
    steps::forget(node);
}
