//! The partition that a config drive goes to: the one that the image brought for it, or a new one at the end of the
//! disk. Looking for it changes no partition; [`Place::commit`] writes the table, when the content is on the disk.
//!
//! The table comes from an image: every place that it names is checked before anything is written there.

mod gpt;
mod mbr;

use std::{fs::File, io, os::unix::fs::FileExt};

use bessemer_proto::config_drive;

use super::gpt::{GptError, TableKind, table_kind};

/// Bytes of a new partition, as Ironic makes it.
pub const NEW_PARTITION_BYTES: u64 = 64 << 20;
/// Partitions begin at multiples of this, as every partitioner has it.
const ALIGNMENT_BYTES: u64 = 1 << 20;
/// Sectors of any size, up to and with a GPT header, are in this many bytes.
const TABLE_HEAD_BYTES: u64 = 2 * 4096;

/// Why there is no place for a config drive.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The bytes could not be read or written.
    #[error("the partition table cannot be read or written")]
    Io(#[from] io::Error),
    /// The GPT cannot be used.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// Nothing to add a partition to.
    #[error("the image has no partition table: a config drive needs one, GPT or MBR")]
    NoTable,
    /// What the MBR says cannot be.
    #[error("the MBR is not usable: {0}")]
    Mbr(&'static str),
    /// A GPT that nothing finds on this disk.
    #[error(
        "the image's GPT is made for sectors of {image} bytes, the disk has sectors of {disk}: use an image made for this disk"
    )]
    SectorSize {
        /// Of the image.
        image: u32,
        /// Of the disk.
        disk: u32,
    },
    /// It is not clear which one to replace.
    #[error(
        "partitions {first} and {second} are both named or labelled config-2: an image may have one of these"
    )]
    Several {
        /// One of them.
        first: u32,
        /// The other.
        second: u32,
    },
    /// The partition cannot be overwritten without harm.
    #[error(
        "partition {number}, named or labelled config-2, overlaps another partition or the partition table"
    )]
    Overlap {
        /// Which.
        number: u32,
    },
    /// No gap is large enough.
    #[error(
        "no room for a partition of {} MiB behind or between the image's partitions: use a larger disk or a smaller image",
        NEW_PARTITION_BYTES >> 20
    )]
    NoRoom,
    /// All entries are taken.
    #[error(
        "the partition table has no free entry: the image may have at most {most} partitions besides the config drive"
    )]
    NoEntry {
        /// Entries, without one for the config drive.
        most: u32,
    },
    /// An MBR cannot name it.
    #[error("the disk is too large for a config drive behind an MBR: use an image with GPT")]
    TooLargeForMbr,
}

/// Where the config drive goes.
pub struct Place {
    /// Number of the partition.
    pub number: u32,
    /// Its first byte.
    pub start: u64,
    /// Its bytes.
    pub length: u64,
    /// Whether the image came with it.
    pub reused: bool,
    update: Option<Update>,
}

/// A table that names the new partition.
enum Update {
    Gpt(gpt::Table),
    Mbr(mbr::Table),
}

/// A partition of any table, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Used {
    number: u32,
    first: u64,
    last: u64,
    /// The table itself calls it `config-2`.
    named: bool,
}

/// The sectors that partitions may have.
#[derive(Clone, Copy)]
struct Bounds {
    first: u64,
    last: u64,
    sector: u32,
}

/// Finds or plans the partition for a config drive of `needed` bytes. May move a GPT's backup to the end of the disk,
/// where it belongs.
pub fn find(disk: &File, sector: u32, disk_size: u64, needed: u64) -> Result<Place, PlaceError> {
    let mut head = vec![0; usize::try_from(TABLE_HEAD_BYTES.min(disk_size)).unwrap_or_default()];
    disk.read_exact_at(&mut head, 0)?;
    match table_kind(&head, sector) {
        TableKind::Gpt => gpt::find(disk, sector, disk_size, needed),
        TableKind::GptOfOtherSectorSize(image) => Err(PlaceError::SectorSize { image, disk: sector }),
        TableKind::Mbr => mbr::find(disk, sector, disk_size, needed),
        TableKind::None => Err(PlaceError::NoTable),
    }
}

// === impl Place ===

impl Place {
    /// Lets the partition table name the partition; durable when this returns.
    pub fn commit(&mut self, disk: &File) -> Result<(), PlaceError> {
        match &mut self.update {
            None => Ok(()),
            Some(Update::Gpt(table)) => table.write(disk),
            Some(Update::Mbr(table)) => table.write(disk),
        }
    }
}

/// Where the content goes, in sectors.
enum Choice {
    /// To a partition that is there.
    Reuse(Used),
    /// To a new one that begins here; the old one, if there is one, goes.
    New { first: u64, replaced: Option<u32> },
}

fn choose(disk: &File, used: &[Used], bounds: Bounds, needed: u64) -> Result<Choice, PlaceError> {
    let mut existing =
        used.iter().filter(|partition| partition.named || is_labelled(disk, partition, bounds.sector));
    let old = existing.next();
    if let (Some(old), Some(other)) = (old, existing.next()) {
        return Err(PlaceError::Several { first: old.number, second: other.number });
    }
    if let Some(old) = old {
        let overlaps =
            |other: &Used| other.number != old.number && other.first <= old.last && old.first <= other.last;
        if old.first < bounds.first || old.last > bounds.last || used.iter().any(overlaps) {
            return Err(PlaceError::Overlap { number: old.number });
        }
        if bounds.bytes(old.last - old.first + 1) >= needed {
            return Ok(Choice::Reuse(*old));
        }
    }
    let replaced = old.map(|old| old.number);
    let others: Vec<Used> =
        used.iter().filter(|partition| Some(partition.number) != replaced).copied().collect();
    let first = bounds.last_gap(&others).ok_or(PlaceError::NoRoom)?;
    Ok(Choice::New { first, replaced })
}

/// Whether a file system in it is labelled `config-2`. What cannot be read is not.
fn is_labelled(disk: &File, partition: &Used, sector: u32) -> bool {
    let Some(start) = partition.first.checked_mul(u64::from(sector)) else { return false };
    let mut head = vec![0; config_drive::HEAD_BYTES];
    let Ok(length) = disk.read_at(&mut head, start) else { return false };
    let label = head.get(..length).and_then(config_drive::label);
    label.is_some_and(|label| label.eq_ignore_ascii_case(config_drive::LABEL))
}

// === impl Bounds ===

impl Bounds {
    fn bytes(&self, sectors: u64) -> u64 {
        sectors.saturating_mul(u64::from(self.sector))
    }

    fn new_sectors(&self) -> u64 {
        NEW_PARTITION_BYTES / u64::from(self.sector)
    }

    /// The first sector of a new partition in the last gap that is large enough.
    fn last_gap(&self, used: &[Used]) -> Option<u64> {
        let mut used: Vec<Used> = used.to_vec();
        used.sort_by_key(|partition| std::cmp::Reverse(partition.last));
        // One behind the gap's last sector.
        let mut end = self.last.checked_add(1)?;
        for partition in used {
            if let Some(first) = self.fit(partition.last.saturating_add(1), end) {
                return Some(first);
            }
            end = end.min(partition.first);
        }
        self.fit(self.first, end)
    }

    /// The last aligned place in a gap.
    fn fit(&self, gap: u64, end: u64) -> Option<u64> {
        let alignment = ALIGNMENT_BYTES / u64::from(self.sector);
        let first = end.checked_sub(self.new_sectors())? / alignment * alignment;
        (first >= gap.max(self.first)).then_some(first)
    }
}

#[cfg(test)]
mod tests;
