//! The EFI system partition as a folder tree. Its bytes come from an image: reads are bounded, so that a FAT whose
//! chains run in circles ends in an error.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
};

use fatfs::{FileSystem, FsOptions};

use crate::disk::gpt::Partition;

/// Reading a whole ESP of usual size several times stays below this.
const READ_BUDGET: u64 = 2 << 30;
/// Folders have fewer entries; a longer one is damaged.
pub const MOST_ENTRIES: usize = 4096;

/// An opened FAT file system on a partition.
pub type Fat<'a> = FileSystem<Window<'a>>;

/// Opens the FAT file system of `partition`.
pub fn open<'a>(disk: &'a File, partition: &Partition) -> io::Result<Fat<'a>> {
    FileSystem::new(Window::of(disk, partition)?, FsOptions::new().update_accessed_date(false))
}

/// A part of a disk.
pub struct Window<'a> {
    disk: &'a File,
    start: u64,
    length: u64,
    at: u64,
    budget: Cell<u64>,
}

impl<'a> Window<'a> {
    /// The bytes of `partition`.
    pub fn of(disk: &'a File, partition: &Partition) -> io::Result<Self> {
        let sector = u64::from(partition.sector);
        let bytes = |sectors: u64| {
            sectors.checked_mul(sector).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        };
        let (start, length) = (bytes(partition.first_lba)?, bytes(partition.sectors)?);
        Ok(Self { disk, start, length, at: 0, budget: Cell::new(READ_BUDGET) })
    }

    /// How much of a request fits in the window.
    fn fit(&self, requested: usize) -> usize {
        let left = self.length.saturating_sub(self.at);
        requested.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fit(buffer.len());
        let budget = self.budget.get().checked_sub(length as u64 + 1);
        self.budget.set(budget.ok_or_else(|| io::Error::other("the FAT file system runs in circles"))?);
        let count = self.disk.read_at(&mut buffer[..length], self.start + self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.disk.write_at(&buffer[..self.fit(buffer.len())], self.start + self.at)?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.sync_all()
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let target = match position {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.at = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
