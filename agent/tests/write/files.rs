//! Regular files as targets: a new or empty one takes the length of the image, one with content is a disk.

use std::path::Path;

use crate::{
    disks::{MIB, TestDisk, gpt_image, gzip, noise},
    program::{Said, honest, write_json},
    server::{Served, Server},
};

fn write(served: &[u8], path: &Path) -> Said {
    Said::of(write_json(honest(served).url("/image").as_str(), path, served, &[]))
}

/// Ends in zeros, which become a hole, and within a sector.
fn with_empty_end() -> Vec<u8> {
    let mut image = noise(5 * MIB + 700, 4);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image[2 * MIB..].fill(0);
    image
}

fn small() -> Vec<u8> {
    let mut image = noise(700, 4);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

#[test]
fn a_new_file_has_the_length_of_the_image() {
    let folder = tempfile::tempdir().unwrap();
    for (number, image) in [gpt_image(4 * MIB, 512), with_empty_end(), small()].into_iter().enumerate() {
        // Such a stream does not tell its length in advance.
        let zstd = zstd::stream::encode_all(&image[..], 1).unwrap();
        for (name, served) in [("raw", &image), ("gzip", &gzip(&image)), ("zstd", &zstd)] {
            let path = folder.path().join(format!("{name}-{number}"));
            let receipt = write(served, &path).receipt();
            assert_eq!(receipt["bytes_written"], image.len());
            assert_eq!(receipt["device"]["size"], image.len());
            assert!(std::fs::read(&path).unwrap() == image, "{name} {number}");
        }
    }
}

#[test]
fn a_failed_write_leaves_no_new_file_and_the_next_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let image = gpt_image(4 * MIB, 512);
    let mut flipped = image.clone();
    flipped[2 * MIB] ^= 1;
    let said = Said::of(write_json(honest(&flipped).url("/image").as_str(), &path, &image, &[]));
    said.error(4);
    assert!(!path.exists());
    std::fs::write(&path, b"").unwrap();
    let said = Said::of(write_json(honest(&flipped).url("/image").as_str(), &path, &image, &[]));
    said.error(4);
    assert_eq!(said.last_event()["device_left"], "unchanged");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "what was there stays, empty as it was");
    write(&image, &path).receipt();
    assert!(std::fs::read(&path).unwrap() == image);
}

#[test]
fn a_file_with_content_is_a_disk_of_its_size() {
    let disk = TestDisk::file(6 * MIB);
    let image = gpt_image(4 * MIB, 512);
    let receipt = write(&image, &disk.path).receipt();
    assert_eq!(receipt["device"]["size"], 6 * MIB);
    let content = disk.content();
    assert_eq!(content.len(), 6 * MIB);
    assert!(content[MIB..3 * MIB] == image[MIB..3 * MIB]);
    assert_eq!(&content[6 * MIB - 512..][..8], b"EFI PART", "the backup table is at the end");
    write(&gpt_image(7 * MIB, 512), &disk.path).error(5);
}

#[test]
fn a_link_to_a_disk_is_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("by-id");
    let image = gpt_image(4 * MIB, 512);
    let disk = TestDisk::loop_device(4 * MIB, 512).unwrap_or_else(|| TestDisk::file(4 * MIB));
    std::os::unix::fs::symlink(&disk.path, &link).unwrap();
    let receipt = write(&image, &link).receipt();
    assert!(disk.content() == image);
    let name = receipt["device"]["name"].as_str().unwrap().to_owned();
    assert!([link.to_str(), disk.path.to_str()].contains(&Some(&*name)), "{name}");
}

#[test]
fn a_break_in_the_middle_of_a_new_file_is_no_matter() {
    let folder = tempfile::tempdir().unwrap();
    let image = with_empty_end();
    let served = Served::new(image.clone());
    let server = Server::serve(move |request| match request.number {
        0 => served.reply(request).cut_at(3 * MIB + 5),
        _ => served.reply(request),
    });
    let path = folder.path().join("disk");
    let said = Said::of(write_json(server.url("/image").as_str(), &path, &image, &[]));
    assert_eq!(said.receipt()["work"]["retries"], 1);
    assert!(std::fs::read(&path).unwrap() == image);
}

/// Zeros that were never written are read back, too.
#[test]
fn a_new_file_with_holes_is_read_back() {
    let mut image = gpt_image(8 * MIB, 512);
    image[2 * MIB..5 * MIB].fill(0);
    image[6 * MIB..].fill(0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let url = honest(&image).url("/image");
    let said = Said::of(write_json(url.as_str(), &path, &image, &["--verify-readback"]));
    assert_eq!(said.receipt()["work"]["bytes_read_back"], 8 * MIB);
    // Its backup table was zero, so it got another.
    assert!(std::fs::read(&path).unwrap()[..7 * MIB] == image[..7 * MIB]);
}

#[test]
fn a_file_is_written_by_one_at_a_time() {
    let image = gpt_image(4 * MIB, 512);
    let disk = TestDisk::file(4 * MIB);
    let held = std::fs::File::open(&disk.path).unwrap();
    held.lock().unwrap();
    write(&image, &disk.path).error(6);
    drop(held);
    write(&image, &disk.path).receipt();
}
