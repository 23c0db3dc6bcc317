//! Reading from hostile media: never more than asked for, never a write.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Reads at most `limit` bytes.
pub(super) fn read_bounded(source: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A medium of which only so many bytes can be read in all, so that a file system whose chains run in circles
/// ends in an error. Writing fails.
pub(super) struct Budget<R> {
    inner: R,
    left: u64,
}

impl<R> Budget<R> {
    pub(super) fn new(inner: R, bytes: u64) -> Self {
        Self { inner, left: bytes }
    }
}

impl<R: Read> Read for Budget<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the medium's file system has no end"));
        }
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let (part, _) = buffer.split_at_mut(length);
        let got = self.inner.read(part)?;
        self.left -= got as u64;
        Ok(got)
    }
}

impl<R: Seek> Seek for Budget<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}

impl<R> Write for Budget<R> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
