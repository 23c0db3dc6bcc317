//! The last step of a write: the boot area of a proved image, and a disk that is consistent with its own size.

use std::sync::Arc;

use super::{StreamError, held_back::HeldBack, progress, proof::Verified, write::compare_boot_area};
use crate::{
    disk::{
        Target, TargetError,
        gpt::{self, BackupPlace, GptError, TableKind},
    },
    steps::StepReport,
};

/// What the boot area is written with.
pub(super) struct BootArea {
    pub(super) target: Arc<Target>,
    pub(super) report: Arc<dyn StepReport>,
    /// Bytes of the image.
    pub(super) bytes: u64,
    pub(super) verify_readback: bool,
}

impl BootArea {
    /// Writes the boot area of a proved image and makes the disk consistent with it. Says how many bytes were read
    /// back.
    pub(super) fn finish(&self, verified: &Verified, held_back: &HeldBack) -> Result<u64, StreamError> {
        self.report.progress(progress::RELEASING, verified.bytes(), verified.bytes());
        let target = &self.target;
        match gpt::table_kind(held_back.head(), target.sector()) {
            TableKind::Gpt | TableKind::Mbr => {}
            TableKind::GptOfOtherSectorSize(image) => {
                let device = target.path().display().to_string();
                return Err(StreamError::SectorSize { image, disk: target.sector(), device });
            }
            TableKind::None => return Err(StreamError::NoPartitionTable),
        }
        let settled = self
            .release(verified, held_back)
            .and_then(|read_back| settle(target, &*self.report).map(|()| read_back));
        if settled.is_err() {
            // What failed must not boot, though its bytes were right.
            HeldBack::clear(target).ok();
        }
        settled
    }

    fn release(&self, verified: &Verified, held_back: &HeldBack) -> Result<u64, StreamError> {
        held_back.release(verified, &self.target)?;
        let read_back = match self.verify_readback {
            true => compare_boot_area(&held_back.areas(), &self.target)?,
            false => 0,
        };
        self.target.end_at(self.bytes)?;
        Ok(read_back)
    }
}

/// Makes a released disk consistent with its own size, and durable.
fn settle(target: &Target, report: &dyn StepReport) -> Result<(), StreamError> {
    match gpt::move_backup_to_end(target.file(), target.sector(), target.size()) {
        Ok(BackupPlace::Moved) => tracing::info!("backup partition table moved to the end of the disk"),
        Ok(BackupPlace::AtEnd | BackupPlace::NoGpt) => {}
        Err(GptError::Io(source)) => {
            return Err(TargetError::Flush { path: target.path().to_owned(), source }.into());
        }
        // The image is what was asked for, so this is its maker's business.
        Err(error) => {
            report.warning(format!("the backup partition table stays where the image has it: {error}"))
        }
    }
    target.flush()?;
    if let Err(error) = target.reread_partitions() {
        report.warning(format!(
            "the kernel did not read the new partition table of {}: {error}",
            target.path().display()
        ));
    }
    Ok(())
}
