//! Out-of-band work that several states share. Each function is idempotent.

use super::{
    context::Context,
    error::{Failure, sentence},
};
use crate::{
    bmc::{Bmc, BmcError, MediaKind, PowerAction},
    node::{Node, PowerState},
};

/// Notes what the BMC says of power, boot mode, Secure Boot and health. Only power must be readable.
pub(crate) async fn read(node: &mut Node, bmc: &Bmc) -> Result<(), BmcError> {
    node.power_state = Some(bmc.power.state().await?);
    if let Some(control) = &bmc.boot_mode {
        match control.mode().await {
            Ok(mode) => node.boot_mode = mode,
            Err(error) => tracing::warn!(node = %node.uuid, %error, "the boot mode cannot be read"),
        }
    }
    if let Some(control) = &bmc.secure_boot {
        match control.enabled().await {
            Ok(enabled) => node.secure_boot = enabled,
            Err(error) => tracing::warn!(node = %node.uuid, %error, "Secure Boot cannot be read"),
        }
    }
    if let Some(overview) = &bmc.overview {
        match overview.health().await {
            Ok(health) => node.health = health.map(|health| health.to_string()),
            Err(error) => tracing::warn!(node = %node.uuid, %error, "the health cannot be read"),
        }
    }
    Ok(())
}

/// Notes who made the machine, unless the operator or an earlier look said so.
pub(crate) async fn read_vendor(node: &mut Node, bmc: &Bmc) {
    let Some(overview) = &bmc.overview else { return };
    if node.properties.get("vendor").is_some_and(|vendor| vendor.as_str() != Some("")) {
        return;
    }
    match overview.vendor().await {
        Ok(Some(vendor)) => drop(node.properties.insert("vendor".to_owned(), vendor.into())),
        Ok(None) => {}
        Err(error) => tracing::warn!(node = %node.uuid, %error, "the vendor cannot be read"),
    }
}

/// An answer that makes no sense comes again: it is not asked for as long as one that does not come.
const MALFORMED_REPEATS: u32 = 2;

/// Whether a BMC could be reached all the time. One that could not may have started again, and media and boot source are
/// lost then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It could.
    Always,
    /// It could in the end.
    InTheEnd,
}

/// Does something with the BMC, and again when that fails for a reason that may pass: BMCs restart, break connections, are
/// busy. Only for what may be done twice. The node shows why it waits.
pub(crate) async fn insist<T, F>(
    node: &mut Node,
    cx: &Context,
    what: &str,
    attempt: impl Fn() -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, BmcError>>,
{
    insist_watching(node, cx, what, attempt).await.map(|(done, _)| done)
}

/// The same, which tells whether the BMC was away.
pub(crate) async fn insist_watching<T, F>(
    node: &mut Node,
    cx: &Context,
    what: &str,
    attempt: impl Fn() -> F,
) -> Result<(T, Reached), Failure>
where
    F: Future<Output = Result<T, BmcError>>,
{
    let mut reached = Reached::Always;
    let retry = cx.config.bmc_retry();
    let mut pauses = retry.pauses();
    let (mut malformed, begun) = (0, tokio::time::Instant::now());
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok((done, reached)),
            Err(error) if !error.passing() => return Err(error.into()),
            Err(error) => error,
        };
        if matches!(error, BmcError::Unreachable { .. }) {
            reached = Reached::InTheEnd;
        }
        malformed += u32::from(matches!(error, BmcError::Malformed { .. }));
        let Some(pause) = pauses.next(None).filter(|_| malformed <= MALFORMED_REPEATS) else {
            return Err(error.into());
        };
        let problem = sentence(&error);
        tracing::warn!(node = %node.uuid, what, problem, "the BMC is asked again");
        let left = retry.within.saturating_sub(begun.elapsed());
        cx.doing(node, format!("trying again to {what}: {problem}"), left).await?;
        tokio::time::sleep(pause).await;
    }
}

/// Powers the machine off, at once, and waits until it is.
pub(crate) async fn power_off(node: &mut Node, bmc: &Bmc, cx: &Context) -> Result<(), Failure> {
    let within = cx.config.power_timeout();
    cx.doing(node, "waiting for the machine to be powered off", within).await?;
    insist(node, cx, "power the machine off", || bmc.power.set(PowerAction::ForceOff)).await?;
    bmc.power.wait_for(PowerState::Off, within).await?;
    node.power_state = Some(PowerState::Off);
    Ok(())
}

/// Powers the machine on and waits until it is.
pub(crate) async fn power_on(node: &mut Node, bmc: &Bmc, cx: &Context) -> Result<(), Failure> {
    power_on_watching(node, bmc, cx).await.map(drop)
}

/// The same, which tells whether the BMC was away.
pub(crate) async fn power_on_watching(node: &mut Node, bmc: &Bmc, cx: &Context) -> Result<Reached, Failure> {
    let within = cx.config.power_timeout();
    cx.doing(node, "waiting for the machine to be powered on", within).await?;
    let set = || bmc.power.set(PowerAction::On);
    let (_, reached) = insist_watching(node, cx, "power the machine on", set).await?;
    bmc.power.wait_for(PowerState::On, within).await?;
    node.power_state = Some(PowerState::On);
    Ok(reached)
}

/// Takes our media out of the virtual drives, whatever it takes.
pub(crate) async fn eject_all(node: &mut Node, bmc: &Bmc, cx: &Context) -> Result<(), Failure> {
    insist(node, cx, "eject the media", || eject(bmc)).await
}

/// The same, tried once.
async fn eject(bmc: &Bmc) -> Result<(), BmcError> {
    if let Some(media) = &bmc.virtual_media {
        media.eject(MediaKind::Cd).await?;
        media.eject(MediaKind::Floppy).await?;
    }
    Ok(())
}

/// Leaves nothing of a deploy behind, as far as that is possible: media ejected, machine off, boots closed.
/// Every part is tried; what does not work is logged.
pub(crate) async fn abandon(node: &mut Node, cx: &Context) {
    let warn = |what: &str, error: &dyn std::fmt::Display| {
        tracing::warn!(node = %node.uuid, %error, "after a failed deploy: could not {what}");
    };
    cx.shelf.remove(node.uuid);
    cx.config_drives.remove(node.uuid);
    if let Err(error) = cx.fleet.close(node.uuid).await {
        warn("close its boots", &error);
    }
    let bmc = match (cx.open_bmc)(node) {
        Ok(bmc) => bmc,
        Err(error) => return warn("reach the BMC", &error),
    };
    if let Err(error) = bmc.power.set(PowerAction::ForceOff).await {
        warn("power the machine off", &error);
    } else if let Err(error) = bmc.power.wait_for(PowerState::Off, cx.config.power_timeout()).await {
        warn("see the machine powered off", &error);
    }
    if let Err(error) = eject(&bmc).await {
        warn("eject the media", &error);
    }
    node.power_state = read_power(node, &bmc).await;
}

/// What the BMC says now; `None` when it does not say.
pub(crate) async fn read_power(node: &Node, bmc: &Bmc) -> Option<PowerState> {
    match bmc.power.state().await {
        Ok(state) => Some(state),
        Err(error) => {
            tracing::warn!(node = %node.uuid, error = sentence(&error), "the power state cannot be read");
            None
        }
    }
}
