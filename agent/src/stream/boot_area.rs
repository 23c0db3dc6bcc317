//! The last step of a write: the boot area of a proved image, and a disk that is consistent with its own size.

use std::sync::Arc;

use super::{StreamError, fit, held_back::HeldBack, progress, proof::Verified, write::compare_boot_area};
use crate::{
    disk::{
        Target, TargetError,
        gpt::{self, BackupPlace, GptError},
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
        fit::table(held_back.head(), target)?;
        let settled =
            self.release(verified, held_back).and_then(|read_back| self.settle().map(|()| read_back));
        if settled.is_err() {
            // What failed must not boot, though its bytes were right.
            if let Err(error) = HeldBack::clear(target) {
                tracing::error!(device = %target.path().display(), %error, "the boot area cannot be cleared");
            }
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

    /// Makes a released disk consistent with its own size, and durable.
    fn settle(&self) -> Result<(), StreamError> {
        let (target, report) = (&self.target, &self.report);
        self.warn_of_partitions_behind();
        match gpt::move_backup_to_end(target.file(), target.sector(), target.size()) {
            Ok(BackupPlace::Moved) => tracing::info!("backup partition table moved to the end of the disk"),
            Ok(BackupPlace::Missing) => report.warning(format!(
                "the image has no backup partition table at its end, where its table says one is; {} got a new one. The image may be cut off",
                target.path().display()
            )),
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

    /// What the image does not reach keeps its old content: a partition there holds nothing of the image.
    fn warn_of_partitions_behind(&self) {
        let target = &self.target;
        let end = gpt::end_of_partitions(target.file(), target.sector(), target.size());
        if let Some(end) = end.filter(|end| *end > self.bytes) {
            self.report.warning(format!(
                "the image ends at byte {}, but its partitions end at byte {end} of {}: the image may be cut off",
                self.bytes,
                target.path().display()
            ));
        }
    }
}
