//! `deploy.tear_down_agent`: the deploy ramdisk ends and cannot come back.

use async_trait::async_trait;
use bessemer_proto::step::{NoArguments, names::POWER_OFF};

use super::{Progress, Step, agent_step, record::Record};
use crate::{
    bmc::Bmc,
    node::{Node, PowerState},
    reconcile::{
        context::Context,
        error::{Failure, sentence},
        machine,
    },
};

pub(super) struct TearDownAgent;

#[async_trait]
impl Step for TearDownAgent {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let bmc = cx.bmc(node)?;
        if bmc.power.state().await? == PowerState::On && !agent_powers_off(node, &bmc, cx).await? {
            machine::power_off(node, &bmc, cx).await?;
        }
        node.power_state = Some(PowerState::Off);
        machine::eject_all(node, &bmc, cx).await?;
        cx.fleet.close(node.uuid).await?;
        cx.shelf.remove(node.uuid);
        cx.config_drives.remove(node.uuid);
        Ok(Progress::Done)
    }
}

/// Asks the agent, which flushes and stops its disks first. False when the machine is still on afterwards: its
/// disk was flushed by the write, so it may then be cut off.
async fn agent_powers_off(node: &mut Node, bmc: &Bmc, cx: &Context) -> Result<bool, Failure> {
    if cx.fleet.session(node.uuid).is_none() {
        return Ok(false);
    }
    let within = cx.config.power_timeout();
    cx.doing(node, "waiting for the agent to power the machine off", within).await?;
    if !Record::of(node)?.steps.contains_key(POWER_OFF) {
        let deadline = cx.config.power_state_change_timeout;
        agent_step::start(node, cx, POWER_OFF, &NoArguments {}, deadline).await?;
    }
    match bmc.power.wait_for(PowerState::Off, within).await {
        Ok(()) => Ok(true),
        Err(error) => {
            tracing::warn!(node = %node.uuid, error = sentence(&error), "the agent did not power the machine off");
            Ok(false)
        }
    }
}
