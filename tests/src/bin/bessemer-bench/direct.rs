//! Reading and writing a device past the page cache.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::Result;
use rustix::fs::OFlags;

/// Bytes of one read or write.
pub(crate) const BLOCK: usize = 4 << 20;
/// What O_DIRECT wants of addresses.
const ALIGNMENT: usize = 4096;

/// Memory for one read or write.
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Filled with `byte`.
    pub(crate) fn filled(byte: u8) -> Self {
        let memory = vec![byte; BLOCK + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start }
    }

    /// The first `length` bytes.
    pub(crate) fn first(&mut self, length: usize) -> &mut [u8] {
        let end = self.start + length.min(BLOCK);
        self.memory.get_mut(self.start..end).unwrap_or_default()
    }
}

/// Opens `device` for reading and writing past the page cache.
pub(crate) fn open(device: &Path) -> Result<File> {
    let direct = i32::try_from(OFlags::DIRECT.bits())?;
    Ok(OpenOptions::new().read(true).write(true).custom_flags(direct).open(device)?)
}

/// Writes `buffer` again and again over `length` bytes at `offset`.
pub(crate) fn fill(device: &File, buffer: &mut Buffer, offset: u64, length: u64) -> Result<()> {
    for (at, count) in pieces(offset, length) {
        device.write_all_at(buffer.first(count), at)?;
    }
    Ok(())
}

/// `length` bytes at `offset` in pieces of at most a block.
pub(crate) fn pieces(offset: u64, length: u64) -> impl Iterator<Item = (u64, usize)> {
    let end = offset + length;
    (offset..end).step_by(BLOCK).map(move |at| (at, BLOCK.min(usize::try_from(end - at).unwrap_or(BLOCK))))
}
