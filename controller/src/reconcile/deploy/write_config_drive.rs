//! `deploy.write_config_drive`: the agent puts the node's config drive, if it has one, on the written disk.

use async_trait::async_trait;
use bessemer_proto::step::{WriteConfigDriveArguments, WriteConfigDriveResult, names::WRITE_CONFIG_DRIVE};

use super::{
    Progress, Step, Waiting,
    agent_step::{self, Ended},
    record::Record,
};
use crate::{
    config_drive::{self, ConfigDrives},
    node::Node,
    reconcile::{context::Context, error::Failure},
};

pub(super) struct WriteConfigDrive;

#[async_trait]
impl Step for WriteConfigDrive {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        match agent_step::ended::<WriteConfigDriveResult>(node, cx, WRITE_CONFIG_DRIVE).await? {
            None => start(node, cx).await,
            Some(Ended::NotYet) => Ok(Progress::Wait),
            Some(Ended::With(result)) => {
                tracing::info!(
                    node = %node.uuid, device = result.device, partition = result.partition,
                    bytes = result.bytes_written, reused = result.reused, "config drive written"
                );
                cx.config_drives.remove(node.uuid);
                let mut record = Record::of(node)?;
                record.config_drive = Some(result);
                record.keep(node)?;
                Ok(Progress::Done)
            }
        }
    }

    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        offer_again(node, cx).await?;
        agent_step::waiting(node, cx, WRITE_CONFIG_DRIVE).await
    }
}

async fn start(node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
    if config_drive::of(node).is_none() {
        return Ok(Progress::Done);
    }
    cx.doing(node, "waiting for the config drive to be made ready", ConfigDrives::stage_timeout()).await?;
    let receipt = Record::of(node)?
        .receipt
        .ok_or_else(|| Failure::Node("no image was written before: deploy the node again".to_owned()))?;
    let Some(offer) = cx.config_drives.stage(node, None).await? else { return Ok(Progress::Done) };
    let arguments = WriteConfigDriveArguments {
        device: receipt.device,
        url: offer.url,
        digest: offer.digest,
        ca_pem: offer.ca_pem,
    };
    agent_step::start(node, cx, WRITE_CONFIG_DRIVE, &arguments, cx.config.agent_step_timeout).await?;
    Ok(Progress::Wait)
}

/// What is offered lives in memory: after a restart of the controller an agent that was told of it asks in vain, and
/// asks again.
async fn offer_again(node: &Node, cx: &Context) -> Result<(), Failure> {
    let Some(step) = Record::of(node)?.steps.get(WRITE_CONFIG_DRIVE).copied() else { return Ok(()) };
    if cx.config_drives.has(node.uuid) {
        return Ok(());
    }
    let row = cx.store.step(step).await?;
    if row.outcome.is_none() {
        let arguments: WriteConfigDriveArguments = serde_json::from_value(row.arguments)?;
        let staged = cx.config_drives.stage(node, ConfigDrives::key_of(&arguments.url)).await;
        if let Err(error) = staged {
            // The agent may have it already; if not, the next look tries again until the step's time is up.
            tracing::warn!(node = %node.uuid, %error, "the config drive is not ready again");
        }
    }
    Ok(())
}
