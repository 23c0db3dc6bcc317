//! Where a file has data, as far as its file system says.

use std::{fs::File, io};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use super::CHUNK;

/// A file's holes are what `SEEK_DATA` jumps over.
pub(super) struct Extents<'a> {
    pub(super) file: &'a File,
    pub(super) length: u64,
}

impl<'a> Extents<'a> {
    pub(super) fn new(file: &'a File, length: u64) -> Self {
        Self { file, length }
    }

    /// Where the next data is, from `at` on; `None` when all the rest is a hole. A file system that does not know
    /// has no holes.
    pub(super) fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        match seek(self.file, SeekFrom::Data(at)) {
            Ok(data) => Ok(Some(data.clamp(at, self.length))),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::NOTSUP) => Ok(Some(at)),
            Err(error) => Err(error.into()),
        }
    }

    /// The size of ranges: from 1 MiB on four times as large, until at most `most` windows of it have data.
    pub(super) fn window(&self, most: u64) -> io::Result<u64> {
        let chunk = CHUNK as u64;
        // Each size with its windows so far and the last of them.
        let mut sizes: Vec<(u64, u64, Option<u64>)> =
            (0..12).map(|power| (chunk << (2 * power), 0, None)).collect();
        let mut at = 0;
        while let Some(data) = self.next_data(at)?.filter(|data| *data < self.length) {
            for (size, windows, last) in &mut sizes {
                let window = Some(data / *size);
                if window != *last {
                    *windows += 1;
                    *last = window;
                }
            }
            at = (data / chunk + 1) * chunk;
            if at >= self.length {
                break;
            }
        }
        let fits = sizes.iter().find(|(_, windows, _)| *windows <= most);
        Ok(fits.or(sizes.last()).map_or(chunk, |(size, ..)| *size))
    }
}
