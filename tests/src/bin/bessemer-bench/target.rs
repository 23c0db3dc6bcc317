//! Disks to write to: loop devices over preallocated files.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FallocateFlags, fallocate};

use crate::{
    direct::{self, BLOCK, Buffer},
    images::Image,
    measure::prepare,
};

/// What an old disk is full of: a byte that is nowhere an image's filler.
const OLD: u8 = 0xa5;
/// Of so many pieces of the image's data one differs on a disk with an older version of the image: 5 %.
const CHANGED_ONE_OF: usize = 20;
/// Size of those pieces.
const CHANGED_PIECE: u64 = 1 << 20;

/// What is on a disk before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Something else, everywhere.
    Other,
    /// The image.
    Same,
    /// An older version of the image: 5 % of its data differs.
    Older,
}

/// What must be on the disk after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Every byte of the image.
    Image,
    /// The data of the image; where the image has holes, anything.
    Data,
}

/// A disk. Its file has no name and the loop device is detached when nobody has it open, so both vanish with this
/// value, however the benchmark ends.
pub(crate) struct Target {
    file: File,
    loops: Option<Loop>,
}

/// A loop device over the file of a disk.
struct Loop {
    device: PathBuf,
    direct: File,
}

impl Target {
    /// A disk of `bytes` over a file in `folder`.
    pub(crate) fn new(folder: &Path, bytes: u64) -> Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)
            .with_context(|| format!("a disk of {bytes} bytes in {}", folder.display()))?;
        let loops = Some(Loop::attach(&file)?);
        Ok(Self { file, loops })
    }

    fn attached(&self) -> Result<&Loop> {
        self.loops.as_ref().context("the disk has no loop device")
    }

    /// The disk's name. [`Self::prepare`] may give it another one.
    pub(crate) fn device(&self) -> Result<&Path> {
        Ok(&self.attached()?.device)
    }

    pub(crate) fn direct(&self) -> Result<&File> {
        Ok(&self.attached()?.direct)
    }

    /// Makes a new loop device: the kernel switches WRITE ZEROES off, for good, on one that was asked for a kind of it
    /// that the file system below does not have, and whoever writes next would pay for it.
    fn renew(&mut self) -> Result<()> {
        // The old one goes first, or there would be two.
        self.loops = None;
        self.loops = Some(Loop::attach(&self.file)?);
        Ok(())
    }

    /// Makes the disk what it is before a run; every block of it is allocated.
    pub(crate) fn prepare(&mut self, image: &Image, before: Before) -> Result<()> {
        self.renew()?;
        let disk = self.direct()?;
        direct::fill(disk, &mut Buffer::filled(OLD), 0, image.bytes)?;
        if before != Before::Other {
            copy(image, disk)?;
        }
        if before == Before::Older {
            let mut old = Buffer::filled(OLD);
            for (offset, length) in image.data_pieces(CHANGED_PIECE).into_iter().step_by(CHANGED_ONE_OF) {
                direct::fill(disk, &mut old, offset, length)?;
            }
        }
        Ok(disk.sync_all()?)
    }

    /// Compares the disk with the image.
    pub(crate) fn verify(&self, image: &Image, after: After) -> Result<()> {
        let ranges = match after {
            After::Image => vec![(0, image.bytes)],
            After::Data => image.data.clone(),
        };
        let source = File::open(&image.raw)?;
        let (mut got, mut wanted) = (Buffer::filled(0), vec![0; BLOCK]);
        for (at, length) in ranges.into_iter().flat_map(|(offset, length)| direct::pieces(offset, length)) {
            let (got, wanted) = (got.first(length), wanted.get_mut(..length).unwrap_or_default());
            self.direct()?.read_exact_at(got, at)?;
            source.read_exact_at(wanted, at)?;
            ensure!(got == wanted, "the disk differs from the image in the {length} bytes at {at}");
        }
        Ok(())
    }
}

impl Loop {
    fn attach(file: &File) -> Result<Self> {
        let output = Command::new("losetup")
            .args(["--find", "--show", "--direct-io=on", "/proc/self/fd/0"])
            .stdin(file.try_clone()?)
            .output()
            .context("losetup cannot be started")?;
        let (shown, said) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "losetup: {}", said.trim());
        let device = PathBuf::from(shown.trim());
        let direct = direct::open(&device);
        // Detached when the last who has it open closes it: that is this process, or one that it runs.
        prepare("losetup", &["--detach", shown.trim()])?;
        Ok(Self { direct: direct?, device })
    }
}

/// Writes the image without a pipeline.
fn copy(image: &Image, disk: &File) -> Result<()> {
    let (source, mut buffer) = (File::open(&image.raw)?, Buffer::filled(0));
    for (at, length) in direct::pieces(0, image.bytes) {
        let block = buffer.first(length);
        source.read_exact_at(block, at)?;
        disk.write_all_at(block, at)?;
    }
    Ok(())
}
