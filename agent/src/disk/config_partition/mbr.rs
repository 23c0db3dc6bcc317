//! The MBR side: four primary entries in the first sector.

use std::{fs::File, os::unix::fs::FileExt};

use super::{ALIGNMENT_BYTES, Bounds, Choice, Place, PlaceError, Update, Used, choose};

const FIRST_ENTRY: usize = 446;
const ENTRY_BYTES: usize = 16;
const ENTRIES: u32 = 4;
const TYPE_PROTECTIVE: u8 = 0xee;
/// FAT32 with LBA: what Ironic gives it, whatever the file system.
const TYPE_CONFIG_DRIVE: u8 = 0x0c;
/// Cylinder, head and sector of what lies beyond them.
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];

/// An MBR that is to be written: the whole first sector, which the disk writes at once.
pub(super) struct Table {
    bytes: Vec<u8>,
}

pub(super) fn find(disk: &File, sector: u32, disk_size: u64, needed: u64) -> Result<Place, PlaceError> {
    let mut bytes = vec![0; sector as usize];
    disk.read_exact_at(&mut bytes, 0)?;
    let mut table = Table { bytes };
    let used = table.used()?;
    let sectors = disk_size / u64::from(sector);
    let first = ALIGNMENT_BYTES / u64::from(sector);
    let bounds = Bounds { first, last: sectors.saturating_sub(1), sector };
    let (number, first, length, reused) = match choose(disk, &used, bounds, needed)? {
        Choice::Reuse(old) => (old.number, old.first, old.last - old.first + 1, true),
        Choice::New { .. } if u32::try_from(sectors).is_err() => return Err(PlaceError::TooLargeForMbr),
        Choice::New { first, replaced } => {
            let length = bounds.new_sectors();
            (table.insert(first, length, replaced)?, first, length, false)
        }
    };
    let update = (!reused).then_some(Update::Mbr(table));
    Ok(Place { number, start: bounds.bytes(first), length: bounds.bytes(length), reused, update })
}

// === impl Table ===

impl Table {
    pub(super) fn write(&self, disk: &File) -> Result<(), PlaceError> {
        disk.write_all_at(&self.bytes, 0)?;
        disk.sync_all()?;
        Ok(())
    }

    fn entry(&self, number: u32) -> &[u8] {
        let start = FIRST_ENTRY + (number - 1) as usize * ENTRY_BYTES;
        &self.bytes[start..start + ENTRY_BYTES]
    }

    /// The primary partitions. An extended one counts as a whole.
    fn used(&self) -> Result<Vec<Used>, PlaceError> {
        let mut used = Vec::new();
        for number in 1..=ENTRIES {
            let entry = self.entry(number);
            if !matches!(entry[0], 0x00 | 0x80) {
                return Err(PlaceError::Mbr("it is a boot sector without partitions, or damaged"));
            }
            if entry[4] == TYPE_PROTECTIVE {
                return Err(PlaceError::Mbr("it protects a GPT, and there is none"));
            }
            let (first, sectors) = (word(entry, 8), word(entry, 12));
            if entry[4] != 0 && sectors != 0 {
                used.push(Used { number, first, last: first + sectors - 1, named: false });
            }
        }
        if used.is_empty() { Err(PlaceError::NoTable) } else { Ok(used) }
    }

    fn insert(&mut self, first: u64, sectors: u64, replaced: Option<u32>) -> Result<u32, PlaceError> {
        let is_free = |number: &u32| self.entry(*number)[4] == 0;
        let free = || (1..=ENTRIES).find(is_free);
        let number = replaced.or_else(free).ok_or(PlaceError::NoEntry { most: ENTRIES - 1 })?;
        let (Ok(first), Ok(sectors)) = (u32::try_from(first), u32::try_from(sectors)) else {
            return Err(PlaceError::TooLargeForMbr);
        };
        let start = FIRST_ENTRY + (number - 1) as usize * ENTRY_BYTES;
        let entry = &mut self.bytes[start..start + ENTRY_BYTES];
        entry[0] = 0;
        entry[1..4].copy_from_slice(&NO_CHS);
        entry[4] = TYPE_CONFIG_DRIVE;
        entry[5..8].copy_from_slice(&NO_CHS);
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
        Ok(number)
    }
}

/// A little-endian number of four bytes.
fn word(entry: &[u8], at: usize) -> u64 {
    entry[at..at + 4].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}
