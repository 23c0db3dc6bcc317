use proptest::prelude::*;

use super::*;
use crate::{
    disk::buffer::Ring,
    test_support::disks::{MIB, SmallFileSystem, TestDisk, noise},
};

const DISK: usize = 8 * MIB;

fn block(bytes: &[u8]) -> Arc<Block> {
    let mut block = Ring::new(1, MIB).blocking_take();
    assert_eq!(block.append(bytes), bytes.len());
    Arc::new(block)
}

/// A file and a loop device, and the sector that writes to them may end at.
fn disks() -> Vec<TestDisk> {
    [Some(TestDisk::file(DISK)), TestDisk::loop_device(DISK, 512), TestDisk::loop_device(DISK, 4096)]
        .into_iter()
        .flatten()
        .collect()
}

fn writer(disk: &TestDisk) -> Writer {
    Writer::new(Arc::new(Target::open(&disk.path).unwrap()), true)
}

#[test]
fn rewrites_never_overtake_what_they_replace() {
    for disk in disks() {
        let mut writer = writer(&disk);
        let mut expected = disk.content();
        for round in 0..40_u64 {
            let bytes = noise(MIB, round + 1);
            // Three places that overlap each other by halves.
            let offset = (round % 3) * MIB as u64 / 2;
            writer.write(&block(&bytes), 0..MIB, offset).unwrap();
            expected[offset as usize..][..MIB].copy_from_slice(&bytes);
        }
        writer.drain().unwrap();
        assert_eq!(writer.take_finished().len(), 40);
        writer.target.flush().unwrap();
        assert!(disk.content() == expected, "{}", writer.method());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_writes_in_any_order_are_on_the_disk(
        writes in proptest::collection::vec((0..DISK - MIB, 0..MIB, 0..MIB, any::<u64>(), any::<bool>()), 1..30),
    ) {
        let disk = TestDisk::file(DISK);
        let mut writer = writer(&disk);
        let mut expected = disk.content();
        let mut given = 0;
        for (offset, one, other, seed, aligned) in writes {
            let round = |n: usize| if aligned { n / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT } else { n };
            let (offset, one, other) = (round(offset), round(one), round(other));
            let (start, end) = (one.min(other), one.max(other));
            let bytes = noise(end, seed);
            writer.write(&block(&bytes), start..end, offset as u64).unwrap();
            expected[offset..offset + end - start].copy_from_slice(&bytes[start..]);
            given += end - start;
        }
        writer.drain().unwrap();
        let finished: usize = writer.take_finished().iter().map(|write| write.bytes.len()).sum();
        prop_assert_eq!(finished, given, "every byte is handed over for reading back");
        writer.target.flush().unwrap();
        prop_assert!(disk.content() == expected);
    }
}

#[test]
fn without_direct_writes_it_goes_through_the_page_cache() {
    for disk in disks() {
        let target = Arc::new(Target::open(&disk.path).unwrap());
        let mut writer = Writer::new(target.clone(), true);
        assert_ne!(writer.method(), "page cache");
        writer.write(&block(&noise(MIB, 1)), 0..MIB, 0).unwrap();
        // As if the device had answered EINVAL.
        target.refuse_direct();
        assert_eq!(writer.method(), "page cache");
        writer.write(&block(&noise(MIB, 2)), 0..MIB, MIB as u64).unwrap();
        writer.write(&block(&noise(MIB, 3)), 0..MIB, 0).unwrap();
        writer.drain().unwrap();
        target.flush().unwrap();
        assert!(disk.content()[..2 * MIB] == [noise(MIB, 3), noise(MIB, 2)].concat());
    }
}

#[test]
fn a_full_disk_is_an_error_with_its_place() {
    let Some(full) = SmallFileSystem::mount(5 * MIB) else { return };
    let backing = full.sparse_file(DISK as u64);
    let Some(disk) = TestDisk::of(backing).attached(512) else { return };
    let mut writer = writer(&disk);
    let place = |error: TargetError| match error {
        TargetError::Write { path, offset, length, source } => {
            assert_eq!(path, disk.path);
            assert!(source.raw_os_error().is_some(), "{source}");
            (offset, length)
        }
        other => panic!("{other:?}"),
    };
    let mut failed = None;
    for number in 0..8 {
        let offset = (number * MIB) as u64;
        failed = failed.or(writer.write(&block(&noise(MIB, 1)), 0..MIB, offset).err());
    }
    let (offset, length) = place(failed.or_else(|| writer.drain().err()).expect("5 MiB take no 8"));
    assert!((4 * MIB as u64..DISK as u64).contains(&offset) && length == MIB, "{length} at {offset}");
}

#[test]
fn zeros_are_made_in_any_range() {
    for disk in disks() {
        let target = Target::open(&disk.path).unwrap();
        let sector = u64::from(target.sector());
        let mut expected = disk.content();
        for range in [0..0, 0..sector, sector..MIB as u64, MIB as u64 + sector..3 * MIB as u64] {
            target.zero(range.clone()).unwrap();
            expected[range.start as usize..range.end as usize].fill(0);
        }
        target.zero(DISK as u64 - sector..DISK as u64).unwrap();
        expected[DISK - sector as usize..].fill(0);
        target.flush().unwrap();
        assert!(disk.content() == expected, "{}", disk.path.display());
        assert_eq!(disk.content().len(), DISK, "the length stays");
    }
}

#[test]
fn zeros_are_written_where_the_device_makes_none() {
    for disk in disks() {
        let target = Target::open(&disk.path).unwrap();
        target.make_no_zeros();
        let ragged = 512..2 * MIB as u64 + 512;
        assert!(!target.zero(ragged.clone()).unwrap());
        target.flush().unwrap();
        let mut expected = vec![0xa5; DISK];
        expected[ragged.start as usize..ragged.end as usize].fill(0);
        assert!(disk.content() == expected, "{}", disk.path.display());
    }
}

/// What the page cache holds of a disk is not what the disk holds.
#[test]
fn reading_back_goes_past_the_page_cache_at_any_place() {
    let Some(disk) = TestDisk::loop_device(MIB, 512) else { return };
    let target = Target::open(&disk.path).unwrap();
    for (offset, length) in [(0_usize, 8192), (512, 1024), (4096 * 3 + 512, 100), (MIB - 512, 512)] {
        target.write_at(&vec![7; length], offset as u64).unwrap();
        target.file().sync_all().unwrap();
        // The disk changes its mind.
        let backing = std::fs::File::options().write(true).open(&disk.backing).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&backing, &vec![9; length], offset as u64).unwrap();
        let mut read = vec![0; length];
        target.read_at(&mut read, offset as u64).unwrap();
        assert!(read.iter().all(|byte| *byte == 9), "{length} bytes at {offset} came from the cache");
    }
}
