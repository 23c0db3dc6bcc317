//! `deploy.prepare_instance_boot`: the firmware will boot the written disk.

use async_trait::async_trait;
use bessemer_proto::step::{SetBootEntryArguments, SetBootEntryResult, names::SET_BOOT_ENTRY};

use super::{
    Progress, Step, Waiting,
    agent_step::{self, Ended},
    record::Record,
};
use crate::{
    bmc::BootSource,
    node::Node,
    reconcile::{context::Context, error::Failure, machine},
};

pub(super) struct PrepareInstanceBoot;

#[async_trait]
impl Step for PrepareInstanceBoot {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        match agent_step::ended::<SetBootEntryResult>(node, cx, SET_BOOT_ENTRY).await? {
            None => {
                let receipt = Record::of(node)?.receipt.ok_or_else(|| {
                    Failure::Node("no image was written before: deploy the node again".to_owned())
                })?;
                let arguments = SetBootEntryArguments { device: receipt.device, label: None };
                let within = cx.config.agent_step_timeout;
                agent_step::start(node, cx, SET_BOOT_ENTRY, &arguments, within).await?;
                Ok(Progress::Wait)
            }
            Some(Ended::NotYet) => Ok(Progress::Wait),
            Some(Ended::With(entry)) => {
                let mut record = Record::of(node)?;
                record.boot_entry = Some(entry);
                record.keep(node)?;
                cx.doing(node, "waiting for the BMC to set the boot device", cx.config.power_timeout())
                    .await?;
                if let Some(device) = cx.bmc(node)?.boot_device {
                    let choose = || device.boot_always(BootSource::Disk);
                    machine::insist(node, cx, "choose the boot device", choose).await?;
                }
                Ok(Progress::Done)
            }
        }
    }

    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        agent_step::waiting(node, cx, SET_BOOT_ENTRY).await
    }
}
