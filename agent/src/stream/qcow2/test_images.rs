//! Images for tests: real ones by `qemu-img`, and a small one to be changed byte by byte.

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use tempfile::TempDir;

use super::{Layout, Qcow2Error, Qcow2Scatter, fuzz::Memory};
use crate::stream::{DecodeError, StreamError, chunks::tests::Pieces, random_access::RandomAccess};

/// A folder to make images in.
pub(super) struct Lab(TempDir);

impl Lab {
    pub(super) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `qemu-img`, in the folder; what it needs is in tests/packages.debian.
    pub(super) fn qemu_img(&self, arguments: &str) {
        self.run("qemu-img", &arguments.split_whitespace().collect::<Vec<_>>());
    }

    /// Runs commands of `qemu-io` on the image `name`.
    pub(super) fn qemu_io(&self, name: &str, commands: &[String]) {
        let mut arguments = vec!["-f", "qcow2"];
        commands.iter().for_each(|command| arguments.extend(["-c", command]));
        arguments.push(name);
        self.run("qemu-io", &arguments);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).current_dir(self.0.path()).output();
        let output =
            output.unwrap_or_else(|error| panic!("{program}: {error}; install the package qemu-utils"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{program} {arguments:?}: {said}");
    }

    /// The disk in `image`, as QEMU reads it, if it does.
    pub(super) fn disk_of_changed(&self, image: &[u8]) -> Option<Vec<u8>> {
        self.write("changed", image);
        let mut qemu_img = Command::new("qemu-img");
        qemu_img.args(["convert", "-f", "qcow2", "-O", "raw", "changed", "changed.disk"]);
        let output = qemu_img.current_dir(self.0.path()).output().unwrap();
        output.status.success().then(|| self.read("changed.disk"))
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The disk in the image `name`, as QEMU reads it.
    pub(super) fn disk(&self, name: &str) -> Vec<u8> {
        self.qemu_img(&format!("convert -f qcow2 -O raw {name} {name}.disk"));
        self.read(&format!("{name}.disk"))
    }
}

pub(super) fn layout(image: &[u8]) -> Result<Layout, StreamError> {
    Layout::read(&Memory(Bytes::copy_from_slice(image))).now_or_never().unwrap()
}

/// A long file of which only the first bytes are there; counts the requests.
pub(super) struct Head {
    pub(super) bytes: Bytes,
    pub(super) length: u64,
    pub(super) requests: AtomicUsize,
}

#[async_trait]
impl RandomAccess for Head {
    fn length(&self) -> u64 {
        self.length
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, StreamError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(self.bytes.slice(offset as usize..offset as usize + length))
    }
}

/// The disk in `image`, read in chunks of the given lengths; every byte of it must come exactly once.
pub(super) fn read(image: &[u8], lengths: &[usize], buffer: usize) -> Result<Vec<u8>, StreamError> {
    read_changed(layout(image)?, image, lengths, buffer)
}

/// The disk, from a file that may not be the one the layout is of.
pub(super) fn read_changed(
    layout: Layout,
    image: &[u8],
    lengths: &[usize],
    buffer: usize,
) -> Result<Vec<u8>, StreamError> {
    let size = layout.virtual_size() as usize;
    let mut disk = vec![0xa5; size];
    let mut ranges: Vec<_> = layout.zero_ranges().collect();
    for (offset, length) in &ranges {
        disk[*offset as usize..][..*length as usize].fill(0);
    }
    let mut scatter = Qcow2Scatter::new(layout, Pieces::new(image, lengths));
    let mut buffer = vec![0; buffer];
    while let Some(placed) = scatter.fill(&mut buffer)? {
        assert!(placed.length > 0 && placed.offset % 512 == 0, "{placed:?}");
        disk[placed.offset as usize..][..placed.length].copy_from_slice(&buffer[..placed.length]);
        ranges.push((placed.offset, placed.length as u64));
    }
    ranges.sort_unstable();
    let end = ranges.iter().fold(0, |end, (offset, length)| {
        assert_eq!(end, *offset, "a gap or an overlap on the disk");
        offset + length
    });
    assert_eq!(end, size as u64);
    Ok(disk)
}

pub(super) fn qcow2_error<T: std::fmt::Debug>(result: Result<T, StreamError>) -> Qcow2Error {
    match result {
        Err(StreamError::Decode(DecodeError::Qcow2(error))) => error,
        other => panic!("expected an error of the format, got {other:?}"),
    }
}

/// Cluster size of [`Tiny`].
pub(super) const CLUSTER: usize = 512;

/// A file of version 3 with clusters of 512 bytes: header, L1 table, two L2 tables, data, reference counts (which only
/// QEMU wants). Its disk has 40 KiB.
#[derive(Clone)]
pub(super) struct Tiny(pub(super) Vec<u8>);

impl Tiny {
    pub(super) const L1: usize = CLUSTER;
    pub(super) const L2: usize = 2 * CLUSTER;
    /// Clusters 4 to 11 are data, on the disk in reverse order and every second.
    pub(super) const DATA: usize = 4 * CLUSTER;
    pub(super) const END: usize = 14 * CLUSTER;

    pub(super) fn new() -> Self {
        let mut image = Self(vec![0; Self::END]);
        image.u32(0, u32::from_be_bytes(*b"QFI\xfb")).u32(4, 3).u32(20, 9).u64(24, 40 << 10);
        image.u32(36, 2).u64(40, Self::L1 as u64).u32(96, 4).u32(100, 104);
        image.u64(Self::L1, 1 << 63 | Self::L2 as u64);
        image.u64(Self::L1 + 8, 1 << 63 | (Self::L2 + CLUSTER) as u64);
        image.u64(48, 12 * CLUSTER as u64).u32(56, 1).u64(12 * CLUSTER, 13 * CLUSTER as u64);
        image.0[13 * CLUSTER..].as_chunks_mut().0.iter_mut().take(14).for_each(|count| *count = [0, 1]);
        for number in 0..8 {
            let host = Self::DATA + number * CLUSTER;
            image.u64(Self::L2 + (7 - number) * 16, 1 << 63 | host as u64);
            image.0[host..host + CLUSTER].fill(number as u8 + 1);
        }
        image
    }

    pub(super) fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn u64(&mut self, at: usize, value: u64) -> &mut Self {
        self.0[at..at + 8].copy_from_slice(&value.to_be_bytes());
        self
    }

    /// Sets the entry of a disk's cluster below 64.
    pub(super) fn entry(&mut self, cluster: usize, value: u64) -> &mut Self {
        self.u64(Self::L2 + cluster * 8, value)
    }
}
