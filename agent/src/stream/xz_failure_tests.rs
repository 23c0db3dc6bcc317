use std::sync::{
    Condvar,
    atomic::{AtomicUsize, Ordering},
};

use bessemer_proto::step::ImageFormat;
use bytes::Bytes;
use liblzma::stream::Check;

use super::*;
use crate::{
    disk::buffer::Block,
    stream::{chunks::tests::Pieces, decode::Decoder, fuzzing::Memory},
    test_support::{
        disks::noise,
        xz::{XzBlock, xz_blocks, xz_stream},
    },
};

const ANY: Terms = Terms { threads: 2, content: 1, alignment: 1 };

/// Does something odd.
struct Odd {
    oddity: Oddity,
    memory: Memory,
    left: AtomicUsize,
    stopped: Mutex<bool>,
    changed: Condvar,
}

#[derive(PartialEq)]
enum Oddity {
    NoLimit,
    /// Refuses what comes after some buffers.
    Refuses(usize),
    Panics(usize),
}

impl Odd {
    fn new(oddity: Oddity) -> Self {
        let left = match oddity {
            Oddity::NoLimit => usize::MAX,
            Oddity::Refuses(count) | Oddity::Panics(count) => count,
        };
        let memory = Memory::new(1 << 30, 4096);
        Self { oddity, memory, left: left.into(), stopped: Mutex::default(), changed: Condvar::new() }
    }
}

impl Scatter for Odd {
    fn buffer(&self) -> Block {
        self.memory.buffer()
    }
    fn fits(&self, _: u64) -> Result<(), StreamError> {
        Ok(())
    }
    fn put(&self, block: Block, offset: u64) -> Result<(), StreamError> {
        let less = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err() {
            assert!(!matches!(self.oddity, Oddity::Panics(_)), "as the test wants it");
            return Err(StreamError::NoPartitionTable);
        }
        self.memory.put(block, offset)
    }
    fn stop(&self) {
        *self.stopped.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

/// The source says nothing more until someone stops the write.
struct Silent<'a> {
    rest: Option<Bytes>,
    odd: &'a Odd,
}

impl Chunks for Silent<'_> {
    fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        let mut stopped = self.odd.stopped.lock().unwrap();
        while !*stopped {
            stopped = self.odd.changed.wait(stopped).unwrap();
        }
        Err(StreamError::Cancelled)
    }
}

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let name =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.filter(|task| task.path().exists()).map(name).filter(|name| name.trim() == "xz").count()
}

#[test]
fn whoever_refuses_or_panics_ends_it_though_the_source_is_silent() {
    let content = noise(200_000, 1);
    let whole = xz_blocks(&content, 20_000);
    let cut = &whole[..whole.len() / 2];
    for count in [0, 1, 4, 9] {
        for (oddity, cut) in [
            (Oddity::Refuses(count), &whole[..]),
            (Oddity::Refuses(count), cut),
            (Oddity::Panics(count), &whole),
            (Oddity::Panics(count), cut),
        ] {
            let panics = matches!(oddity, Oddity::Panics(_));
            let odd = Odd::new(oddity);
            let source = Silent { rest: Some(Bytes::copy_from_slice(cut)), odd: &odd };
            let mut decoder = Decoder::open(source, ImageFormat::Xz).unwrap();
            let error = decoder.side_by_side_by(ANY, &odd).map(|_| ()).unwrap_err();
            let died = matches!(error, StreamError::Died("decode"));
            assert!(if panics { died } else { matches!(error, StreamError::NoPartitionTable) }, "{error:?}");
            assert!(matches!(decoder.fill(&mut [0; 9]), Err(StreamError::Stopped)));
        }
    }
    if std::env::var_os("NEXTEST").is_some() {
        assert_eq!(threads(), 0);
    }
}

#[test]
fn a_source_that_fails_ends_it() {
    let content = noise(200_000, 1);
    let packed = xz_blocks(&content, 20_000);
    for length in [40, 5000, packed.len() / 2, packed.len() - 3, packed.len()] {
        let source = Pieces { cut_off: true, ..Pieces::new(&packed[..length], &[1000; 90]) };
        let mut decoder = Decoder::open(source, ImageFormat::Xz).unwrap();
        let memory = Memory::new(1 << 20, 4096);
        let error = decoder.side_by_side_by(ANY, &memory).map(|_| ()).unwrap_err();
        assert!(matches!(error, StreamError::Stopped), "{length}: {error:?}");
    }
}

#[test]
fn sums_of_sizes_do_not_overflow() {
    let huge = XzBlock { lies: Some((5, (1 << 63) - 1)), ..XzBlock::sized(&noise(900, 1)) };
    let image = xz_stream(Check::Crc64, &[huge.clone(), huge.clone(), huge]);
    let source = Pieces::new(&image, &[]);
    let mut decoder = Decoder::open(source, ImageFormat::Xz).unwrap();
    assert!(decoder.side_by_side_by(ANY, &Odd::new(Oddity::NoLimit)).is_err());
}
