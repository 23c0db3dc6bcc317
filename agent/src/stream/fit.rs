//! Whether an image suits the disk: asked before the disk is touched, and of the partition table once more before it is
//! written.

use super::StreamError;
use crate::disk::{
    Target,
    gpt::{self, TableKind},
};

/// So much of an image shows what partition table it has, for sectors of any size.
pub(super) const TABLE_BYTES: usize = 8 << 10;

/// Refuses an image of at least `image` bytes when the disk has fewer.
pub(super) fn size(image: u64, target: &Target) -> Result<(), StreamError> {
    if image <= target.size() {
        return Ok(());
    }
    let device = target.path().display().to_string();
    Err(StreamError::TooLarge { image, disk: target.size(), device })
}

/// Refuses an image that begins with `head` when nothing on this disk would find its partitions.
pub(super) fn table(head: &[u8], target: &Target) -> Result<(), StreamError> {
    match gpt::table_kind(head, target.sector()) {
        TableKind::Gpt | TableKind::Mbr => Ok(()),
        TableKind::GptOfOtherSectorSize(image) => {
            let device = target.path().display().to_string();
            Err(StreamError::SectorSize { image, disk: target.sector(), device })
        }
        TableKind::None => Err(StreamError::NoPartitionTable),
    }
}

/// The same of the first bytes that came; too few of them say nothing.
pub(super) fn table_so_far(head: &[u8], target: &Target) -> Result<(), StreamError> {
    match head.get(..TABLE_BYTES) {
        Some(head) => table(head, target),
        None => Ok(()),
    }
}
