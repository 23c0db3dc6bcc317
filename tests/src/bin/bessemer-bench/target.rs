//! Disks to write to: loop devices over preallocated files.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
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

/// A disk. The loop device and its file vanish with it, however the benchmark ends.
pub(crate) struct Target {
    device: PathBuf,
    direct: File,
}

impl Target {
    /// A disk of `bytes` over a file in `folder`.
    pub(crate) fn new(folder: &Path, bytes: u64) -> Result<Self> {
        let file = tempfile::NamedTempFile::new_in(folder)?;
        fallocate(file.as_file(), FallocateFlags::empty(), 0, bytes)?;
        let path = file.path().to_string_lossy().into_owned();
        let shown = prepare("losetup", &["--find", "--show", "--direct-io=on", &path])?;
        let device = PathBuf::from(shown.trim());
        let direct = direct::open(&device);
        // Detached when the last who has it open closes it: that is this process, or the agent it runs.
        prepare("losetup", &["--detach", shown.trim()])?;
        Ok(Self { direct: direct?, device })
    }

    pub(crate) fn device(&self) -> &Path {
        &self.device
    }

    pub(crate) fn direct(&self) -> &File {
        &self.direct
    }

    /// Makes the disk what it is before a run; every block of it is allocated.
    pub(crate) fn prepare(&self, image: &Image, before: Before) -> Result<()> {
        direct::fill(&self.direct, &mut Buffer::filled(OLD), 0, image.bytes)?;
        if before != Before::Other {
            self.copy(image)?;
        }
        if before == Before::Older {
            let mut old = Buffer::filled(OLD);
            for (offset, length) in image.data_pieces(CHANGED_PIECE).into_iter().step_by(CHANGED_ONE_OF) {
                direct::fill(&self.direct, &mut old, offset, length)?;
            }
        }
        self.direct.sync_all()?;
        Ok(())
    }

    /// Writes the image without a pipeline.
    fn copy(&self, image: &Image) -> Result<()> {
        let (source, mut buffer) = (File::open(&image.raw)?, Buffer::filled(0));
        for (at, length) in direct::pieces(0, image.bytes) {
            let block = buffer.first(length);
            source.read_exact_at(block, at)?;
            self.direct.write_all_at(block, at)?;
        }
        Ok(())
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
            self.direct.read_exact_at(got, at)?;
            source.read_exact_at(wanted, at)?;
            ensure!(got == wanted, "the disk differs from the image in the {length} bytes at {at}");
        }
        Ok(())
    }
}
