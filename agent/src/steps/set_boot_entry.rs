//! `set_boot_entry`: makes the firmware boot the written disk.

use std::{collections::BTreeSet, fs::File};

use anyhow::Context as _;
use async_trait::async_trait;
use bessemer_proto::step::{BootEntryMethod, SetBootEntryArguments, SetBootEntryResult, names};
use serde_json::Value;

use super::{Roots, Step, StepContext, StepError, StepReport, arguments, written_disk};
use crate::{
    disk::{self, BlockDevice, gpt},
    efi::{
        boot_entry::{self, BootDisk, BootEntryError, Firmware},
        variables::Variables,
    },
};

/// The step.
#[derive(Clone, Copy, Default)]
pub struct SetBootEntry;

#[async_trait]
impl Step for SetBootEntry {
    fn name(&self) -> &'static str {
        names::SET_BOOT_ENTRY
    }

    async fn run(&self, value: Value, context: StepContext) -> Result<Value, StepError> {
        let arguments: SetBootEntryArguments = arguments(value)?;
        if context.cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        // Once begun it is a matter of moments and must not be left half done.
        let work = tokio::task::spawn_blocking(move || set(&arguments, &context.roots, &*context.report));
        let result = work.await.context("setting the boot entry ended without a result")??;
        Ok(serde_json::to_value(result).map_err(anyhow::Error::from)?)
    }
}

fn set(
    arguments: &SetBootEntryArguments,
    roots: &Roots,
    report: &dyn StepReport,
) -> anyhow::Result<SetBootEntryResult> {
    let firmware = roots.sys.join("firmware/efi");
    if !firmware.is_dir() {
        return Ok(SetBootEntryResult {
            method: BootEntryMethod::Bios,
            loader: None,
            entry: None,
            label: None,
        });
    }
    let devices = disk::discover(roots)?;
    let device = written_disk::find(&devices, &arguments.device)?;
    let target = disk::claim(device, roots)?;
    let no_esp = || BootEntryError::NoEsp { device: device.name() };
    let partitions = gpt::partitions(target.file(), target.sector(), target.size())
        .with_context(|| format!("the partition table of {} cannot be used", device.name()))?
        .ok_or_else(no_esp)?;
    let esp = partitions.iter().find(|partition| partition.efi_system).cloned().ok_or_else(no_esp)?;
    let variables = Variables::new(&firmware.join("efivars"));
    let mut known = known_partitions(devices.iter().filter(|other| *other != device));
    if let Some(known) = &mut known {
        known.extend(partitions.iter().map(|partition| partition.guid));
    }
    let disk = BootDisk { name: device.name(), file: target.file(), esp };
    let firmware = Firmware { variables: &variables, partitions: known };
    let result = boot_entry::set(&disk, &firmware, arguments.label.as_deref(), &mut |warning| {
        report.warning(warning)
    })?;
    target.flush()?;
    Ok(result)
}

/// GUIDs of the partitions of the other disks; `None` when one of them cannot be read.
fn known_partitions<'a>(devices: impl Iterator<Item = &'a BlockDevice>) -> Option<BTreeSet<[u8; 16]>> {
    let mut known = BTreeSet::new();
    for device in devices {
        let disk = File::open(&device.path).ok()?;
        let partitions = gpt::partitions(&disk, device.logical_sector, device.size).ok()?;
        known.extend(partitions.into_iter().flatten().map(|partition| partition.guid));
    }
    Some(known)
}

#[cfg(test)]
#[path = "set_boot_entry_tests.rs"]
mod tests;
