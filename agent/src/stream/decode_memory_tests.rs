//! What unpacking takes at the limits that are allowed.

use std::io::Write;

use bytes::Bytes;

use super::{Decoder, ImageFormat, StreamError};
use crate::{
    stream::chunks::Chunks,
    test_support::disks::{MIB, noise},
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
fn zstd_for_the_pool() -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    let content: Vec<u8> = words.take(4 * MIB / 8).flat_map(u64::to_le_bytes).collect();
    zstd::bulk::compress(&content, 1).unwrap()
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

fn kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
