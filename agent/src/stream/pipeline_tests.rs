use std::time::Duration;

use bessemer_proto::step::DigestSource;

use sha2::Digest as _;

use super::*;
use crate::{
    stream::{DecodeError, FetchError, fetch::FetchOptions, job::Job},
    test_support::{
        Heard,
        disks::{MIB, TestDisk, assert_boot_area_is_zero, gpt_image, gzip, noise, sha256},
        server::{Reply, Server},
    },
};

#[derive(Clone)]
struct Case {
    expected: Digest,
    reply: Reply,
    format: ImageFormat,
    attempts: u32,
    options: WriteOptions,
}

impl Case {
    /// All as it should be.
    fn good(served: Vec<u8>) -> Self {
        let expected = sha256(&served);
        Self {
            reply: Reply::ok(served),
            expected,
            format: ImageFormat::Auto,
            attempts: 1,
            options: WriteOptions::default(),
        }
    }

    async fn run(self, disk: &TestDisk) -> Result<Written, StreamError> {
        self.run_with(disk, &CancellationToken::new()).await
    }

    async fn run_with(self, disk: &TestDisk, cancel: &CancellationToken) -> Result<Written, StreamError> {
        let reply = self.reply;
        let server = Server::start(move |_| reply.clone());
        let fetch = FetchOptions {
            read_timeout: Duration::from_millis(500),
            attempts: self.attempts,
            first_pause: Duration::from_millis(1),
            ..FetchOptions::default()
        };
        let job = Job {
            url: server.url("/image"),
            format: self.format,
            digest: Some(DigestSource::Value(self.expected)),
            manifest: None,
            authorization: None,
            fetch,
            write: self.options,
        };
        let target = Arc::new(Target::open(&disk.path).unwrap());
        job.run(target, Arc::new(Heard::default()), cancel).await
    }
}

/// A file, and loop devices of both sector sizes where there are any.
fn disks(length: usize) -> Vec<(TestDisk, u64)> {
    let loops =
        [512, 4096].map(|sector| TestDisk::loop_device(length, sector).map(|disk| (disk, u64::from(sector))));
    [Some((TestDisk::file(length), 512))].into_iter().chain(loops).flatten().collect()
}

fn partitions(disk: &TestDisk, sector: u64) -> (GPTPlaces, usize) {
    let content = disk.content();
    let mut reader = std::io::Cursor::new(&content);
    let gpt = gptman::GPT::read_from(&mut reader, sector).unwrap();
    let last = content.len() as u64 / sector - 1;
    let backup = &content[(last * sector) as usize..][..8];
    let places = GPTPlaces { says: gpt.header.backup_lba, last, there: backup == b"EFI PART" };
    (places, gpt.iter().filter(|(_, entry)| entry.is_used()).count())
}

struct GPTPlaces {
    says: u64,
    last: u64,
    there: bool,
}

#[tokio::test]
async fn good_images_of_every_format_are_on_the_disk_byte_for_byte() {
    for (disk, sector) in disks(12 * MIB) {
        let image = gpt_image(12 * MIB, sector);
        let packed = [
            (image.clone(), ImageFormat::Raw),
            (gzip(&image), ImageFormat::Gzip),
            (zstd::stream::encode_all(&image[..], 1).unwrap(), ImageFormat::Zstd),
        ];
        for (served, format) in packed {
            let length = served.len() as u64;
            let written = Case::good(served).run(&disk).await.unwrap();
            assert_eq!((written.format, written.bytes_written), (format, image.len() as u64));
            assert_eq!(written.verified.bytes(), length);
            assert!(disk.content() == image, "{format:?} on sectors of {sector}");
        }
    }
}

#[tokio::test]
async fn the_backup_table_moves_to_the_end_of_a_larger_disk() {
    for (disk, sector) in disks(16 * MIB) {
        let image = gpt_image(6 * MIB, sector);
        Case::good(image.clone()).run(&disk).await.unwrap();
        let (places, used) = partitions(&disk, sector);
        assert!(places.there, "no backup at the end");
        assert_eq!((places.says, used), (places.last, 2));
        let content = disk.content();
        // Everything but the table itself is the image.
        assert!(content[MIB..5 * MIB] == image[MIB..5 * MIB]);
        let covered = u32::from_le_bytes(content[446 + 12..446 + 16].try_into().unwrap());
        assert_eq!(u64::from(covered), places.last);
    }
}

#[tokio::test]
async fn images_that_end_anywhere_are_whole() {
    for (disk, _) in disks(8 * MIB) {
        for length in [512, 700, MIB - 1, MIB, MIB + 1, 3 * MIB + 17, 7 * MIB + 4095, 8 * MIB] {
            let mut image = noise(length, 5);
            image[510..512].copy_from_slice(&[0x55, 0xaa]);
            let written = Case::good(image.clone()).run(&disk).await.unwrap();
            assert_eq!(written.bytes_written, length as u64);
            assert!(disk.content()[..length] == image, "{length}");
        }
    }
}

/// Serves `case` to a file and to a loop device; the error must be what `check` says and the boot area zero.
async fn fails_and_leaves_zeros(name: &str, case: Case, check: impl Fn(&StreamError) -> bool) {
    for disk in [Some(TestDisk::file(12 * MIB)), TestDisk::loop_device(12 * MIB, 512)].into_iter().flatten() {
        let error = case.clone().run(&disk).await.unwrap_err();
        assert!(check(&error), "{name}: {error:?}");
        assert_boot_area_is_zero(&disk.content());
    }
}

#[tokio::test]
async fn whatever_the_server_does_wrong_leaves_no_partition_table() {
    let image = gpt_image(8 * MIB, 512);
    let length = image.len() as u64;
    let served = |reply| Case { reply, ..Case::good(image.clone()) };
    let mismatch = |error: &StreamError| matches!(error, StreamError::DigestMismatch { .. });
    let short = |error: &StreamError| matches!(error, StreamError::Fetch(FetchError::Short { .. }));
    let stalled = |error: &StreamError| matches!(error, StreamError::Fetch(FetchError::Stalled { .. }));
    let mut flipped = image.clone();
    flipped[5 * MIB] ^= 1;
    fails_and_leaves_zeros("flipped bit", served(Reply::ok(flipped)), mismatch).await;
    let missing = image[..image.len() - 1].to_vec();
    fails_and_leaves_zeros("honestly short", served(Reply::ok(missing.clone())), mismatch).await;
    fails_and_leaves_zeros("short by one", served(Reply::announcing(length, missing)), short).await;
    for cut in [33, 4096, MIB, 4 * MIB + 1] {
        let reply = Reply::announcing(length, image[..cut].to_vec());
        fails_and_leaves_zeros("short", served(reply), short).await;
    }
    fails_and_leaves_zeros("no last chunk", served(Reply::chunked(&image, 100_000, false)), short).await;
    let stall = Reply { stall: true, ..Reply::announcing(length, image[..3 * MIB].to_vec()) };
    fails_and_leaves_zeros("stall", served(stall), stalled).await;
}

#[tokio::test]
async fn whatever_is_wrong_with_a_proved_image_leaves_no_partition_table() {
    let packed = gzip(&gpt_image(8 * MIB, 512));
    let cut = packed[..packed.len() / 2].to_vec();
    let truncated = |error: &StreamError| matches!(error, StreamError::Decode(DecodeError::Truncated { .. }));
    fails_and_leaves_zeros("cut when it was packed", Case::good(cut), truncated).await;
    let garbage =
        |error: &StreamError| matches!(error, StreamError::Decode(DecodeError::TrailingGarbage { .. }));
    fails_and_leaves_zeros("garbage behind", Case::good([&packed[..], b"x"].concat()), garbage).await;
}

#[tokio::test]
async fn what_can_be_refused_before_writing_leaves_the_disk_alone() {
    let image = gpt_image(8 * MIB, 512);
    let zstd_with_size = zstd::bulk::compress(&image, 1).unwrap();
    let too_large = |error: &StreamError| {
        matches!(error, StreamError::TooLarge { image: 0x80_0000, disk: 0x40_0000, .. })
    };
    let no_table = |error: &StreamError| matches!(error, StreamError::NoPartitionTable);
    let other_sectors =
        |error: &StreamError| matches!(error, StreamError::SectorSize { image: 4096, disk: 512, .. });
    type Check<'a> = &'a dyn Fn(&StreamError) -> bool;
    for (name, served, format, check) in [
        ("raw, by length", image.clone(), ImageFormat::Auto, &too_large as Check<'_>),
        ("zstd, by frame", zstd_with_size, ImageFormat::Auto, &too_large),
        ("not what was declared", gzip(&image), ImageFormat::Zstd, &|error| {
            matches!(error, StreamError::Decode(DecodeError::Mismatch { .. }))
        }),
        ("qcow2", b"QFI\xfb\0\0\0\x03".to_vec(), ImageFormat::Auto, &|error| {
            matches!(error, StreamError::Decode(DecodeError::Qcow2(_)))
        }),
        ("empty", Vec::new(), ImageFormat::Auto, &|error| matches!(error, StreamError::Empty)),
        ("packed nothing", gzip(b""), ImageFormat::Auto, &|error| matches!(error, StreamError::Empty)),
        ("no partition table", noise(4 * MIB, 9), ImageFormat::Auto, &no_table),
        ("a page that says that it is not there", b"<html>".repeat(2000), ImageFormat::Auto, &no_table),
        ("no partition table, packed", gzip(&noise(4 * MIB, 9)), ImageFormat::Auto, &no_table),
        ("other sectors", gpt_image(4 * MIB, 4096), ImageFormat::Auto, &other_sectors),
        ("other sectors, packed", gzip(&gpt_image(4 * MIB, 4096)), ImageFormat::Auto, &other_sectors),
    ] {
        let disk = TestDisk::file(4 * MIB);
        let before = disk.content();
        let error = Case { format, ..Case::good(served) }.run(&disk).await.unwrap_err();
        assert!(check(&error), "{name}: {error:?}");
        assert!(disk.content() == before, "{name}: the disk was touched");
    }
}

#[tokio::test]
async fn a_packed_image_that_turns_out_too_large_stops_and_leaves_zeros() {
    let image = gpt_image(8 * MIB, 512);
    let disk = TestDisk::file(4 * MIB);
    let error = Case::good(gzip(&image)).run(&disk).await.unwrap_err();
    assert!(matches!(error, StreamError::TooLarge { .. }), "{error:?}");
    assert_boot_area_is_zero(&disk.content());
}

#[tokio::test]
async fn cancelling_in_the_middle_stops_soon_and_leaves_zeros() {
    let image = gpt_image(8 * MIB, 512);
    let disk = TestDisk::file(8 * MIB);
    let slow = Reply { pace: Some((MIB, Duration::from_millis(100))), ..Reply::ok(image.clone()) };
    let cancel = CancellationToken::new();
    let timer = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(350)).await;
        timer.cancel();
    });
    let begun = Instant::now();
    let error = Case { reply: slow, ..Case::good(image) }.run_with(&disk, &cancel).await.unwrap_err();
    assert!(matches!(error, StreamError::Cancelled), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_boot_area_is_zero(&disk.content());
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_a_silent_server() {
    let disk = TestDisk::file(8 * MIB);
    let target = Target::open(&disk.path).unwrap();
    let image = gpt_image(8 * MIB, 512);
    let reply = Reply { stall: true, ..Reply::announcing(100 * MIB as u64, image) };
    let server = Server::start(move |_| reply.clone());
    let job = Job {
        url: server.url("/"),
        format: ImageFormat::Raw,
        digest: Some(DigestSource::Value(sha256(b""))),
        manifest: None,
        authorization: None,
        fetch: FetchOptions::default(),
        write: WriteOptions::default(),
    };
    let begun = Instant::now();
    let error =
        job.run(Arc::new(target), Arc::new(Heard::default()), &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, StreamError::TooLarge { .. }), "{error:?}");
    // The server never ends; a failed stage must not wait for its read timeout.
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_kernel_sees_the_partitions_of_a_good_image_and_none_after_a_bad_one() {
    let image = gpt_image(8 * MIB, 512);
    let disk = TestDisk::file(12 * MIB);
    std::fs::write(&disk.path, [&image[..], &vec![0; 4 * MIB]].concat()).unwrap();
    let Some(disk) = disk.attached(512) else { return };
    let name = disk.path.file_name().unwrap().to_str().unwrap();
    let partition = std::path::Path::new("/sys/block").join(name).join(format!("{name}p1"));
    if !partition.exists() {
        eprintln!("skipped: this kernel does not read partition tables");
        return;
    }
    let target = Target::open(&disk.path).unwrap();
    crate::stream::held_back::HeldBack::clear(&target).unwrap();
    drop(target);
    assert!(!partition.exists(), "clearing left {}", partition.display());
    Case::good(image.clone()).run(&disk).await.unwrap();
    assert!(partition.exists(), "the kernel does not know {}", partition.display());
    let bad = Case { expected: sha256(b"other"), ..Case::good(image) };
    bad.run(&disk).await.unwrap_err();
    assert!(!partition.exists(), "the kernel still knows {}", partition.display());
}

#[tokio::test]
async fn memory_does_not_grow_with_the_image() {
    if std::env::var_os("NEXTEST").is_none() {
        eprintln!("skipped: other tests in this process would be counted; run with cargo nextest");
        return;
    }
    const TIMES: usize = 400;
    let mut block = noise(MIB, 1);
    block[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut hasher = sha2::Sha256::new();
    for _ in 0..TIMES {
        hasher.update(&block);
    }
    let algorithm = bessemer_proto::digest::DigestAlgorithm::Sha256;
    let expected = Digest::from_bytes(algorithm, &hasher.finalize()).unwrap();
    let disk = TestDisk::sparse((TIMES * MIB) as u64);
    let reply = Reply { times: TIMES, ..Reply::announcing((TIMES * MIB) as u64, block) };
    let before = peak_memory();
    let written = Case { reply, expected, ..Case::good(Vec::new()) }.run(&disk).await.unwrap();
    assert_eq!(written.bytes_written, (TIMES * MIB) as u64);
    let grown = peak_memory() - before;
    assert!(grown < 40 << 10, "the write took {grown} KiB");
}

/// `VmHWM` in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
