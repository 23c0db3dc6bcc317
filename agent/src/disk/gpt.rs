//! Partition tables: telling whether there is one, finding partitions in it, moving the backup to the real end.
//!
//! The bytes come from an image. `gptman` does the encoding; everything that it takes for granted is checked here
//! before it sees a header.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
};

use gptman::{GPTHeader, GPTPartitionEntry};

/// `EFI PART`, at the start of a GPT header.
const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Most tables have 128 entries; more than this is no table.
const MOST_ENTRIES: u32 = 1024;
/// The entry size that every partitioner writes.
const ENTRY_BYTES: u32 = 128;
/// Type of an EFI system partition, C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as stored.
const EFI_SYSTEM_PARTITION: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
const MBR_FIRST_ENTRY: usize = 446;
const MBR_ENTRY_BYTES: usize = 16;
const MBR_SIGNATURE: usize = 510;
const MBR_TYPE_PROTECTIVE: u8 = 0xee;

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// The bytes could not be read or written.
    #[error("the partition table cannot be read or written")]
    Io(#[from] io::Error),
    /// The header or the entries are damaged.
    #[error("the GPT is damaged")]
    Damaged(#[source] gptman::Error),
    /// The header names places or sizes that cannot be.
    #[error("the GPT header is not usable: {0}")]
    Header(&'static str),
}

/// What the first sectors of a disk say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// A GPT for this sector size.
    Gpt,
    /// A GPT made for another sector size: nothing will find it on this disk.
    GptOfOtherSectorSize(u32),
    /// An MBR, or a boot sector.
    Mbr,
    /// Neither.
    None,
}

/// Looks at the first bytes of a disk with sectors of `sector` bytes.
#[must_use]
pub fn table_kind(head: &[u8], sector: u32) -> TableKind {
    let signature_at = |at: u32| {
        let at = at as usize;
        head.get(at..at + SIGNATURE.len()) == Some(SIGNATURE)
    };
    if signature_at(sector) {
        return TableKind::Gpt;
    }
    if let Some(other) = [512, 4096].into_iter().find(|size| *size != sector && signature_at(*size)) {
        return TableKind::GptOfOtherSectorSize(other);
    }
    if head.get(MBR_SIGNATURE..MBR_SIGNATURE + 2) == Some(&[0x55, 0xaa]) {
        TableKind::Mbr
    } else {
        TableKind::None
    }
}

/// A partition, in bytes and as the UEFI device path wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Number, from 1.
    pub number: u32,
    /// Unique GUID as stored (mixed-endian).
    pub guid: [u8; 16],
    /// First sector.
    pub first_lba: u64,
    /// Sectors.
    pub sectors: u64,
    /// Sector size in bytes.
    pub sector: u32,
    /// Whether its type is the EFI system partition.
    pub efi_system: bool,
}

/// The partitions of the primary GPT; `None` when the disk has no GPT.
pub fn partitions(disk: &File, sector: u32, disk_size: u64) -> Result<Option<Vec<Partition>>, GptError> {
    let Some((_, entries)) = read(disk, sector, disk_size)? else { return Ok(None) };
    let partition = |(number, entry): (u32, &GPTPartitionEntry)| {
        let sectors = entry.ending_lba.checked_sub(entry.starting_lba)?.checked_add(1)?;
        let fits = entry.ending_lba < disk_size / u64::from(sector);
        (entry.is_used() && fits).then(|| Partition {
            number,
            guid: entry.unique_partition_guid,
            first_lba: entry.starting_lba,
            sectors,
            sector,
            efi_system: entry.partition_type_guid == EFI_SYSTEM_PARTITION,
        })
    };
    Ok(Some((1..).zip(&entries).filter_map(partition).collect()))
}

/// The primary header and its entries, checked.
pub(super) fn read(
    disk: &File,
    sector: u32,
    disk_size: u64,
) -> Result<Option<(GPTHeader, Vec<GPTPartitionEntry>)>, GptError> {
    let sector = u64::from(sector);
    let mut signature = [0; 8];
    match disk.read_exact_at(&mut signature, sector) {
        Ok(()) if &signature == SIGNATURE => {}
        Ok(()) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut reader = Cursor { disk, at: sector };
    let header = GPTHeader::read_from(&mut reader).map_err(damaged)?;
    let entries_end = u64::from(header.number_of_partition_entries)
        .checked_mul(u64::from(ENTRY_BYTES))
        .and_then(|bytes| header.partition_entry_lba.checked_add(bytes.div_ceil(sector)))
        .ok_or(GptError::Header("the entries are outside the disk"))?;
    if header.primary_lba != 1 || header.partition_entry_lba < 2 {
        return Err(GptError::Header("it is not a primary header"));
    }
    if header.size_of_partition_entry != ENTRY_BYTES {
        return Err(GptError::Header("its entries are not 128 bytes"));
    }
    if !(1..=MOST_ENTRIES).contains(&header.number_of_partition_entries) {
        return Err(GptError::Header("its number of entries is not 1 to 1024"));
    }
    if entries_end > disk_size / sector {
        return Err(GptError::Header("the entries are outside the disk"));
    }
    let entries = header.read_partitions(&mut reader, sector).map_err(damaged)?;
    Ok(Some((header, entries)))
}

fn damaged(error: gptman::Error) -> GptError {
    match error {
        gptman::Error::Io(error) => GptError::Io(error),
        error => GptError::Damaged(error),
    }
}

/// What [`move_backup_to_end`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupPlace {
    /// The disk has no GPT.
    NoGpt,
    /// It was at the end already.
    AtEnd,
    /// It is at the end now.
    Moved,
    /// It was not where the primary says, though that is the end; it is now.
    Missing,
}

/// Puts the backup GPT at the end of the disk and lets the primary say so, when the image was smaller than the
/// disk. The backup is written first: at every moment one table is whole.
pub fn move_backup_to_end(disk: &File, sector: u32, disk_size: u64) -> Result<BackupPlace, GptError> {
    let Some((mut primary, entries)) = read(disk, sector, disk_size)? else { return Ok(BackupPlace::NoGpt) };
    let sectors = disk_size / u64::from(sector);
    let last = sectors - 1;
    let place = match primary.backup_lba == last {
        true if has_backup(disk, sector, &primary)? => return Ok(BackupPlace::AtEnd),
        true => BackupPlace::Missing,
        false => BackupPlace::Moved,
    };
    let entry_sectors = entry_sectors(&primary, sector);
    let backup_entries =
        last.checked_sub(entry_sectors).ok_or(GptError::Header("the disk is too small for a backup"))?;
    let used_end =
        entries.iter().filter(|entry| entry.is_used()).map(|entry| entry.ending_lba).max().unwrap_or(0);
    if used_end >= backup_entries || primary.partition_entry_lba + entry_sectors > backup_entries {
        return Err(GptError::Header(
            "a partition reaches into the end of the disk, where the backup belongs",
        ));
    }
    primary.backup_lba = last;
    primary.last_usable_lba = backup_entries - 1;
    write(disk, sector, &mut primary, &entries)?;
    grow_protective_mbr(disk, sectors)?;
    disk.sync_all()?;
    Ok(place)
}

/// Whether a header with a right checksum is where the primary says that the backup is, and of the same disk.
fn has_backup(disk: &File, sector: u32, primary: &GPTHeader) -> Result<bool, GptError> {
    let at =
        primary.backup_lba.checked_mul(u64::from(sector)).ok_or(GptError::Header("its backup is nowhere"))?;
    match GPTHeader::read_from(&mut Cursor { disk, at }) {
        Ok(backup) => Ok(backup.primary_lba == primary.backup_lba && backup.disk_guid == primary.disk_guid),
        Err(gptman::Error::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error.into()),
        Err(_) => Ok(false),
    }
}

/// First byte behind the last partition; `None` when the disk has no usable GPT.
pub fn end_of_partitions(disk: &File, sector: u32, disk_size: u64) -> Option<u64> {
    let (_, entries) = read(disk, sector, disk_size).ok()??;
    let last = entries.iter().filter(|entry| entry.is_used()).map(|entry| entry.ending_lba).max()?;
    last.checked_add(1)?.checked_mul(u64::from(sector))
}

/// Writes a changed table, whose backup belongs at the primary's `backup_lba`. The backup comes first: at every
/// moment one table is whole.
pub(super) fn write(
    disk: &File,
    sector: u32,
    primary: &mut GPTHeader,
    entries: &[GPTPartitionEntry],
) -> Result<(), GptError> {
    let mut backup = primary.clone();
    backup.primary_lba = primary.backup_lba;
    backup.backup_lba = 1;
    backup.partition_entry_lba = primary
        .backup_lba
        .checked_sub(entry_sectors(primary, sector))
        .ok_or(GptError::Header("the disk is too small for a backup"))?;
    let mut writer = Cursor { disk, at: 0 };
    backup.write_into(&mut writer, u64::from(sector), entries).map_err(damaged)?;
    disk.sync_all()?;
    primary.write_into(&mut writer, u64::from(sector), entries).map_err(damaged)?;
    disk.sync_all()?;
    Ok(())
}

/// Sectors that the entries take.
pub(super) fn entry_sectors(header: &GPTHeader, sector: u32) -> u64 {
    (u64::from(header.number_of_partition_entries) * u64::from(ENTRY_BYTES)).div_ceil(u64::from(sector))
}

/// Lets the protective MBR cover the whole disk, as partitioners expect. A hybrid MBR is left as it is.
fn grow_protective_mbr(disk: &File, sectors: u64) -> io::Result<()> {
    let mut mbr = [0; 512];
    disk.read_exact_at(&mut mbr, 0)?;
    let (first, others) = mbr[MBR_FIRST_ENTRY..MBR_SIGNATURE].split_at(MBR_ENTRY_BYTES);
    let protective = first[4] == MBR_TYPE_PROTECTIVE && first[8..12] == 1_u32.to_le_bytes();
    if !protective || others.iter().any(|byte| *byte != 0) || mbr[MBR_SIGNATURE..] != [0x55, 0xaa] {
        return Ok(());
    }
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    disk.write_all_at(&covered.to_le_bytes(), (MBR_FIRST_ENTRY + 12) as u64)
}

/// Reads and writes a file at a place of its own.
struct Cursor<'a> {
    disk: &'a File,
    at: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.disk.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Cursor<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.disk.write_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match position {
            SeekFrom::Start(at) => self.at = at,
            SeekFrom::Current(_) | SeekFrom::End(_) => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(self.at)
    }
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
