use std::{
    io::Read as _,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
};

use super::*;
use crate::{
    disk::buffer::Ring,
    test_support::disks::{MIB, SmallFileSystem, noise},
};

fn block(seed: u64) -> Arc<Block> {
    let mut block = Ring::new(1, MIB).blocking_take();
    block.append(&noise(MIB, seed));
    Arc::new(block)
}

fn whole(block: &Arc<Block>, offset: u64) -> Write {
    Write { block: block.clone(), bytes: 0..MIB, offset }
}

/// `None`, with the reason on standard error, where the kernel has no io_uring.
fn queue(file: &File, depth: u32) -> Option<WriteQueue> {
    WriteQueue::new(file, depth).inspect_err(|error| eprintln!("skipped: no io_uring: {error}")).ok()
}

#[test]
fn every_write_comes_back_once_in_whatever_order() {
    let file = tempfile::tempfile().unwrap();
    let Some(mut queue) = queue(&file, 4) else { return };
    let blocks: Vec<_> = (0..4).map(block).collect();
    for (place, block) in blocks.iter().enumerate().rev() {
        queue.begin(whole(block, (place * MIB) as u64)).unwrap();
    }
    assert!(queue.is_full());
    let refused = queue.begin(whole(&blocks[0], 0)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    let mut finished = Vec::new();
    while let Some((write, result)) = queue.finish_one().unwrap() {
        result.unwrap();
        finished.push(write.offset);
    }
    finished.sort_unstable();
    assert_eq!(finished, [0, 1, 2, 3].map(|place| place * MIB as u64));
    assert!(!queue.is_full() && queue.under_way().next().is_none());
    let mut content = vec![0; 4 * MIB];
    file.read_exact_at(&mut content, 0).unwrap();
    assert!(content == [0, 1, 2, 3].map(|seed| noise(MIB, seed)).concat());
}

#[test]
fn a_queue_that_is_dropped_finishes_its_writes_first() {
    let file = tempfile::tempfile().unwrap();
    let Some(mut queue) = queue(&file, 4) else { return };
    let block = block(1);
    for place in 0..4 {
        queue.begin(whole(&block, (place * MIB) as u64)).unwrap();
    }
    drop(queue);
    assert_eq!(Arc::strong_count(&block), 1, "the kernel may still read the memory");
    assert_eq!(file.metadata().unwrap().len(), 4 * MIB as u64);
}

#[test]
fn the_rest_of_a_short_write_is_begun_again() {
    // A pipe takes as much as it has room for.
    let (mut reader, writer) = io::pipe().unwrap();
    let writer = File::from(OwnedFd::from(writer));
    let Some(mut queue) = queue(&writer, 1) else { return };
    drop(writer);
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    queue.begin(whole(&block(2), 0)).unwrap();
    let (write, result) = queue.finish_one().unwrap().unwrap();
    result.unwrap();
    assert_eq!((write.bytes, write.offset), (0..MIB, 0), "the write comes back as it was given");
    drop(queue);
    assert!(reading.join().unwrap() == noise(MIB, 2));
}

#[test]
fn a_full_file_system_is_an_error_of_the_write_that_hit_it() {
    let Some(full) = SmallFileSystem::mount(3 * MIB) else { return };
    let file = File::create(full.path().join("file")).unwrap();
    let Some(mut queue) = queue(&file, 4) else { return };
    let block = block(3);
    for place in 0..4 {
        queue.begin(whole(&block, (place * MIB) as u64)).unwrap();
    }
    let mut failed = Vec::new();
    while let Some((write, result)) = queue.finish_one().unwrap() {
        if let Err(error) = result {
            failed.push((write.bytes, error.raw_os_error()));
        }
    }
    assert_eq!(failed, [(0..MIB, Some(nix::libc::ENOSPC))]);
}

#[test]
fn writes_outside_their_block_are_refused() {
    let file = tempfile::tempfile().unwrap();
    let Some(mut queue) = queue(&file, 1) else { return };
    let outside = Write { bytes: MIB - 1..MIB + 1, ..whole(&block(4), 0) };
    assert_eq!(queue.begin(outside).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(queue.finish_one().unwrap().is_none());
}
