//! Disks that are full, small, in use, write-protected or liars. As root, on loop devices.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    disks::{MIB, SmallFileSystem, TestDisk, assert_boot_area_is_zero, gpt_image, noise},
    program::{Said, honest, start, write_json},
    server::{Served, Server},
};

const IMAGE: usize = 8 * MIB;

fn image() -> Vec<u8> {
    gpt_image(IMAGE, 512)
}

fn write(image: &[u8], device: &Path, more: &[&str]) -> Said {
    Said::of(write_json(honest(image).url("/image").as_str(), device, image, more))
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_disk_that_fails_in_the_middle_is_named_with_the_place() {
    let Some(full) = SmallFileSystem::mount(5 * MIB) else { return };
    let Some(disk) = TestDisk::of(full.sparse_file(IMAGE as u64)).attached(512) else { return };
    let message = write(&image(), &disk.path, &[]).error(7);
    assert!(message.contains(disk.path.to_str().unwrap()) && message.contains(" at byte "), "{message}");
    assert_boot_area_is_zero(&disk.content());
}

#[test]
fn a_file_system_that_is_full_is_an_error_too() {
    let Some(full) = SmallFileSystem::mount(5 * MIB) else { return };
    let path = full.sparse_file(IMAGE as u64);
    let message = write(&image(), &path, &[]).error(7);
    assert!(message.contains("No space left"), "{message}");
    assert_boot_area_is_zero(&std::fs::read(&path).unwrap());
}

#[test]
fn a_file_system_in_memory_takes_an_image() {
    let Some(memory) = SmallFileSystem::mount(20 * MIB) else { return };
    let path = memory.path().join("disk");
    let receipt = write(&image(), &path, &["--verify-readback"]).receipt();
    let writer = receipt["work"]["writer"].as_str().unwrap().to_owned();
    assert!(["io_uring", "pwrite", "page cache"].contains(&&*writer), "{writer}");
    assert!(std::fs::read(&path).unwrap() == image());
}

#[test]
fn a_disk_that_is_too_small_is_left_alone() {
    let Some(disk) = TestDisk::loop_device(IMAGE - 4096, 512) else { return };
    let message = write(&image(), &disk.path, &[]).error(5);
    assert!(message.contains(&format!("({} bytes)", IMAGE - 4096)), "{message}");
    assert!(disk.content() == vec![0xa5; IMAGE - 4096]);
}

#[test]
fn a_write_protected_disk_is_refused() {
    let Some(disk) = TestDisk::file(IMAGE).attached_with(512, &["--read-only"]) else { return };
    let message = write(&image(), &disk.path, &[]).error(6);
    assert!(message.contains("read-only"), "{message}");
}

/// A mounted file system.
struct Mounted {
    folder: tempfile::TempDir,
}

impl Mounted {
    fn of(device: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run("mkfs.ext4", &["-q", "-F", device.to_str().unwrap()]);
        run("mount", &["-t", "ext4", device.to_str().unwrap(), folder.path().to_str().unwrap()]);
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

#[test]
fn a_mounted_disk_is_refused_with_its_mount_point() {
    let Some(disk) = TestDisk::loop_device(IMAGE, 512) else { return };
    let mounted = Mounted::of(&disk.path);
    let message = write(&image(), &disk.path, &[]).error(6);
    assert!(message.contains(mounted.path().to_str().unwrap()), "{message}");
}

/// The first partition of a loop device, made known to the kernel even where that reads no tables itself.
fn partition(disk: &TestDisk) -> PathBuf {
    let device = disk.path.to_str().unwrap();
    let partition = PathBuf::from(format!("{device}p1"));
    if !partition.exists() {
        run("addpart", &[device, "1", "2048", "8192"]);
    }
    partition
}

#[test]
fn a_disk_with_a_mounted_partition_is_refused_with_both() {
    let Some(disk) = TestDisk::with(&image()).attached(512) else { return };
    let partition = partition(&disk);
    let before = disk.content();
    let message = write(&image(), &partition, &[]).error(6);
    assert!(message.contains("is a partition"), "{message}");
    assert!(disk.content() == before, "a refused disk is left alone");
    let mounted = Mounted::of(&partition);
    let message = write(&image(), &disk.path, &[]).error(6);
    let on = mounted.path().to_str().unwrap();
    assert!(message.contains(on) && message.contains(partition.to_str().unwrap()), "{message}");
    drop(mounted);
    // Nobody uses it any more, so it is written, and the partition of the old table is gone.
    write(&image(), &disk.path, &[]).receipt();
    assert!(disk.content() == image());
}

#[test]
fn a_disk_that_another_program_holds_is_refused() {
    let Some(disk) = TestDisk::loop_device(IMAGE, 512) else { return };
    let exclusive = nix::libc::O_EXCL;
    let held = OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(&disk.path).unwrap();
    let message = write(&image(), &disk.path, &[]).error(6);
    assert!(message.contains("in use by another program"), "{message}");
    drop(held);
    assert!(disk.content() == vec![0xa5; IMAGE]);
}

#[test]
fn a_disk_is_written_by_one_at_a_time() {
    let Some(disk) = TestDisk::loop_device(IMAGE, 512) else { return };
    let served = Served::new(image());
    let slow =
        Server::serve(move |request| served.reply(request).paced(256 << 10, Duration::from_millis(30)));
    let first = start(write_json(slow.url("/image").as_str(), &disk.path, &image(), &[]));
    std::thread::sleep(Duration::from_millis(500));
    write(&gpt_image(4 * MIB, 512), &disk.path, &[]).error(6);
    Said::from(first.wait_with_output().unwrap()).receipt();
    assert!(disk.content() == image());
}

#[test]
fn sectors_of_4096_bytes_and_ragged_sizes_are_fine() {
    let Some(disk) = TestDisk::loop_device(IMAGE, 4096) else { return };
    let native = gpt_image(IMAGE, 4096);
    write(&native, &disk.path, &["--verify-readback"]).receipt();
    assert!(disk.content() == native);
    // A disk whose size is no multiple of 4096, and an image that ends within a sector.
    let size = IMAGE + 5 * 512;
    for length in [3 * MIB + 17, IMAGE + 511, size] {
        let Some(disk) = TestDisk::loop_device(size, 512) else { return };
        let mut image = noise(length, 8);
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        let receipt = write(&image, &disk.path, &["--verify-readback"]).receipt();
        assert!(disk.content()[..length] == image, "{length}");
        assert_eq!(receipt["bytes_written"], length);
    }
}

/// Spoils a byte behind a loop device again and again. (Of a file that is written directly the kernel itself would notice.)
struct Liar {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Liar {
    fn at(backing: &Path, offset: u64) -> Self {
        let file = File::options().write(true).open(backing).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                file.write_all_at(&[0xee], offset).unwrap();
            }
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_disk_that_does_not_hold_what_was_written_is_found_out() {
    let mut image = image();
    // Other than what the liar writes, and not zero.
    let spoilt = 3 * MIB + 1234;
    image[spoilt] = 0x11;
    let Some(disk) = TestDisk::loop_device(IMAGE, 512) else { return };
    let liar = Liar::at(&disk.backing, spoilt as u64);
    let said = write(&image, &disk.path, &["--verify-readback"]);
    liar.stop();
    let message = said.error(8);
    assert!(message.contains(disk.path.to_str().unwrap()), "{message}");
    assert_boot_area_is_zero(&disk.content());
}

#[test]
fn a_disk_that_spoils_the_boot_area_is_found_out() {
    let mut image = image();
    // In the last MiB, which is written first: some flushes pass until it is compared.
    let spoilt = IMAGE - 600_000;
    image[spoilt] = 0x11;
    // On a busy machine the liar may come too late.
    for _ in 0..30 {
        let Some(disk) = TestDisk::loop_device(IMAGE, 512) else { return };
        let liar = Liar::at(&disk.backing, spoilt as u64);
        let said = write(&image, &disk.path, &["--verify-readback"]);
        liar.stop();
        if said.code == Some(0) {
            continue;
        }
        said.error(8);
        assert_boot_area_is_zero(&disk.content());
        return;
    }
    panic!("the liar was believed thirty times");
}

#[test]
fn without_reading_back_a_liar_is_believed() {
    let Some(disk) = TestDisk::loop_device(IMAGE, 512) else { return };
    let liar = Liar::at(&disk.backing, 3 * MIB as u64);
    let receipt = write(&image(), &disk.path, &[]).receipt();
    liar.stop();
    assert_eq!(receipt["work"]["bytes_read_back"], 0);
}
