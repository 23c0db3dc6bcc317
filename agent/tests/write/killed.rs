//! The program is killed at any moment, as a power cut would: what is on the disk then never boots half an image.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use bessemer_proto::manifest::{Manifest, Range};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::Rng as _;

use crate::{
    disks::{MIB, TestDisk, assert_boot_area_is_zero, gpt_image, noise, sha256},
    program::{Said, honest, start, write_json},
    server::{Reply, Served, Server},
};

const DISK: usize = 12 * MIB;
/// Runs on each kind of disk.
const RUNS: u64 = 20;
/// How long a write takes, about, and a bit.
const LONGEST: Duration = Duration::from_millis(900);
/// Where the body of an image ends: behind it is the backup table.
const TAIL: usize = DISK - MIB;

/// A bootable image whose body is noise of this seed.
fn image(seed: u64) -> Vec<u8> {
    let mut image = gpt_image(DISK, 512);
    image[MIB..TAIL].copy_from_slice(&noise(TAIL - MIB, seed));
    image
}

/// Half a second for an image; its manifest is there too.
fn slow(image: &[u8]) -> Server {
    let served = Served::new(image.to_vec());
    let manifest = manifest(image);
    Server::serve(move |request| match request.path.as_str() {
        "/manifest" => Reply::ok(manifest.clone()),
        _ => served.reply(request).paced(256 << 10, Duration::from_millis(10)),
    })
}

/// Ranges of a MiB.
fn manifest(image: &[u8]) -> String {
    let range = |(index, bytes): (usize, &[u8])| Range {
        offset: (index * MIB) as u64,
        length: bytes.len() as u64,
        sha256: sha256(bytes).bytes().try_into().unwrap(),
    };
    let ranges = image.chunks(MIB).enumerate().map(range).collect();
    Manifest { image_bytes: image.len() as u64, image_digest: Some(sha256(image)), ranges }.to_json()
}

/// A boot sector, a partition table or its backup.
fn has_table(disk: &[u8]) -> bool {
    let backups = [512, 4096].map(|sector| &disk[disk.len() - sector..][..8]);
    disk[510..512] == [0x55, 0xaa]
        || [512, 4096].into_iter().any(|sector| &disk[sector..sector + 8] == b"EFI PART")
        || backups.contains(&&b"EFI PART"[..])
}

/// What a disk may be after the program is gone.
fn judge(disk: &[u8], old: &[u8], new: &[u8], said: &Said) -> &'static str {
    let mut events = said.out.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let last = events.next_back().unwrap_or_default();
    if last["event"] == "receipt" {
        assert!(disk == new, "a receipt for another image");
        return "receipt";
    }
    if disk == old {
        return "untouched";
    }
    if !has_table(disk) {
        return "no table";
    }
    // Between two writes of the boot area: then the body is all of one image, and the new one only when it is proved.
    let body = &disk[MIB..TAIL];
    if body == &old[MIB..TAIL] {
        return "old body";
    }
    assert!(body == &new[MIB..TAIL], "a partition table over half an image; last words: {last}");
    assert_eq!(last["stage"], "writing boot area", "a partition table before the proof: {last}");
    "new body"
}

fn kill_at_random(disk: &TestDisk, by_manifest: bool) {
    let mut seen = std::collections::BTreeMap::new();
    let mut random = rand::rng();
    for run in 0..RUNS {
        let (old, new) = (image(2 * run + 1), image(2 * run + 2));
        std::fs::write(&disk.path, &old).unwrap();
        let server = slow(&new);
        let mut command = write_json(server.url("/image").as_str(), &disk.path, &new, &[]);
        if by_manifest {
            let digest = sha256(manifest(&new).as_bytes()).hex();
            command.args(["--manifest", server.url("/manifest").as_str(), "--manifest-sha256", &digest]);
        }
        let mut child = start(command);
        std::thread::sleep(random.random_range(Duration::ZERO..LONGEST));
        child.kill().unwrap();
        let said = Said::from(child.wait_with_output().unwrap());
        *seen.entry(judge(&disk.content(), &old, &new, &said)).or_insert(0) += 1;
    }
    println!("{seen:?}");
    assert!(seen.contains_key("no table"), "the program was never killed in the middle: {seen:?}");
    let last = image(0);
    Said::of(write_json(honest(&last).url("/image").as_str(), &disk.path, &last, &[])).receipt();
    assert!(disk.content() == last, "the next run");
}

#[test]
fn a_kill_at_any_moment_leaves_no_table_on_a_file() {
    kill_at_random(&TestDisk::file(DISK), false);
}

#[test]
fn a_kill_at_any_moment_leaves_no_table_on_a_device() {
    if let Some(disk) = TestDisk::loop_device(DISK, 512) {
        kill_at_random(&disk, false);
    }
}

#[test]
fn a_kill_at_any_moment_of_a_write_by_manifest_leaves_no_table() {
    kill_at_random(&TestDisk::file(DISK), true);
    if let Some(disk) = TestDisk::loop_device(DISK, 512) {
        kill_at_random(&disk, true);
    }
}

#[test]
fn a_kill_while_the_boot_area_is_written_leaves_all_of_it_or_a_whole_image() {
    let Some(disk) = TestDisk::loop_device(DISK, 512) else { return };
    let mut seen = std::collections::BTreeMap::new();
    for run in 0..RUNS {
        let (old, new) = (image(2 * run + 1), image(2 * run + 2));
        std::fs::write(&disk.path, &old).unwrap();
        let server = honest(&new);
        let mut child = start(write_json(server.url("/image").as_str(), &disk.path, &new, &[]));
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.contains("writing boot area") && out.read_line(&mut text).unwrap() > 0 {}
        std::thread::sleep(rand::rng().random_range(Duration::ZERO..Duration::from_millis(12)));
        child.kill().unwrap();
        out.read_to_string(&mut text).unwrap();
        let said = Said { out: text, ..Said::from(child.wait_with_output().unwrap()) };
        *seen.entry(judge(&disk.content(), &old, &new, &said)).or_insert(0) += 1;
    }
    println!("{seen:?}");
}

/// Sends `signal` a while after the first line; the run must end soon.
fn signalled(mut child: Child, signal: Signal, after: Duration) -> Said {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    out.read_line(&mut text).unwrap();
    std::thread::sleep(after);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, signal).unwrap();
    let begun = Instant::now();
    out.read_to_string(&mut text).unwrap();
    let said = Said { out: text, ..Said::from(child.wait_with_output().unwrap()) };
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}: {said:?}", begun.elapsed());
    said
}

fn write_slowly(server: &Server, path: &Path, image: &[u8]) -> Child {
    start(write_json(server.url("/image").as_str(), path, image, &["--verify-readback"]))
}

#[test]
fn a_polite_end_has_its_exit_code_and_leaves_no_table() {
    let disk = TestDisk::loop_device(DISK, 512).unwrap_or_else(|| TestDisk::file(DISK));
    for (signal, after) in [(Signal::SIGTERM, 0), (Signal::SIGTERM, 150), (Signal::SIGINT, 250)] {
        let (old, new) = (image(1), image(2));
        std::fs::write(&disk.path, &old).unwrap();
        let server = slow(&new);
        let said = signalled(write_slowly(&server, &disk.path, &new), signal, Duration::from_millis(after));
        assert!(said.error(130).contains("cancelled"));
        let content = disk.content();
        if content != old {
            assert_boot_area_is_zero(&content);
        }
    }
    let new = image(3);
    Said::of(write_json(honest(&new).url("/image").as_str(), &disk.path, &new, &[])).receipt();
}

#[test]
fn a_polite_end_does_not_wait_for_a_server() {
    let new = image(2);
    let served = Served::new(new.clone());
    let stalls = Server::serve(move |request| served.reply(request).cut_at(6 * MIB).then_stall());
    let disk = TestDisk::file(DISK);
    let child = write_slowly(&stalls, &disk.path, &new);
    signalled(child, Signal::SIGTERM, Duration::from_millis(500)).error(130);
    assert_boot_area_is_zero(&disk.content());
    // Between two attempts.
    let busy = Server::start(|_| Reply::status("503 Service Unavailable").header("Retry-After: 60"));
    let disk = TestDisk::file(DISK);
    let child = write_slowly(&busy, &disk.path, &new);
    signalled(child, Signal::SIGTERM, Duration::from_millis(100)).error(130);
    assert!(disk.content() == vec![0xa5; DISK], "nothing had come, so nothing is lost");
}
