//! Steps of management interface `ilo`, with the names of Ironic's: they act on the BMC, not on the running system.

use std::time::Duration;

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use serde_json::{Value, json};

use super::{Progress, Step, Waiting, current_of, ramdisk_is_needed_later};
use crate::{
    bmc::{Bmc, BmcError, Changed, KeyChange},
    node::{Node, ProvisionState, plan::PlannedStep},
    reconcile::{context::Context, deploy, error::Failure},
};

/// In `driver_internal_info` while a step is under way that must not be done twice: it may have been done.
pub(super) const KEY: &str = "ilo_step_begun";
const PASSWORD: &str = "ilo_password";
const NEW_PASSWORD: &str = "ilo_change_password";
/// How long a restart of an iLO is shown to take at most.
const AWAY: Duration = Duration::from_secs(330);
const SHORTLY: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn step_of(step: &PlannedStep) -> Option<&'static dyn Step> {
    Some(match (step.interface.as_str(), step.step.as_str()) {
        ("management", "reset_ilo") => &Reset,
        ("management", "reset_ilo_credential") => &Credential,
        ("management", "reset_bios_to_default") => &Bios,
        ("management", "reset_secure_boot_keys_to_default") => &Keys(KeyChange::ResetToDefault),
        ("management", "clear_secure_boot_keys") => &Keys(KeyChange::Clear),
        _ => return None,
    })
}

struct Reset;
struct Credential;
struct Bios;
struct Keys(KeyChange);

#[async_trait]
impl Step for Reset {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let bmc = cx.bmc(node)?;
        let mut is_done = begun(node) == Some("boot");
        if begun(node) == Some("reset") {
            // Another life of the controller was about to ask for it. An iLO that is up may have been asked or not: it is
            // better restarted twice than not at all.
            cx.doing(node, "waiting for the iLO to answer after its restart", AWAY).await?;
            is_done = until_it_answers(&bmc).await?;
        }
        if !is_done {
            begin(node, "reset");
            cx.doing(node, "waiting for the iLO to restart", AWAY).await?;
            let manager = bmc.manager.as_ref().ok_or_else(|| lacks("be restarted"))?;
            manager.reset().await?;
        }
        // Its virtual media are gone: a ramdisk that has not read them to the end must boot again.
        if deploy::uses_ramdisk(node) && ramdisk_is_needed_later(node)? {
            if begun(node) != Some("boot") {
                if !deploy::ramdisk_is_starting(node, cx)? {
                    return Ok(Progress::Done);
                }
                deploy::forget_ramdisk(node, cx).await?;
                begin(node, "boot");
                cx.save(node).await?;
            }
            return deploy::boot_ramdisk(node, cx).await;
        }
        Ok(Progress::Done)
    }

    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        match begun(node) {
            Some("boot") => deploy::waiting_for_ramdisk(node, cx).await,
            _ => Ok(Waiting::Over),
        }
    }
}

#[async_trait]
impl Step for Credential {
    /// The password is changed at the iLO first and in the node afterwards. Between the two, and after a crash there, the
    /// node holds both: the new one is tried first, once, then the old one.
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let Some(new) = text(node, NEW_PASSWORD) else {
            tracing::info!(node = %node.uuid, "driver_info has no {NEW_PASSWORD}: the iLO keeps its password");
            return Ok(Progress::Done);
        };
        let mut renewed = node.clone();
        renewed.driver_info.insert(PASSWORD.to_owned(), json!(new));
        // Refuses a password that cannot be used before the iLO gets it.
        let with_new = cx.bmc(&renewed)?;
        let resumed = begun(node).is_some();
        begin(node, "credential");
        cx.doing(node, "waiting for the iLO to take its new password", SHORTLY).await?;
        let has_it = match resumed {
            true => takes(&with_new).await.map_err(Failure::from)?,
            false => false,
        };
        if !has_it {
            give(&cx.bmc(node)?, &with_new, &Secret::new(new.clone())).await?;
        }
        node.driver_info.insert(PASSWORD.to_owned(), json!(new));
        node.driver_info.remove(NEW_PASSWORD);
        cx.save(node).await?;
        tracing::info!(node = %node.uuid, "the iLO has a new password");
        Ok(Progress::Done)
    }
}

#[async_trait]
impl Step for Bios {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let bmc = cx.bmc(node)?;
        cx.doing(node, "waiting for the iLO to take the settings of the firmware", SHORTLY).await?;
        let done = match &bmc.bios {
            Some(bios) => bios.reset().await,
            None => return skipped(node, "reset settings of the firmware"),
        };
        settle(node, done)
    }
}

#[async_trait]
impl Step for Keys {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let bmc = cx.bmc(node)?;
        cx.doing(node, "waiting for the iLO to take the keys of Secure Boot", SHORTLY).await?;
        let done = match &bmc.secure_boot {
            Some(secure_boot) => secure_boot.change_keys(self.0).await,
            None => return skipped(node, "change keys of Secure Boot"),
        };
        settle(node, done)
    }
}

/// Gives the iLO its new password and sees that it takes it.
async fn give(bmc: &Bmc, with_new: &Bmc, new: &Secret) -> Result<(), Failure> {
    let manager = bmc.manager.as_ref().ok_or_else(|| lacks("have a password changed"))?;
    let refused = match manager.change_password(new).await {
        Ok(_) => None,
        // An attempt that seemed to fail may have worked.
        Err(error @ BmcError::Credentials { .. }) => Some(error),
        Err(error) => return Err(error.into()),
    };
    match (takes(with_new).await, &refused) {
        (Ok(true), _) => return Ok(()),
        (Ok(false), _) => {}
        // It said that it has the new one: the old one is wrong from now on, whatever else is the matter.
        (Err(error), None) => {
            tracing::warn!(%error, "an iLO took a new password, which could not be tried since");
            return Ok(());
        }
        (Err(error), Some(_)) => return Err(error.into()),
    }
    Err(match refused {
        Some(error) => error.into(),
        None => Failure::Node(format!(
            "the iLO accepted a new password and does not take it: {PASSWORD} and {NEW_PASSWORD} in driver_info are \
             unchanged, set the right one"
        )),
    })
}

/// As in Ironic a machine without the feature (Gen8 and older) is cleaned without that step; who asks for the step by
/// name is told.
fn settle(node: &Node, done: Result<Changed, BmcError>) -> Result<Progress, Failure> {
    match done {
        Ok(_) => Ok(Progress::Done),
        Err(error @ BmcError::Unsupported { .. }) if is_automated(node) => {
            let step = current_of(node)?.label();
            tracing::warn!(node = %node.uuid, step, %error, "the step is left out");
            Ok(Progress::Done)
        }
        Err(error) => Err(error.into()),
    }
}

fn skipped(node: &Node, what: &str) -> Result<Progress, Failure> {
    if is_automated(node) { Ok(Progress::Done) } else { Err(lacks(what)) }
}

fn is_automated(node: &Node) -> bool {
    node.target_provision_state == Some(ProvisionState::Available)
}

fn lacks(what: &str) -> Failure {
    Failure::Node(format!("the BMC cannot {what}"))
}

/// Whether the iLO takes the credentials. It starts its services anew after a change: other problems may pass.
async fn takes(bmc: &Bmc) -> Result<bool, BmcError> {
    let until = tokio::time::Instant::now() + SHORTLY;
    loop {
        match bmc.power.state().await {
            Ok(_) => return Ok(true),
            Err(BmcError::Credentials { .. }) => return Ok(false),
            Err(error) if error.passing() && tokio::time::Instant::now() < until => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits; says whether it was away.
async fn until_it_answers(bmc: &Bmc) -> Result<bool, Failure> {
    let until = tokio::time::Instant::now() + AWAY;
    let mut was_away = false;
    loop {
        match bmc.power.state().await {
            Ok(_) => return Ok(was_away),
            Err(
                error @ (BmcError::Credentials { .. }
                | BmcError::DriverInfo(_)
                | BmcError::Certificate { .. }),
            ) => {
                return Err(error.into());
            }
            Err(error) if tokio::time::Instant::now() >= until => return Err(error.into()),
            Err(error) => was_away |= !matches!(error, BmcError::Busy { .. }),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.driver_info.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn begun(node: &Node) -> Option<&str> {
    node.driver_internal_info.get(KEY).and_then(Value::as_str)
}

fn begin(node: &mut Node, what: &str) {
    node.driver_internal_info.insert(KEY.to_owned(), json!(what));
}
