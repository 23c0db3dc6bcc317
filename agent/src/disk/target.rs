//! A disk (or, for image work, a regular file) held open for writing.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::{errno::Errno, libc};

use super::ioctl;

/// Memory, offset and length of a direct write are multiples of this: the largest sector size there is.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// How often, and with what pause, the kernel is asked to read the partition table again while a prober
/// has a partition open.
const REREAD_ATTEMPTS: u32 = 10;
const REREAD_PAUSE: Duration = Duration::from_millis(200);

/// What went wrong with a disk.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It could not be opened.
    #[error("cannot open {} for writing", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is neither a block device nor a file.
    #[error("{} is neither a block device nor a regular file", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
    },
    /// A write failed.
    #[error("writing {length} bytes at byte {offset} of {} failed: the disk may be broken", path.display())]
    Write {
        /// The device.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// How much.
        length: usize,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Written data could not be made durable.
    #[error("flushing {} failed: what was written may be lost", path.display())]
    Flush {
        /// The device.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The disk. Writes bypass the page cache where the device allows it.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    /// Exclusive while it is open.
    file: File,
    direct: Option<File>,
    direct_refused: AtomicBool,
    size: u64,
    sector: u32,
    block_device: bool,
}

impl Target {
    /// Opens `path` exclusively: of a block device that is mounted or otherwise held this fails with `EBUSY`.
    pub fn open(path: &Path) -> Result<Self, TargetError> {
        let error = |source| TargetError::Open { path: path.to_owned(), source };
        let open = |flags| OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let file = open(libc::O_EXCL).map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        let block_device = metadata.file_type().is_block_device();
        if !block_device && !metadata.is_file() {
            return Err(TargetError::Kind { path: path.to_owned() });
        }
        let (size, sector) = if block_device {
            (ioctl::device_size(&file).map_err(error)?, ioctl::logical_sector_size(&file).map_err(error)?)
        } else {
            (metadata.len(), 512)
        };
        let direct = open(libc::O_DIRECT)
            .inspect_err(|reason| tracing::info!(device = %path.display(), %reason, "no direct writes"))
            .ok();
        Ok(Self {
            path: path.to_owned(),
            file,
            direct,
            direct_refused: AtomicBool::new(false),
            size,
            sector,
            block_device,
        })
    }

    /// The device file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Logical sector size in bytes.
    #[must_use]
    pub fn sector(&self) -> u32 {
        self.sector
    }

    /// The buffered descriptor, for what reads and writes small structures.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of `data` at `offset`: aligned whole blocks directly, a ragged end through the page cache.
    pub fn write_at(&self, data: &[u8], offset: u64) -> Result<(), TargetError> {
        let whole = data.len() / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT;
        let aligned = offset.is_multiple_of(DIRECT_ALIGNMENT as u64)
            && data.as_ptr().align_offset(DIRECT_ALIGNMENT) == 0;
        let (direct, buffered) = if aligned { data.split_at(whole) } else { (&data[..0], data) };
        self.write_whole_blocks(direct, offset)
            .and_then(|()| self.file.write_all_at(buffered, offset + direct.len() as u64))
            .map_err(|source| TargetError::Write {
                path: self.path.clone(),
                offset,
                length: data.len(),
                source,
            })
    }

    fn write_whole_blocks(&self, data: &[u8], offset: u64) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let direct = self.direct.as_ref().filter(|_| !self.direct_refused.load(Ordering::Relaxed));
        let Some(direct) = direct else { return self.write_cached(data, offset) };
        match direct.write_all_at(data, offset) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                tracing::warn!(device = %self.path.display(), "the device refuses direct writes; going on through the page cache");
                self.direct_refused.store(true, Ordering::Relaxed);
                self.write_cached(data, offset)
            }
            done => done,
        }
    }

    /// Writes through the page cache but leaves nothing in it: in a ramdisk the cache is the machine's memory.
    fn write_cached(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)?;
        self.file.sync_data()?;
        let (Ok(start), Ok(length)) = (i64::try_from(offset), i64::try_from(data.len())) else {
            return Ok(());
        };
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        Ok(nix::fcntl::posix_fadvise(&self.file, start, length, advice)?)
    }

    /// Makes everything written durable and drops cached pages.
    pub fn flush(&self) -> Result<(), TargetError> {
        let error = |source| TargetError::Flush { path: self.path.clone(), source };
        self.file.sync_all().map_err(error)?;
        if self.block_device {
            ioctl::flush_buffers(&self.file).map_err(error)?;
        }
        Ok(())
    }

    /// Makes the kernel read the partition table again. Blocks up to two seconds while a partition is in use.
    pub fn reread_partitions(&self) -> io::Result<()> {
        if !self.block_device {
            return Ok(());
        }
        let mut attempt = 1;
        loop {
            match ioctl::reread_partition_table(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && attempt < REREAD_ATTEMPTS => {
                    attempt += 1;
                    std::thread::sleep(REREAD_PAUSE);
                }
                // A loop device without partition scanning has none to read.
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => return Ok(()),
                done => return done,
            }
        }
    }
}
