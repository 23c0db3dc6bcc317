//! The deploy ISO as one boot sees it: the file's bytes, with other ones in the parameters region.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bessemer_proto::boot_parameters::region::{
    self, DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, REGION_MAGIC, Region, RegionError,
};
use bytes::Bytes;

use super::BootError;

/// The open file, so that a new ISO may take its place in the directory at any time.
#[derive(Clone)]
pub(super) struct Iso {
    file: Arc<File>,
    length: u64,
    region: Region,
    /// What the region holds for this boot.
    patch: Option<Bytes>,
}

impl Iso {
    /// Opens the ISO and fills its region with `parameters`, if given.
    pub(super) async fn open(path: &Path, parameters: Option<&str>) -> Result<Self, BootError> {
        let patch = parameters.map(region::fill).transpose().map_err(BootError::Parameters)?;
        let owned = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || open(owned)).await;
        let (file, length, region) =
            opened.unwrap_or_else(|error| Err(unreadable(path, io::Error::other(error))))?;
        Ok(Self { file: Arc::new(file), length, region, patch: patch.map(Bytes::from) })
    }

    /// Its length in bytes; the patch does not change it.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the ISO, which must lie within its length.
    pub(super) async fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let iso = self.clone();
        tokio::task::spawn_blocking(move || iso.read_now(&range)).await.map_err(io::Error::other)?
    }

    fn read_now(&self, range: &Range<u64>) -> io::Result<Bytes> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, range.start)?;
        if let Some(patch) = &self.patch {
            overlay(&mut bytes, range.start, patch, self.region.offset);
        }
        Ok(Bytes::from(bytes))
    }
}

fn unreadable(path: &Path, source: io::Error) -> BootError {
    BootError::Iso { path: path.display().to_string(), source }
}

fn open(path: PathBuf) -> Result<(File, u64, Region), BootError> {
    let failed = |source| unreadable(&path, source);
    let not_ours = |source| BootError::Region { path: path.display().to_string(), source };
    let file = File::open(&path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    read_or(&file, &mut descriptor, DESCRIPTOR_OFFSET, RegionError::NotIso)
        .map_err(failed)?
        .map_err(not_ours)?;
    let region = Region::from_descriptor(&descriptor).map_err(not_ours)?;
    if length.checked_sub(region.length).is_none_or(|last| region.offset > last) {
        return Err(not_ours(RegionError::Damaged));
    }
    let mut magic = [0; REGION_MAGIC.len()];
    read_or(&file, &mut magic, region.offset, RegionError::Damaged).map_err(failed)?.map_err(not_ours)?;
    if magic != REGION_MAGIC {
        return Err(not_ours(RegionError::Damaged));
    }
    Ok((file, length, region))
}

/// A file that ends too early is a wrong file, not a failure to read.
fn read_or<E>(file: &File, bytes: &mut [u8], at: u64, short: E) -> io::Result<Result<(), E>> {
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(short)),
        other => other.map(Ok),
    }
}

/// Puts the bytes of `patch` (which starts at `patch_at`) over those of `bytes` (which start at `at`).
fn overlay(bytes: &mut [u8], at: u64, patch: &[u8], patch_at: u64) {
    let start = at.max(patch_at);
    let end = (at + bytes.len() as u64).min(patch_at + patch.len() as u64);
    if start >= end {
        return;
    }
    // Both differences lie within slices, whose lengths are usize.
    let within = |position: u64, base: u64| usize::try_from(position - base).unwrap_or(usize::MAX);
    let into = within(start, at)..within(end, at);
    bytes[into].copy_from_slice(&patch[within(start, patch_at)..within(end, patch_at)]);
}
