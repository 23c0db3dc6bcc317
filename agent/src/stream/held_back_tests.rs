use proptest::prelude::*;

use super::*;
use crate::{
    stream::digest::tests::proof,
    test_support::disks::{MIB, SmallFileSystem, TestDisk, assert_boot_area_is_zero, gpt_image, noise},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_boot_area_is_zero_until_release_and_the_image_is_whole_after(
        disk_sectors in 1_usize..10_000,
        part in 0.0_f64..=1.0,
        lengths in proptest::collection::vec(1_usize..(MIB + MIB / 2), 1..30),
    ) {
        let size = disk_sectors * 512;
        let image = noise(((size as f64 * part) as usize).clamp(1, size), 3);
        let disk = TestDisk::file(size);
        let target = Target::open(&disk.path).unwrap();
        let mut held = HeldBack::clear(&target).unwrap();
        let (mut at, mut lengths) = (0, lengths.into_iter().cycle());
        while at < image.len() {
            let length = lengths.next().unwrap().min(image.len() - at);
            let data = &image[at..at + length];
            let body = held.keep(data, at as u64);
            target.write_at(&data[body.clone()], (at + body.start) as u64).unwrap();
            at += length;
        }
        let before = disk.content();
        assert_boot_area_is_zero(&before);
        let end = image.len().min(size.saturating_sub(MIB) / 4096 * 4096);
        if end > MIB {
            prop_assert!(before[MIB..end] == image[MIB..end], "the body is not what the image has");
        }
        held.release(&proof(&image), &target).unwrap();
        let after = disk.content();
        prop_assert_eq!(after.len(), size);
        prop_assert!(after[..image.len()] == image, "the released disk is not the image");
    }
}

#[test]
fn an_old_table_at_the_end_of_the_disk_goes_even_if_the_image_is_small() {
    let disk = TestDisk::file(8 * MIB);
    let target = Target::open(&disk.path).unwrap();
    let mut held = HeldBack::clear(&target).unwrap();
    let image = noise(3 * MIB, 1);
    let body = held.keep(&image, 0);
    target.write_at(&image[body.clone()], body.start as u64).unwrap();
    held.release(&proof(&image), &target).unwrap();
    let content = disk.content();
    assert!(content[..3 * MIB] == image);
    assert!(content[7 * MIB..].iter().all(|byte| *byte == 0));
}

/// A sector that cannot be written keeps no other from becoming zero.
#[test]
fn what_can_be_cleared_is_cleared() {
    let Some(small) = SmallFileSystem::mount(5 * MIB) else { return };
    let path = small.sparse_file(8 * MIB as u64);
    // Full, but for the end of the disk and a few blocks at its start.
    let old = gpt_image(8 * MIB, 512);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    use std::os::unix::fs::FileExt as _;
    file.write_all_at(&old[7 * MIB..], 7 * MIB as u64).unwrap();
    file.write_all_at(&old[..64 << 10], 0).unwrap();
    std::fs::write(small.path().join("filler"), vec![1; 5 * MIB]).unwrap_err();
    let Some(disk) = TestDisk::of(path).attached(512) else { return };
    let target = Target::open(&disk.path).unwrap();
    assert!(HeldBack::clear(&target).is_err());
    assert_eq!(target.left(), crate::disk::Left::Unknown);
    drop(target);
    let content = std::fs::read(&disk.backing).unwrap();
    assert_boot_area_is_zero(&content);
}
