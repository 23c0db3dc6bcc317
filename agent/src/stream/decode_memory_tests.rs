//! What unpacking takes at the limits that are allowed.

use std::io::Write;

use bytes::Bytes;

use super::{Decoder, ImageFormat, StreamError};
use crate::{
    disk::buffer::{Block, Ring},
    stream::{chunks::Chunks, placed::Scatter, xz_blocks::Terms},
    test_support::{
        disks::{MIB, noise},
        xz::{XzBlock, xz_stream},
    },
};

/// The queues of the pipeline hold some 21 MiB and the rest of the agent a few; all together stay below 64 MiB.
const ALLOWED_KIB: u64 = 36 << 10;

/// One packed stream several times.
struct Repeated {
    packed: Bytes,
    rest: Bytes,
    times: usize,
}

impl Chunks for Repeated {
    fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.rest.is_empty() {
            if self.times == 0 {
                return Ok(None);
            }
            self.times -= 1;
            self.rest = self.packed.clone();
        }
        let length = self.rest.len().min(400 << 10);
        Ok(Some(self.rest.split_to(length)))
    }
}

fn zstd_with_largest_window(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(25).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Does not pack at all.
fn incompressible(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    words.take(length / 8).flat_map(u64::to_le_bytes).collect()
}

fn zstd_for_the_pool() -> Vec<u8> {
    zstd::bulk::compress(&incompressible(4 * MIB), 1).unwrap()
}

/// Blocks whose packed bytes are as many as can be, and then a stream that takes all that one thread may.
fn xz_side_by_side() -> Vec<u8> {
    let content = incompressible(24 * MIB);
    let usual = XzBlock { dictionary: 8 << 20, stored: true, ..XzBlock::sized(&content) };
    let small = XzBlock { dictionary: 4 << 10, ..usual.clone() };
    let largest = XzBlock { dictionary: 32 << 20, ..usual.clone() };
    let check = liblzma::stream::Check::None;
    let blocks = [usual.clone(), usual.clone(), small, usual.clone(), usual];
    [xz_stream(check, &blocks), xz_stream(check, &[largest.clone(), largest])].concat()
}

struct InFile(std::fs::File);

impl Chunks for InFile {
    fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        let mut chunk = vec![0; 100 << 10];
        let count = std::io::Read::read(&mut self.0, &mut chunk).unwrap();
        chunk.truncate(count);
        Ok((count > 0).then(|| chunk.into()))
    }
}

/// Takes content and forgets it; its buffers are those that wait for the disk.
struct Nowhere(std::sync::Mutex<Ring>);

impl Scatter for Nowhere {
    fn buffer(&self) -> Block {
        self.0.lock().unwrap().blocking_take()
    }
    fn fits(&self, _: u64) -> Result<(), StreamError> {
        Ok(())
    }
    fn put(&self, _: Block, _: u64) -> Result<(), StreamError> {
        // The threads are slower than the source, as they are when there is something to unpack.
        std::thread::sleep(std::time::Duration::from_millis(40));
        Ok(())
    }
    fn stop(&self) {}
}

fn xz_with_largest_dictionary(content: &[u8]) -> Vec<u8> {
    let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
    options.dict_size(32 << 20);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let stream =
        liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc64).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn lz4(content: &[u8]) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max4MB)
        .block_mode(lz4_flex::frame::BlockMode::Linked);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn no_format_takes_more_memory_than_is_allowed() {
    if std::env::var_os("NEXTEST").is_none() {
        eprintln!("skipped: other tests in this process would be counted; run with cargo nextest");
        return;
    }
    let content = noise(80 * MIB, 1);
    let cases = [
        ("zstd", zstd_with_largest_window(&content), 2, 160 * MIB),
        ("xz", xz_with_largest_dictionary(&content), 2, 160 * MIB),
        ("bzip2", bzip2(&content[..4 * MIB]), 4, 16 * MIB),
        ("lz4", lz4(&content[..40 * MIB]), 4, 160 * MIB),
        ("zstd in the pool", zstd_for_the_pool(), 20, 80 * MIB),
    ];
    drop(content);
    for (name, packed, times, length) in cases {
        // Forgets the peak so far.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = kib("VmHWM:");
        let source = Repeated { packed: packed.into(), rest: Bytes::new(), times };
        let mut decoder = Decoder::open(source, ImageFormat::Auto).unwrap();
        let mut buffer = vec![0; MIB];
        let mut unpacked = 0;
        loop {
            let count = decoder.fill(&mut buffer).unwrap();
            unpacked += count;
            if count < buffer.len() {
                break;
            }
        }
        assert_eq!(unpacked, length, "{name}");
        let grown = kib("VmHWM:") - before;
        println!("{name}: {grown} KiB");
        assert!(grown < ALLOWED_KIB, "{name} took {grown} KiB");
    }
}

#[test]
fn xz_on_several_threads_takes_no_more_memory_than_is_allowed() {
    if std::env::var_os("NEXTEST").is_none() {
        eprintln!("skipped: other tests in this process would be counted; run with cargo nextest");
        return;
    }
    // Another process makes the image, so that what that takes is not here.
    const FILE: &str = "BESSEMER_TEST_XZ_FILE";
    if let Some(path) = std::env::var_os(FILE) {
        return std::fs::write(path, xz_side_by_side()).unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut maker = std::process::Command::new(std::env::current_exe().unwrap());
    maker.args(["--exact", std::thread::current().name().unwrap()]).env(FILE, file.path());
    assert!(maker.output().unwrap().status.success());
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = kib("VmHWM:");
    let source = InFile(file.reopen().unwrap());
    let mut decoder = Decoder::open(source, ImageFormat::Auto).unwrap();
    let nowhere = Nowhere(std::sync::Mutex::new(Ring::new(7, MIB)));
    let unpacked = decoder.side_by_side_by(Terms { threads: 3, ..Terms::new() }, &nowhere).unwrap();
    assert_eq!(unpacked.content, 120 << 20);
    let on_threads = kib("VmHWM:") - before;
    let mut buffer = vec![0; MIB];
    while decoder.fill(&mut buffer).unwrap() == buffer.len() {}
    let grown = kib("VmHWM:") - before;
    println!("xz on three threads: {on_threads} KiB, then on one: {grown} KiB");
    // Less what the queue to the disk has, which is in the other 21 MiB.
    assert!(grown < ALLOWED_KIB + (7 << 10), "xz on three threads took {grown} KiB");
}

fn kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
