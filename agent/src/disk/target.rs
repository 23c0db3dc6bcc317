//! A disk (or, for image work, a regular file) held open for writing.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use nix::{errno::Errno, libc};

use super::{buffer::AlignedBuffer, ioctl};

/// Memory, offset and length of a direct write are multiples of this: the largest sector size there is.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// Zeros written at once.
const ZEROS: usize = 1 << 20;
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
    /// A read failed.
    #[error("reading {length} bytes at byte {offset} of {} failed: the disk may be broken", path.display())]
    Read {
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
    /// Whether the device makes zeros itself, as far as it has said.
    makes_zeros: AtomicBool,
    size: AtomicU64,
    /// An empty file takes any image and its length.
    grows: bool,
    sector: u32,
    block_device: bool,
    /// Whether anything was written, and whether the boot area is known to be zero.
    touched: AtomicBool,
    cleared: AtomicBool,
}

/// What a disk has whose write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing was written.
    Unchanged,
    /// The boot area is zero.
    NoBootArea,
    /// Something was written and the boot area could not be cleared.
    Unknown,
}

impl Left {
    /// Its name in answers to programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::NoBootArea => "no_boot_area",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unchanged => "is as it was",
            Self::NoBootArea => "has neither partition table nor boot sector now",
            Self::Unknown => "may hold part of an image: write it anew before anything boots from it",
        })
    }
}

/// More than any image: the size of a file that grows.
const UNBOUNDED: u64 = 1 << 60;

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
        // O_EXCL says nothing of files; the lock goes with the descriptor.
        if !block_device && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(error(io::ErrorKind::ResourceBusy.into()));
        }
        let (size, sector) = if block_device {
            (ioctl::device_size(&file).map_err(error)?, ioctl::logical_sector_size(&file).map_err(error)?)
        } else {
            (metadata.len(), 512)
        };
        let grows = !block_device && size == 0;
        let makes_zeros = !block_device || offloads_write_zeroes(metadata.rdev());
        let direct = open(libc::O_DIRECT)
            .inspect_err(|reason| tracing::info!(device = %path.display(), %reason, "no direct writes"))
            .ok();
        Ok(Self {
            path: path.to_owned(),
            file,
            direct,
            direct_refused: AtomicBool::new(false),
            makes_zeros: AtomicBool::new(makes_zeros),
            size: AtomicU64::new(if grows { UNBOUNDED } else { size }),
            grows,
            sector,
            block_device,
            touched: AtomicBool::new(false),
            cleared: AtomicBool::new(false),
        })
    }

    /// What it has if the write ends here.
    #[must_use]
    pub fn left(&self) -> Left {
        match (self.touched.load(Ordering::Relaxed), self.cleared.load(Ordering::Relaxed)) {
            (false, _) => Left::Unchanged,
            (true, true) => Left::NoBootArea,
            (true, false) => Left::Unknown,
        }
    }

    /// From here on the boot area is zero, or is not.
    pub fn set_cleared(&self, cleared: bool) {
        self.touched.store(true, Ordering::Relaxed);
        self.cleared.store(cleared, Ordering::Relaxed);
    }

    /// The device file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes; of a file that grows, more than any image has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// True for a file that takes the length of what is written.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.grows
    }

    /// Lets a file that grows end after `bytes`.
    pub fn end_at(&self, bytes: u64) -> Result<(), TargetError> {
        if !self.grows {
            return Ok(());
        }
        self.size.store(bytes, Ordering::Relaxed);
        self.file.set_len(bytes).map_err(|source| self.write_error(bytes, 0, source))
    }

    /// Removes the file, unless another one has its name by now.
    pub fn remove_file(&self) -> io::Result<()> {
        let (own, named) = (self.file.metadata()?, std::fs::symlink_metadata(&self.path)?);
        if own.is_file() && (own.dev(), own.ino()) == (named.dev(), named.ino()) {
            std::fs::remove_file(&self.path)?;
        }
        Ok(())
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
        let Some(direct) = self.direct() else { return self.write_cached(data, offset) };
        match direct.write_all_at(data, offset) {
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                self.refuse_direct();
                self.write_cached(data, offset)
            }
            done => done,
        }
    }

    /// The descriptor that bypasses the page cache.
    pub(super) fn direct(&self) -> Option<&File> {
        self.direct.as_ref().filter(|_| !self.direct_refused.load(Ordering::Relaxed))
    }

    /// The device has answered a direct write as if it took none.
    pub(super) fn refuse_direct(&self) {
        if !self.direct_refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(device = %self.path.display(), "the device refuses direct writes; going on through the page cache");
        }
    }

    /// True when the device makes ranges zero faster than they are written, and guarantees that they read as zeros.
    #[must_use]
    pub fn makes_zeros(&self) -> bool {
        self.makes_zeros.load(Ordering::Relaxed)
    }

    pub(super) fn make_no_zeros(&self) {
        self.makes_zeros.store(false, Ordering::Relaxed);
    }

    /// Makes a range zero: by the device where it guarantees zeros (never by discarding), else by writing them.
    /// True when the device did it.
    pub fn zero(&self, range: std::ops::Range<u64>) -> Result<bool, TargetError> {
        if range.is_empty() {
            return Ok(true);
        }
        if self.makes_zeros() {
            match self.punch(&range) {
                Ok(()) => return Ok(true),
                Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => {
                    tracing::info!(device = %self.path.display(), "the device makes no zeros itself; writing them");
                    self.make_no_zeros();
                }
                Err(errno) => {
                    return Err(self.write_error(range.start, 0, errno.into()));
                }
            }
        }
        let zeros = AlignedBuffer::new(ZEROS);
        let mut at = range.start;
        while at < range.end {
            let length = usize::try_from(range.end - at).unwrap_or(ZEROS).min(ZEROS);
            self.write_at(zeros.get(..length).unwrap_or_default(), at)?;
            at += length as u64;
        }
        Ok(false)
    }

    /// On a block device the kernel turns this into a WRITE ZEROES command without a fallback; in a file it makes a
    /// hole (fallocate(2)).
    fn punch(&self, range: &std::ops::Range<u64>) -> Result<(), Errno> {
        use nix::fcntl::{FallocateFlags, fallocate};
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (start, length) = (i64::try_from(range.start), i64::try_from(range.end - range.start));
        let (Ok(start), Ok(length)) = (start, length) else { return Err(Errno::EINVAL) };
        fallocate(&self.file, flags, start, length)
    }

    /// Reads what the device holds, past the page cache where that can be. What a file that grows does not have yet
    /// reads as zeros.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), TargetError> {
        let length = buffer.len();
        let read = self.read_some(buffer, offset).and_then(|count| {
            let missing = buffer.get_mut(count..).unwrap_or_default();
            if !missing.is_empty() && !self.grows {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            missing.fill(0);
            Ok(())
        });
        read.map_err(|source| TargetError::Read { path: self.path.clone(), offset, length, source })
    }

    /// How much there is of it.
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let Some(direct) = self.direct() else { return read_up_to(&self.file, buffer, offset) };
        let aligned = |n: u64| n.is_multiple_of(DIRECT_ALIGNMENT as u64);
        if aligned(offset)
            && aligned(buffer.len() as u64)
            && buffer.as_ptr().align_offset(DIRECT_ALIGNMENT) == 0
        {
            return read_up_to(direct, buffer, offset);
        }
        // The blocks around it: the page cache may hold what was written and not what the device made of it.
        let before = usize::try_from(offset % DIRECT_ALIGNMENT as u64).unwrap_or_default();
        let mut around = AlignedBuffer::new((before + buffer.len()).next_multiple_of(DIRECT_ALIGNMENT));
        let count = match read_up_to(direct, &mut around, offset - before as u64) {
            // The end of the disk is no multiple of its blocks.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                return read_up_to(&self.file, buffer, offset);
            }
            count => count?,
        };
        let there = around.get(before..count).unwrap_or_default();
        let there = there.get(..buffer.len()).unwrap_or(there);
        buffer[..there.len()].copy_from_slice(there);
        Ok(there.len())
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

/// Whether the device with this number takes WRITE ZEROES commands, which guarantee zeros.
fn offloads_write_zeroes(number: u64) -> bool {
    use nix::sys::stat::{major, minor};
    let queue = format!("/sys/dev/block/{}:{}/queue/write_zeroes_max_bytes", major(number), minor(number));
    std::fs::read_to_string(queue).is_ok_and(|limit| limit.trim().parse::<u64>().is_ok_and(|limit| limit > 0))
}

/// Reads until the buffer is full or the file ends; says how much there was.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                // A direct read that ends within a block has met the end, and could not go on there.
                if !count.is_multiple_of(DIRECT_ALIGNMENT) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
