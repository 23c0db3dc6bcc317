//! `deploy.deploy`: the machine boots the deploy ramdisk, and its agent calls.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bessemer_proto::boot_parameters::BootParameters;
use chrono::Utc;

use super::{Progress, Step, Waiting, agent_step, record::Record};
use crate::{
    agents::BootTicket,
    bmc::{Bmc, BmcError, BootSource, MediaKind},
    boot::{BootMedia, ParametersBy},
    node::{Node, firmware::WantedFirmware},
    reconcile::{
        context::Context,
        error::Failure,
        machine::{self, Reached},
    },
};

/// How often a machine is started from its media when the BMC is away meanwhile.
const MAX_ROUNDS: u32 = 3;

pub(super) struct BootRamdisk;

#[async_trait]
impl Step for BootRamdisk {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Progress, Failure> {
        let record = Record::of(node)?;
        if record.booted_at.is_some() && !is_lost(&record, cx).await? {
            return Ok(if has_session(&record, node, cx) { Progress::Done } else { Progress::Wait });
        }
        cx.doing(node, "waiting for the image to be found at its source", cx.images.stage_timeout()).await?;
        cx.images.stage(node).await?;
        // Said before anything is switched off.
        cx.shelf.check().await?;
        let bmc = cx.bmc(node)?;
        if let Some(media) = &bmc.virtual_media {
            machine::insist(node, cx, "look at the virtual media", || media.ready()).await?;
        }
        machine::power_off(node, &bmc, cx).await?;
        set_firmware(node, &bmc, cx).await?;
        start_from_media(node, &bmc, cx).await?;
        let mut record = Record::of(node)?;
        record.booted_at = Some(Utc::now());
        record.keep(node)?;
        cx.save(node).await?;
        Ok(Progress::Wait)
    }

    async fn waiting(&self, node: &Node, cx: &Context) -> Result<Waiting, Failure> {
        let record = Record::of(node)?;
        let Some(booted_at) = record.booted_at else { return Ok(Waiting::Over) };
        if has_session(&record, node, cx) || is_lost(&record, cx).await? {
            return Ok(Waiting::Over);
        }
        if agent_step::is_off(node, cx, false).await && !has_session(&record, node, cx) {
            return Err(Failure::Node(format!(
                "the machine powered off before its agent called: `bessemer node logs {}` says whether the agent \
                 was refused, the serial console what it printed",
                node.label()
            )));
        }
        let enrolled = cx.store.boot(record.boot()?).await?.enrolled_key_hash.is_some();
        let reason = if enrolled {
            "waiting for the agent, which has enrolled, to open its session".to_owned()
        } else {
            waiting_for_call(cx.shelf.bytes_read(node.uuid))
        };
        Ok(Waiting::Still { reason, until: booted_at + cx.config.callback_timeout() })
    }
}

/// Bytes as people read them.
const MIB: u64 = 1 << 20;

/// What an operator looks at first depends on how much of the ISO was asked for: some BMCs look into it when it is
/// inserted, a machine that boots from it reads nearly all.
fn waiting_for_call(read: Option<u64>) -> String {
    let what = "waiting for the agent to call: the machine was started with the deploy ISO";
    match read {
        None => what.to_owned(),
        Some(0) => format!(
            "{what}, of which nothing was read: the BMC cannot reach files.url_for_bmcs, or the machine booted \
             something else because its firmware ignored the boot device"
        ),
        Some(read) => format!(
            "{what}, of which {} MiB were read; when that stays so little, the machine booted something else because \
             its firmware ignored the boot device",
            read.div_ceil(MIB)
        ),
    }
}

fn has_session(record: &Record, node: &Node, cx: &Context) -> bool {
    cx.fleet.session(node.uuid).is_some_and(|session| Some(session.boot) == record.boot)
}

/// The media of a boot live in memory. After a restart of the controller a machine that has not enrolled may be
/// in the middle of reading an ISO that is not served any more: it must boot again.
async fn is_lost(record: &Record, cx: &Context) -> Result<bool, Failure> {
    if record.life == Some(cx.life) {
        return Ok(false);
    }
    Ok(cx.store.boot(record.boot()?).await?.enrolled_key_hash.is_none())
}

async fn set_firmware(node: &mut Node, bmc: &Bmc, cx: &Context) -> Result<(), Failure> {
    let wanted = WantedFirmware::of(node).map_err(|error| Failure::Node(error.to_string()))?;
    if let Some(mode) = wanted.boot_mode {
        let control = bmc.boot_mode.as_ref().ok_or_else(|| {
            Failure::Node(
                "the BMC cannot set the boot mode: remove boot_mode from the capabilities".to_owned(),
            )
        })?;
        // Also when it is in force: another one may be pending.
        machine::insist(node, cx, "set the boot mode", async || match control.set_mode(mode).await {
            // It cannot be changed, and need not be.
            Err(BmcError::Unsupported { .. } | BmcError::Refused { .. })
                if control.mode().await? == Some(mode) =>
            {
                Ok(())
            }
            other => other.map(drop),
        })
        .await?;
    }
    match (wanted.secure_boot, &bmc.secure_boot) {
        (Some(wanted), Some(control)) => {
            machine::insist(node, cx, "set Secure Boot", async || {
                match control.enabled().await? == Some(wanted) {
                    true => Ok(()),
                    false => control.set_enabled(wanted).await.map(drop),
                }
            })
            .await?;
        }
        (Some(true), None) => {
            return Err(Failure::Node(
                "the BMC cannot turn Secure Boot on: remove secure_boot from the capabilities".to_owned(),
            ));
        }
        (Some(false) | None, _) => {}
    }
    Ok(())
}

/// A fresh ticket, and media that carry it. The boot is noted before the machine can use it.
async fn make_media(node: &mut Node, cx: &Context) -> Result<BootMedia, Failure> {
    let ticket = cx.fleet.issue_ticket(node.uuid, cx.token_lifetime).await?;
    let mut record = Record::of(node)?;
    record.boot = Some(ticket.boot);
    record.booted_at = None;
    record.life = Some(cx.life);
    record.keep(node)?;
    cx.doing(node, "waiting for the BMC to take the boot media", cx.config.power_timeout()).await?;
    let by = match node.driver_info.get("config_via_removable").is_some_and(is_true) {
        true => ParametersBy::Floppy,
        false => ParametersBy::IsoRegion,
    };
    Ok(cx.shelf.put(node.uuid, &parameters(node, cx, ticket), by).await?)
}

fn parameters(node: &Node, cx: &Context, ticket: BootTicket) -> BootParameters {
    BootParameters {
        controllers: ticket.controllers,
        node: node.uuid,
        boot: ticket.boot,
        token: ticket.token,
        ca_certificates: ticket.ca_certificates,
        time_floor: u64::try_from(Utc::now().timestamp()).ok(),
        ntp_servers: Vec::new(),
        network: Vec::new(),
        debug: cx.config.agent_debug,
        vendor: BTreeMap::new(),
    }
}

/// Ironic's clients send booleans as booleans or as text.
fn is_true(value: &serde_json::Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")))
}

async fn insert(node: &mut Node, bmc: &Bmc, media: &BootMedia, cx: &Context) -> Result<(), Failure> {
    let drives = bmc.virtual_media.clone().ok_or_else(|| {
        Failure::Node(format!(
            "the BMC of {} has no virtual media, which boot interface redfish-virtual-media needs",
            node.label()
        ))
    })?;
    machine::eject_all(node, bmc, cx).await?;
    machine::insist(node, cx, "insert the deploy ISO", || drives.insert(MediaKind::Cd, &media.iso)).await?;
    if let Some(floppy) = &media.floppy {
        machine::insist(node, cx, "insert the parameters", || drives.insert(MediaKind::Floppy, floppy))
            .await?;
    }
    Ok(())
}

/// Starts the machine from its media. A BMC that starts again meanwhile has lost media and boot source: all of it is done
/// once more then, with a token of its own, because the last one may have been used.
async fn start_from_media(node: &mut Node, bmc: &Bmc, cx: &Context) -> Result<(), Failure> {
    let mut round = 1;
    loop {
        let media = make_media(node, cx).await?;
        insert(node, bmc, &media, cx).await?;
        let chosen = boot_from_cd(node, bmc, cx).await?;
        let lost = chosen == Reached::InTheEnd && round < MAX_ROUNDS;
        if !lost
            && (machine::power_on_watching(node, bmc, cx).await? == Reached::Always || round == MAX_ROUNDS)
        {
            break;
        }
        round += 1;
        tracing::warn!(node = %node.uuid, round, "the BMC was away: the machine is started from the media again");
        machine::power_off(node, bmc, cx).await?;
    }
    Ok(())
}

async fn boot_from_cd(node: &mut Node, bmc: &Bmc, cx: &Context) -> Result<Reached, Failure> {
    let device = bmc.boot_device.clone().ok_or_else(|| {
        Failure::Node(format!("the BMC of {} cannot choose what the machine boots from", node.label()))
    })?;
    let choose = || device.boot_once(BootSource::Cd);
    machine::insist_watching(node, cx, "choose the boot device", choose).await.map(|(_, reached)| reached)
}
