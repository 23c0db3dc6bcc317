//! The GPT side.

use std::fs::File;

use bessemer_proto::config_drive;
use gptman::{GPTHeader, GPTPartitionEntry};

use super::{Bounds, Choice, Place, PlaceError, Update, Used, choose};
use crate::disk::gpt::{entry_sectors, move_backup_to_end, read, write};

/// Linux file system data, 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as stored.
const LINUX_DATA: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// A GPT that is to be written.
pub(super) struct Table {
    header: GPTHeader,
    entries: Vec<GPTPartitionEntry>,
    sector: u32,
}

pub(super) fn find(disk: &File, sector: u32, disk_size: u64, needed: u64) -> Result<Place, PlaceError> {
    move_backup_to_end(disk, sector, disk_size)?;
    let (header, entries) = read(disk, sector, disk_size)?.ok_or(PlaceError::NoTable)?;
    let mut table = Table { header, entries, sector };
    let bounds = table.bounds();
    let (number, first, sectors, reused) = match choose(disk, &table.used(), bounds, needed)? {
        Choice::Reuse(old) => (old.number, old.first, old.last - old.first + 1, true),
        Choice::New { first, replaced } => {
            let sectors = bounds.new_sectors();
            (table.insert(first, sectors, replaced)?, first, sectors, false)
        }
    };
    let update = (!reused).then_some(Update::Gpt(table));
    Ok(Place { number, start: bounds.bytes(first), length: bounds.bytes(sectors), reused, update })
}

// === impl Table ===

impl Table {
    pub(super) fn write(&mut self, disk: &File) -> Result<(), PlaceError> {
        Ok(write(disk, self.sector, &mut self.header, &self.entries)?)
    }

    /// What the header says, but never the tables themselves.
    fn bounds(&self) -> Bounds {
        let (header, entries) = (&self.header, entry_sectors(&self.header, self.sector));
        let last = header.backup_lba.saturating_sub(entries).saturating_sub(1);
        Bounds {
            first: header.first_usable_lba.max(header.partition_entry_lba.saturating_add(entries)),
            last: header.last_usable_lba.min(last),
            sector: self.sector,
        }
    }

    fn used(&self) -> Vec<Used> {
        let used = |(number, entry): (u32, &GPTPartitionEntry)| {
            let name = entry.partition_name.as_str();
            (entry.is_used() && entry.starting_lba <= entry.ending_lba).then(|| Used {
                number,
                first: entry.starting_lba,
                last: entry.ending_lba,
                named: name.eq_ignore_ascii_case(config_drive::LABEL),
            })
        };
        (1..).zip(&self.entries).filter_map(used).collect()
    }

    fn insert(&mut self, first: u64, sectors: u64, replaced: Option<u32>) -> Result<u32, PlaceError> {
        let mut numbered = (1..).zip(&mut self.entries);
        let found = numbered.find(|(number, entry)| match replaced {
            Some(replaced) => *number == replaced,
            None => entry.is_unused(),
        });
        let most = self.header.number_of_partition_entries.saturating_sub(1);
        let (number, entry) = found.ok_or(PlaceError::NoEntry { most })?;
        *entry = GPTPartitionEntry {
            partition_type_guid: LINUX_DATA,
            unique_partition_guid: random_guid(),
            starting_lba: first,
            ending_lba: first + sectors - 1,
            attribute_bits: 0,
            partition_name: config_drive::LABEL.into(),
        };
        Ok(number)
    }
}

/// Version 4, variant 1, in the mixed-endian form of GPT.
fn random_guid() -> [u8; 16] {
    let mut guid: [u8; 16] = rand::random();
    guid[7] = guid[7] & 0x0f | 0x40;
    guid[8] = guid[8] & 0x3f | 0x80;
    guid
}
