//! `deploy.boot_instance`: the machine starts what was written.

use async_trait::async_trait;

use super::{Progress, Step};
use crate::{
    bmc::Bmc,
    node::{Node, firmware::WantedFirmware},
    reconcile::{context::Context, error::Failure, machine},
};

pub(super) struct BootInstance;

#[async_trait]
impl Step for BootInstance {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let bmc = cx.bmc(node)?;
        is_secure(node, &bmc, cx).await?;
        machine::power_on(node, &bmc, cx).await?;
        // It runs what was written: what else the BMC tells is read by the next power synchronisation.
        if let Err(error) = machine::read(node, &bmc).await {
            tracing::warn!(node = %node.uuid, %error, "the machine runs, but its BMC cannot be read");
        }
        Ok(Progress::Done)
    }
}

/// Firmware applies a change of Secure Boot in a self-test, and some firmware drops it without a word: the self-test of the
/// deploy ramdisk was the chance.
async fn is_secure(node: &mut Node, bmc: &Bmc, cx: &Context) -> Result<(), Failure> {
    let wanted = WantedFirmware::of(node).map_err(|error| Failure::Node(error.to_string()))?.secure_boot;
    let (Some(wanted), Some(control)) = (wanted, &bmc.secure_boot) else { return Ok(()) };
    match machine::insist(node, cx, "read whether Secure Boot is on", || control.enabled()).await? {
        Some(found) if found != wanted => Err(Failure::Node(format!(
            "capability secure_boot:{wanted} of the instance was asked for, but Secure Boot is {} after the self-test: the \
             firmware has not applied it",
            if found { "on" } else { "off" }
        ))),
        _ => Ok(()),
    }
}
