//! Ironic's reserved steps: the controller itself runs them, whatever interface they are given for.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{Progress, Step, Waiting, current_of, pause, ramdisk_is_needed_later};
use crate::{
    node::Node,
    reconcile::{context::Context, deploy, error::Failure, machine},
};

pub(super) fn step_of(name: &str) -> Option<&'static dyn Step> {
    Some(match name {
        "hold" => &Hold,
        "wait" => &Wait,
        "power_on" => &PowerOn,
        "power_off" => &PowerOff,
        "reboot" => &Reboot,
        _ => return None,
    })
}

struct Hold;
struct Wait;
struct PowerOn;
struct PowerOff;
struct Reboot;

#[async_trait]
impl Step for Hold {
    /// `unhold` ends it: it goes to the next step.
    async fn run(&self, _node: &mut Node, _cx: &Context) -> Result<Progress, Failure> {
        Ok(Progress::Hold)
    }
}

#[async_trait]
impl Step for Wait {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let step = current_of(node)?;
        let seconds = step.args.get("seconds").and_then(Value::as_u64).unwrap_or_default();
        let is_over = pause::is_over(node, cx, Duration::from_secs(seconds)).await?;
        Ok(if is_over { Progress::Done } else { Progress::Wait })
    }

    async fn waiting(&self, node: &Node, _cx: &Context) -> Result<Waiting, Failure> {
        pause::waiting(node, "waiting as long as step wait asks for")
    }
}

#[async_trait]
impl Step for PowerOn {
    /// When later steps need an agent, the machine starts with the deploy ramdisk.
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        if deploy::uses_ramdisk(node) && ramdisk_is_needed_later(node)? {
            return deploy::boot_ramdisk(node, cx).await;
        }
        let bmc = cx.bmc(node)?;
        machine::power_on(node, &bmc, cx).await?;
        Ok(Progress::Done)
    }

    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        deploy::waiting_for_ramdisk(node, cx).await
    }
}

#[async_trait]
impl Step for PowerOff {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let bmc = cx.bmc(node)?;
        machine::power_off(node, &bmc, cx).await?;
        deploy::forget_ramdisk(node, cx).await?;
        Ok(Progress::Done)
    }
}

#[async_trait]
impl Step for Reboot {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        if deploy::uses_ramdisk(node) && ramdisk_is_needed_later(node)? {
            // The pause of no length only notes that the old boot was given up.
            if !node.driver_internal_info.contains_key(pause::KEY) {
                deploy::forget_ramdisk(node, cx).await?;
                pause::is_over(node, cx, Duration::ZERO).await?;
            }
            return deploy::boot_ramdisk(node, cx).await;
        }
        let bmc = cx.bmc(node)?;
        machine::power_off(node, &bmc, cx).await?;
        machine::power_on(node, &bmc, cx).await?;
        Ok(Progress::Done)
    }

    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        deploy::waiting_for_ramdisk(node, cx).await
    }
}
