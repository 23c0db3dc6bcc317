//! Steps of the fake interfaces: they take as long as `driver_info` says, and fail when it says so.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Progress, Step, Waiting, current_of, flow_of, pause};
use crate::{
    bmc::fake,
    drivers,
    node::{Node, plan::PlannedStep},
    reconcile::{context::Context, error::Failure},
};

pub(super) fn step_of(step: &PlannedStep) -> Option<&'static dyn Step> {
    if step.step == "trigger_servicewait" {
        return Some(&ServiceWait);
    }
    let is_offered = drivers::fake_steps()
        .iter()
        .any(|offer| offer.interface == step.interface && offer.step == step.step);
    is_offered.then_some(&Fake)
}

struct Fake;
/// A step that waits for something which never happens.
struct ServiceWait;

#[async_trait]
impl Step for Fake {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let step = current_of(node)?;
        let key = format!("fake_{}_delay", step.interface);
        let delay = fake::delay(&node.driver_info, &key)?;
        // Without a delay there is nothing to be remembered.
        if !delay.is_zero() && !pause::is_over(node, cx, delay).await? {
            return Ok(Progress::Wait);
        }
        if fake::failing_steps(&node.driver_info)?.contains(&step.label()) {
            return Err(Failure::Node("fake_fail_step in driver_info asks for this".to_owned()));
        }
        Ok(Progress::Done)
    }

    /// A machine that takes longer than any may is given up, as a real one would be.
    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        let step = current_of(node)?;
        let reason = format!("waiting as long as fake_{}_delay in driver_info asks for", step.interface);
        let latest = deadline(node, cx)?;
        Ok(match pause::waiting(node, reason)? {
            Waiting::Pause { reason, until } if until > latest => Waiting::Still { reason, until: latest },
            waiting => waiting,
        })
    }
}

#[async_trait]
impl Step for ServiceWait {
    async fn run(&self, _node: &mut Node, _cx: &Context) -> Result<Progress, Failure> {
        Ok(Progress::Wait)
    }

    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        Ok(Waiting::Still {
            reason: "waiting for what never happens, as trigger_servicewait asks for: only abort ends it"
                .to_owned(),
            until: deadline(node, cx)?,
        })
    }
}

/// Until when the step under way may wait.
fn deadline(node: &Node, cx: &Context) -> Result<DateTime<Utc>, Failure> {
    let flow = flow_of(node.provision_state);
    let flow = flow.ok_or_else(|| Failure::Node("no step is under way".to_owned()))?;
    let since = node.provision_updated_at.unwrap_or_else(Utc::now);
    Ok(since + cx.config.callback_timeout_of(flow))
}
