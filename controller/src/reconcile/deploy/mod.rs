//! The steps of deploy interface `direct`, one file per step. What they need to be resumed lives in the node's
//! `driver_internal_info`.

mod agent_step;
mod boot_instance;
mod boot_ramdisk;
mod prepare_instance_boot;
mod record;
mod tear_down_agent;
mod write_config_drive;
mod write_image;

use super::{
    context::Context,
    error::Failure,
    machine,
    steps::{Progress, Step, Waiting},
};
use crate::{drivers, node::Node};
use boot_ramdisk::BootRamdisk;
pub(super) use record::KEY as RECORD;
use record::Record;

const LAST: &str = "last_deploy";

/// The visible list of the steps of deploy interface `direct`.
pub(super) fn step_of(step: &str) -> Option<&'static dyn Step> {
    Some(match step {
        "deploy" => &BootRamdisk,
        "write_image" => &write_image::WriteImage,
        "write_config_drive" => &write_config_drive::WriteConfigDrive,
        "prepare_instance_boot" => &prepare_instance_boot::PrepareInstanceBoot,
        "tear_down_agent" => &tear_down_agent::TearDownAgent,
        "boot_instance" => &boot_instance::BootInstance,
        _ => return None,
    })
}

/// A deploy begins: what is known of the last one is out of date.
pub(super) fn forget_last(node: &mut Node) {
    node.driver_internal_info.remove(LAST);
}

/// All steps are done: keeps the receipt, drops the rest. Without a receipt nothing was written, and a machine with
/// its old disk is no success.
pub(super) fn finish(node: &mut Node) -> Result<(), Failure> {
    let record = Record::of(node)?;
    if uses_ramdisk(node) {
        if record.receipt.is_none() {
            return Err(Failure::Node(
                "all deploy steps are done, but none wrote an image: deploy again with deploy.write_image"
                    .to_owned(),
            ));
        }
        node.driver_internal_info.insert(LAST.to_owned(), record.summary()?);
    }
    super::steps::forget(node);
    Ok(())
}

/// A deploy failed: the agent stops, the machine is off, nothing of it is served any more.
pub(super) async fn give_up(node: &mut Node, cx: &Context) {
    cancel_agent_step(node, cx).await;
    machine::abandon(node, cx).await;
}

/// Tells the agent to stop what it is doing, if it is doing something.
pub(super) async fn cancel_agent_step(node: &Node, cx: &Context) {
    let Ok(record) = Record::of(node) else { return };
    for step in record.steps.values() {
        if cx.store.step(*step).await.is_ok_and(|row| row.outcome.is_none()) {
            cx.fleet.cancel_step(node.uuid, *step).await;
        }
    }
}

// === the deploy ramdisk, for steps that change power ===

/// Whether the node's steps run in a deploy ramdisk.
pub(super) fn uses_ramdisk(node: &Node) -> bool {
    drivers::chosen(node, "deploy") == Some("direct")
}

/// Boots the deploy ramdisk unless it is there.
pub(super) async fn boot_ramdisk(node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
    BootRamdisk.run(node, cx).await
}

/// Whether the machine was started with a deploy ramdisk whose agent has not called yet: it may still be read from its
/// media. Afterwards it lives in memory.
pub(super) fn ramdisk_is_starting(node: &Node, cx: &Context) -> Result<bool, Failure> {
    let record = Record::of(node)?;
    Ok(record.boot.is_some() && cx.fleet.session(node.uuid).is_none_or(|s| Some(s.boot) != record.boot))
}

/// What a step that boots the deploy ramdisk says while it waits.
pub(super) async fn waiting_for_ramdisk(node: &Node, cx: &Context) -> Result<Waiting, Failure> {
    BootRamdisk.waiting(node, cx).await
}

/// The deploy ramdisk is gone, and so is the right of its agent to speak for the node.
pub(super) async fn forget_ramdisk(node: &mut Node, cx: &Context) -> Result<(), Failure> {
    let mut record = Record::of(node)?;
    if record.boot.is_none() {
        return Ok(());
    }
    record.boot = None;
    record.booted_at = None;
    record.keep(node)?;
    cx.fleet.close(node.uuid).await?;
    Ok(())
}
