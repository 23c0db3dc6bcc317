//! What all tasks of BMCs have in common: restarts of the machine, looks in between, a deadline, resumption.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{At, Started, Task};
use crate::{
    bmc::{Bmc, BmcError, Job, Outcome, PowerAction},
    node::{Node, PowerState},
    reconcile::{
        context::Context,
        deploy,
        error::{Failure, sentence},
        machine,
        steps::{Progress, Step, Waiting, current_of, pause, ramdisk_is_needed_later},
    },
};

/// In `driver_internal_info`: how far the task under way is.
pub(in crate::reconcile::steps) const WORK: &str = "out_of_band_work";

/// A task that has not begun at so many looks in a row waits for the machine to start anew.
const IDLE_LOOKS: u32 = 2;

/// Makes a step of a task.
pub(super) struct Machinery(pub(super) &'static dyn Task);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// It is to be asked for.
    #[default]
    Ask,
    /// The machine is to start anew.
    Restart,
    /// The BMC works on it.
    Look,
    /// The machine is to be left as it was found.
    End,
}

/// A restart in the self-test that writes firmware may cost the machine: none is asked for twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Restart {
    #[default]
    Wanted,
    /// The machine was off: now it is to be on.
    Off,
    /// Asked for in one request.
    Asked,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Work {
    phase: Phase,
    part: usize,
    /// What is asked for; kept before it is asked for.
    #[serde(default)]
    plan: Value,
    /// It is being asked for, or was when the controller was killed.
    #[serde(default)]
    asking: bool,
    /// How far the restart of the machine is.
    #[serde(default)]
    restart: Restart,
    job: Option<Job>,
    until: Option<DateTime<Utc>>,
    /// The machine was off before the task.
    was_off: bool,
    has_restarted: bool,
    /// Looks in a row at which the BMC had not begun.
    #[serde(default)]
    idle_looks: u32,
    /// An agent was there before the task.
    had_ramdisk: bool,
    /// What the BMC last said.
    note: Option<String>,
}

impl Work {
    fn of(node: &Node) -> Result<Self, Failure> {
        let kept = node.driver_internal_info.get(WORK).cloned();
        Ok(kept.map(serde_json::from_value).transpose()?.unwrap_or_default())
    }

    async fn keep(&self, node: &mut Node, cx: &Context) -> Result<(), Failure> {
        node.driver_internal_info.insert(WORK.to_owned(), serde_json::to_value(self)?);
        cx.save(node).await
    }
}

#[async_trait]
impl Step for Machinery {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let step = current_of(node)?;
        let bmc = cx.bmc(node)?;
        let mut work = Work::of(node)?;
        loop {
            let plan = work.plan.clone();
            let at = At { bmc: &bmc, cx, args: &step.args, part: work.part, plan: &plan, resumed: false };
            match work.phase {
                Phase::Ask => self.ask(node, &at, &mut work).await?,
                Phase::Restart => {
                    restart(node, &bmc, cx, &mut work).await?;
                    work.phase = Phase::Look;
                }
                Phase::Look => {
                    if pause::is_running(node)? || !self.look(node, &at, &mut work).await? {
                        return Ok(Progress::Wait);
                    }
                }
                Phase::End => return end(node, &bmc, cx, &mut work).await,
            }
            work.keep(node, cx).await?;
        }
    }

    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        let work = Work::of(node)?;
        if work.phase == Phase::End {
            return deploy::waiting_for_ramdisk(node, cx).await;
        }
        let note = work.note.map(|note| format!(": {note}")).unwrap_or_default();
        let until =
            work.until.map(|until| format!(", until {}", until.format("%H:%M:%S UTC"))).unwrap_or_default();
        pause::waiting(
            node,
            format!("waiting for the BMC to carry out {}{until}{note}", current_of(node)?.label()),
        )
    }
}

impl Machinery {
    async fn ask(&self, node: &mut Node, at: &At<'_>, work: &mut Work) -> Result<(), Failure> {
        let resumed = work.asking;
        if !resumed {
            if work.part == 0 {
                work.was_off = at.bmc.power.state().await? == PowerState::Off;
            }
            work.plan = self.0.prepare(node, at).await?;
            work.asking = true;
            work.keep(node, at.cx).await?;
        }
        let within = at.cx.config.out_of_band_timeout();
        work.until = Some(Utc::now() + within);
        (work.has_restarted, work.restart, work.idle_looks) = (false, Restart::Wanted, 0);
        let plan = work.plan.clone();
        let at = At { plan: &plan, resumed, ..*at };
        let started = tokio::time::timeout(within, self.0.start(node, &at)).await;
        let seconds = within.as_secs();
        match started
            .map_err(|_| Failure::Node(format!("it could not be asked for within {seconds} s")))??
        {
            Started::Done => self.next(node, &at, work).await?,
            Started::Running { job, restart } => {
                work.job = job;
                work.phase = if restart { Phase::Restart } else { Phase::Look };
            }
        }
        work.asking = false;
        Ok(())
    }

    /// Looks at it once; false: it goes on after a pause.
    async fn look(&self, node: &mut Node, at: &At<'_>, work: &mut Work) -> Result<bool, Failure> {
        let note = match self.0.look(at, work.job.as_ref()).await {
            Ok(Outcome::Done) => {
                self.next(node, at, work).await?;
                return Ok(true);
            }
            Ok(Outcome::NeedsRestart) if !work.has_restarted && self.0.may_restart(at) => {
                work.idle_looks += 1;
                if work.idle_looks >= IDLE_LOOKS {
                    work.phase = Phase::Restart;
                    return Ok(true);
                }
                None
            }
            Ok(Outcome::Failed(reason)) => {
                return Err(Failure::Node(format!("the BMC failed at it: {reason}")));
            }
            Ok(Outcome::NeedsRestart) => Some("the BMC has not begun".to_owned()),
            Ok(Outcome::Pending(percent)) => {
                work.idle_looks = 0;
                percent.map(|percent| format!("{} %", percent.min(100)))
            }
            // BMCs are busy, or restart themselves, while they work.
            Err(error) if may_pass(&error) => Some(sentence(&error)),
            Err(error) => return Err(error.into()),
        };
        if work.until.is_some_and(|until| Utc::now() >= until) {
            let seconds = at.cx.config.out_of_band_step_timeout;
            let last = match self.0.missing(at).await {
                Some(missing) => format!("; {missing}"),
                None => note.map(|note| format!("; the last news: {note}")).unwrap_or_default(),
            };
            return Err(Failure::Node(format!("the BMC is not done after {seconds} s{last}")));
        }
        work.note = note;
        pause::again(node, at.cx.config.out_of_band_interval());
        work.keep(node, at.cx).await?;
        Ok(false)
    }

    async fn next(&self, node: &mut Node, at: &At<'_>, work: &mut Work) -> Result<(), Failure> {
        work.part += 1;
        work.phase = Phase::Ask;
        if work.part >= self.0.parts(at.args) {
            self.0.end(node, at).await?;
            work.phase = Phase::End;
        }
        (work.job, work.note, work.plan) = (None, None, Value::Null);
        Ok(())
    }
}

async fn restart(node: &mut Node, bmc: &Bmc, cx: &Context, work: &mut Work) -> Result<(), Failure> {
    if work.restart == Restart::Wanted {
        work.had_ramdisk |= deploy::uses_ramdisk(node) && cx.fleet.session(node.uuid).is_some();
        work.keep(node, cx).await?;
        deploy::forget_ramdisk(node, cx).await?;
    }
    match (work.restart, node.disable_power_off) {
        (Restart::Asked, _) => {}
        (Restart::Wanted, true) => {
            work.restart = Restart::Asked;
            work.keep(node, cx).await?;
            cx.doing(node, "waiting for the machine to be restarted", cx.config.power_timeout()).await?;
            let action = if bmc.power.state().await? == PowerState::On {
                PowerAction::ForceRestart
            } else {
                PowerAction::On
            };
            bmc.power.set(action).await?;
        }
        (Restart::Wanted, false) => {
            machine::power_off(node, bmc, cx).await?;
            work.restart = Restart::Off;
            work.keep(node, cx).await?;
            machine::power_on(node, bmc, cx).await?;
        }
        (Restart::Off, _) => machine::power_on(node, bmc, cx).await?,
    }
    bmc.power.wait_for(PowerState::On, cx.config.power_timeout()).await?;
    work.has_restarted = true;
    // The first look is worth nothing before the firmware had its turn.
    pause::again(node, cx.config.out_of_band_interval().min(Duration::from_secs(60)));
    Ok(())
}

/// Leaves the machine as it was found: off, or with its agent when later steps need one.
async fn end(node: &mut Node, bmc: &Bmc, cx: &Context, work: &mut Work) -> Result<Progress, Failure> {
    if work.had_ramdisk && ramdisk_is_needed_later(node)? {
        return deploy::boot_ramdisk(node, cx).await;
    }
    if work.was_off && !node.disable_power_off {
        machine::power_off(node, bmc, cx).await?;
    }
    Ok(Progress::Done)
}

/// BMCs that start are busy, or know nothing of their resources yet.
fn may_pass(error: &BmcError) -> bool {
    error.passing() || matches!(error, BmcError::Refused { status: 404, .. })
}
