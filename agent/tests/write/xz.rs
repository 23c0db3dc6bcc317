//! xz images of several blocks, which are unpacked side by side where there are several cores.

use liblzma::stream::Check;

use crate::{
    disks::{MIB, TestDisk, assert_boot_area_is_zero, gpt_image},
    program::{Said, honest, write_json},
    xz::{XzBlock, xz_blocks, xz_stream},
};

const IMAGE: usize = 12 * MIB;

/// Noise with a hole, over the border of two blocks.
fn image() -> Vec<u8> {
    let mut image = gpt_image(IMAGE, 512);
    image[3 * MIB..5 * MIB + 300_000].fill(0);
    image
}

fn write(served: &[u8], disk: &TestDisk) -> Said {
    Said::of(write_json(honest(served).url("/image").as_str(), &disk.path, served, &["--verify-readback"]))
}

fn disks() -> impl Iterator<Item = TestDisk> {
    [Some(TestDisk::file(IMAGE)), TestDisk::loop_device(IMAGE, 512)].into_iter().flatten()
}

#[test]
fn blocks_of_all_sizes_are_on_the_disk_byte_for_byte() {
    let image = image();
    for disk in disks() {
        for block in [MIB, 4 * MIB, 2 * MIB + 4096, MIB + 512, IMAGE] {
            let receipt = write(&xz_blocks(&image, block), &disk).receipt();
            assert_eq!((&receipt["format"], &receipt["bytes_written"]), (&"xz".into(), &IMAGE.into()));
            assert_eq!(receipt["work"]["bytes_read_back"], IMAGE);
            assert!(disk.content() == image, "blocks of {block}");
            std::fs::write(&disk.path, vec![0xa5; IMAGE]).unwrap();
        }
    }
}

#[test]
fn what_is_wrong_in_a_late_block_leaves_no_partition_table() {
    let image = image();
    let packed = xz_blocks(&image, 2 * MIB);
    let mut flipped = packed.clone();
    let late = packed.len() - 200_000;
    flipped[late] ^= 1;
    let mut index = packed.clone();
    let last = packed.len() - 20;
    index[last] ^= 1;
    let garbage = [&packed[..], b"<html>"].concat();
    for disk in disks() {
        for served in [&flipped[..], &index, &garbage, &packed[..late]] {
            let said = write(served, &disk);
            said.error(5);
            assert_eq!(said.last_event()["device_left"], "no_boot_area");
            assert_boot_area_is_zero(&disk.content());
        }
    }
}

#[test]
fn what_can_be_refused_before_writing_leaves_the_disk_alone() {
    let image = image();
    let mut no_table = image.clone();
    no_table[..MIB].fill(7);
    let blocks = |image: &[u8], lies| {
        let block = |content: &[u8]| XzBlock { lies, ..XzBlock::sized(content) };
        xz_stream(Check::Crc64, &image.chunks(2 * MIB).map(block).collect::<Vec<_>>())
    };
    for disk in disks() {
        let before = disk.content();
        for (served, word) in [
            (blocks(&no_table, None), "no partition table"),
            (blocks(&image, Some((1 << 40, 1 << 62))), "larger than the disk"),
            (blocks(&image, Some((1, 2 << 20))), "damaged"),
        ] {
            let said = write(&served, &disk);
            assert!(said.error(5).contains(word), "{said:?}");
            assert_eq!(said.last_event()["device_left"], "unchanged");
            assert!(disk.content() == before);
        }
    }
}
