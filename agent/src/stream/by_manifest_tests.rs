use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bessemer_proto::{
    digest::Digest,
    manifest::{Manifest, Range},
    step::{DigestSource, ImageFormat, ManifestSource},
};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    disk::Target,
    stream::{
        StreamError,
        fetch::FetchOptions,
        job::Job,
        pipeline::{WriteOptions, Written},
    },
    test_support::{
        Heard,
        disks::{MIB, TestDisk, assert_boot_area_is_zero, gpt_image, gzip, noise, sha256},
        server::{Reply, Request, Served, Server},
    },
};

const SIZE: usize = 12 * MIB;

/// An image with a hole from 5 to 8 MiB.
fn image() -> Vec<u8> {
    let mut image = gpt_image(SIZE, 512);
    image[5 * MIB..8 * MIB].fill(0);
    image
}

/// Ranges of 256 KiB, one of 1.5 MiB, nothing for the hole.
fn manifest(image: &[u8]) -> Manifest {
    let mut ranges = Vec::new();
    let mut offset = 0;
    while offset < image.len() {
        let length = if offset == 2 * MIB { 3 * MIB / 2 } else { MIB / 4 };
        let bytes = &image[offset..offset + length];
        if bytes.iter().any(|byte| *byte != 0) {
            let sha256 = Sha256::digest(bytes).into();
            ranges.push(Range { offset: offset as u64, length: length as u64, sha256 });
        }
        offset += length;
    }
    Manifest { image_bytes: image.len() as u64, image_digest: Some(sha256(image)), ranges }
}

/// A write by manifest.
struct Case {
    server: Server,
    expected: Option<Digest>,
    manifest_digest: Option<Digest>,
    verify_readback: bool,
}

impl Case {
    /// Serves the image and a manifest that is vouched for.
    fn new(image: &[u8], manifest: &Manifest) -> Self {
        let served = Served::new(image.to_vec());
        Self::serving(manifest, move |request| served.reply(request))
    }

    fn serving(manifest: &Manifest, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let manifest = manifest.to_json();
        let digest = sha256(manifest.as_bytes());
        let server = Server::serve(move |request| match request.path.as_str() {
            "/manifest" => Reply::ok(manifest.clone()),
            _ => handler(request),
        });
        Self { server, expected: None, manifest_digest: Some(digest), verify_readback: false }
    }

    async fn run(&self, disk: &TestDisk) -> Result<Written, StreamError> {
        self.run_until(disk, &CancellationToken::new()).await
    }

    async fn run_until(&self, disk: &TestDisk, cancel: &CancellationToken) -> Result<Written, StreamError> {
        let job = Job {
            url: self.server.url("/image"),
            format: ImageFormat::Auto,
            digest: self.expected.clone().map(DigestSource::Value),
            manifest: Some(ManifestSource {
                url: self.server.url("/manifest"),
                digest: self.manifest_digest.clone(),
            }),
            authorization: None,
            fetch: FetchOptions { attempts: 3, first_pause: Duration::from_millis(1), ..Default::default() },
            write: WriteOptions { verify_readback: self.verify_readback, ..WriteOptions::default() },
        };
        let target = Arc::new(Target::open(&disk.path).unwrap());
        job.run(target, Arc::new(Heard::default()), cancel).await
    }
}

fn disks() -> Vec<TestDisk> {
    [Some(TestDisk::file(SIZE)), TestDisk::loop_device(SIZE, 512)].into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_data_is_fetched_and_the_rest_is_zero() {
    let image = image();
    let manifest = manifest(&image);
    for (disk, verify_readback) in disks().into_iter().zip([false, true]) {
        let case = Case { verify_readback, ..Case::new(&image, &manifest) };
        let written = case.run(&disk).await.unwrap();
        assert!(disk.content() == image, "other bytes are on the disk");
        assert_eq!(written.bytes_written, SIZE as u64);
        assert_eq!(*written.verified.digest(), sha256(&image));
        assert_eq!((written.work.bytes_kept, written.work.ranges_kept), (0, 0));
        assert_eq!(written.work.ranges, manifest.ranges.len() as u64);
        assert_eq!(written.bytes_received, manifest.data_bytes());
        let of_manifest = sha256(manifest.to_json().as_bytes());
        assert_eq!(written.manifest_digest, Some(of_manifest));
        assert!(written.work.bytes_fetched < (SIZE - 2 * MIB) as u64, "{}", written.work.bytes_fetched);
        assert_eq!(written.work.bytes_read_back >= SIZE as u64, verify_readback);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_write_fetches_only_what_differs() {
    let mut image = image();
    for disk in disks() {
        Case::new(&image, &manifest(&image)).run(&disk).await.unwrap();
        image[4 * MIB + 77] ^= 0xff;
        let manifest = manifest(&image);
        let written = Case::new(&image, &manifest).run(&disk).await.unwrap();
        assert!(disk.content() == image, "other bytes are on the disk");
        let data: u64 = manifest.data_bytes();
        // Both ends are held back and always fetched: 1 MiB and a little, in ranges of a quarter of it.
        assert!(written.work.bytes_kept >= data - (3 * MIB + MIB / 4) as u64, "{:?}", written.work);
        assert!(written.work.bytes_kept < data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_broke_off_goes_on_with_what_the_disk_has() {
    let image = image();
    let manifest = manifest(&image);
    let disk = TestDisk::file(SIZE);
    let served = Served::new(image.clone());
    let slow = Case::serving(&manifest, move |request| Reply {
        pace: Some((64 << 10, Duration::from_millis(5))),
        ..served.reply(request)
    });
    let cancel = CancellationToken::new();
    let timer = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(250)).await;
        timer.cancel();
    });
    let error = slow.run_until(&disk, &cancel).await.unwrap_err();
    assert!(matches!(error, StreamError::Cancelled), "{error:?}");
    assert_boot_area_is_zero(&disk.content());
    let written = Case::new(&image, &manifest).run(&disk).await.unwrap();
    assert!(written.work.bytes_kept > 0, "{:?}", written.work);
    assert!(disk.content() == image, "other bytes are on the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_range_is_fetched_again_and_given_up_when_it_stays_wrong() {
    let image = image();
    let manifest = manifest(&image);
    // In a range of one buffer, and in one of two.
    for place in [9 * MIB + 5, 2 * MIB + 5] {
        for times in [1, usize::MAX] {
            let mut wrong = image.clone();
            wrong[place] ^= 1;
            let (right, wrong) = (Served::new(image.clone()), Served::new(wrong));
            let lies = AtomicUsize::new(0);
            let case = Case::serving(&manifest, move |request| {
                let touches = request
                    .range()
                    .is_some_and(|(start, end)| start <= place && end.is_none_or(|end| end > place));
                let lie = touches && lies.fetch_add(1, Ordering::Relaxed) < times;
                if lie { wrong.reply(request) } else { right.reply(request) }
            });
            let disk = TestDisk::file(SIZE);
            let result = case.run(&disk).await;
            if times == 1 {
                let written = result.unwrap();
                assert!(written.work.retries >= 1);
                assert!(disk.content() == image, "other bytes are on the disk");
            } else {
                let error = result.unwrap_err();
                assert!(matches!(error, StreamError::Range { attempts: 3, .. }), "{error:?}");
                assert_boot_area_is_zero(&disk.content());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_serves_both_image_and_manifest_cannot_replace_the_image() {
    let (image, mut evil) = (image(), image());
    evil[3 * MIB] ^= 1;
    let disk = TestDisk::file(SIZE);
    // Nobody vouches for the manifest, which names no digest of its own or the right one.
    for image_digest in [None, Some(sha256(&image))] {
        let lie = Manifest { image_digest, ..manifest(&evil) };
        let case = Case { expected: Some(sha256(&image)), manifest_digest: None, ..Case::new(&evil, &lie) };
        let error = case.run(&disk).await.unwrap_err();
        assert!(matches!(error, StreamError::DigestMismatch { .. }), "{error:?}");
        assert_boot_area_is_zero(&disk.content());
    }
    // An honest one of that kind is proved by reading the disk back.
    let honest = Manifest { image_digest: None, ..manifest(&image) };
    let case = Case { expected: Some(sha256(&image)), manifest_digest: None, ..Case::new(&image, &honest) };
    let written = case.run(&disk).await.unwrap();
    assert_eq!(written.work.bytes_read_back, SIZE as u64);
    assert!(disk.content() == image);
    // Vouching for a manifest that does not name the digest does not prove the digest either.
    let case = Case { expected: Some(sha256(&evil)), ..Case::new(&image, &honest) };
    let error = case.run(&disk).await.unwrap_err();
    assert!(matches!(error, StreamError::DigestMismatch { .. }), "{error:?}");
    assert_boot_area_is_zero(&disk.content());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_not_of_this_image_is_refused_with_the_disk_untouched() {
    let image = image();
    let good = manifest(&image);
    let disk = TestDisk::file(SIZE);
    let before = disk.content();
    let other = sha256(b"another");
    type Check<'a> = &'a dyn Fn(&StreamError) -> bool;
    let cases: [(Case, Check<'_>); 4] = [
        (Case { manifest_digest: Some(other.clone()), ..Case::new(&image, &good) }, &|error| {
            matches!(error, StreamError::ManifestDigest { .. })
        }),
        (Case { expected: Some(other), ..Case::new(&image, &good) }, &|error| {
            matches!(error, StreamError::ManifestOfOther { .. })
        }),
        (Case::new(&image[..11 * MIB], &good), &|error| matches!(error, StreamError::ManifestSize { .. })),
        (Case::new(&noise(SIZE, 4), &manifest(&noise(SIZE, 4))), &|error| {
            matches!(error, StreamError::NoPartitionTable)
        }),
    ];
    for (number, (case, check)) in cases.into_iter().enumerate() {
        let error = case.run(&disk).await.unwrap_err();
        assert!(check(&error), "{number}: {error:?}");
        assert!(disk.content() == before, "{number}: the disk was touched");
    }
    // A manifest that lies about the table, which the image has.
    let liar = Manifest { ranges: vec![], ..good };
    let case = Case { manifest_digest: None, ..Case::new(&image, &liar) };
    let error = case.run(&disk).await.unwrap_err();
    assert!(matches!(error, StreamError::NoPartitionTable), "{error:?}");
    assert_boot_area_is_zero(&disk.content());
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_images_and_servers_without_ranges_are_checked_as_they_pass() {
    let image = image();
    let manifest = manifest(&image);
    let mut other = image.clone();
    other[6 * MIB] = 1;
    let without = |bytes: Vec<u8>| Served { ranges: false, ..Served::new(bytes) };
    for (served, right) in [
        (Served::new(gzip(&image)), true),
        (without(image.clone()), true),
        (Served::new(gzip(&other)), false),
        (without(other), false),
        (Served::new(gzip(&image[..11 * MIB])), false),
    ] {
        let disk = TestDisk::file(SIZE);
        let result = Case::serving(&manifest, move |request| served.reply(request)).run(&disk).await;
        if right {
            let written = result.unwrap();
            assert!(written.work.stages.iter().any(|stage| stage.name == "content digest"));
            assert!(disk.content() == image);
        } else {
            let error = result.unwrap_err();
            let wrong = matches!(error, StreamError::Range { .. } | StreamError::ManifestSize { .. });
            assert!(wrong, "{error:?}");
            assert_boot_area_is_zero(&disk.content());
        }
    }
}

/// A wrong range may be half on the disk, or on its way, when the right bytes come.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_range_left_never_lies_over_the_right_one() {
    let place = 2 * MIB..10 * MIB;
    let mut half_zero = gpt_image(SIZE, 512);
    half_zero[place.start..place.start + 4 * MIB].fill(0);
    let mut noisy = half_zero.clone();
    noisy[place.clone()].copy_from_slice(&noise(place.len(), 11));
    let mut cut = noisy.clone();
    cut[place.start..place.end - MIB].fill(0);
    // Zeros come first where bytes belong, and bytes where zeros belong.
    for (image, wrong) in [(&noisy, &cut), (&half_zero, &noisy)] {
        let mut manifest = manifest(image);
        let (start, end) = (place.start as u64, place.end as u64);
        manifest.ranges.retain(|range| range.offset + range.length <= start || range.offset >= end);
        let sha256 = Sha256::digest(&image[place.clone()]).into();
        manifest.ranges.push(Range { offset: start, length: end - start, sha256 });
        manifest.ranges.sort_by_key(|range| range.offset);
        for disk in disks() {
            let (right, wrong) = (Served::new(image.clone()), Served::new(wrong.clone()));
            let lies = AtomicUsize::new(0);
            let at = place.start;
            let case = Case::serving(&manifest, move |request| {
                let touches =
                    request.range().is_some_and(|(start, end)| start <= at && end.is_none_or(|end| end > at));
                let lie = touches && lies.fetch_add(1, Ordering::Relaxed) == 0;
                if lie { wrong.reply(request) } else { right.reply(request) }
            });
            let written = case.run(&disk).await.unwrap();
            assert!(written.work.retries >= 1);
            assert!(disk.content() == *image, "other bytes are on the disk");
        }
    }
}

/// One server of several behind a name has no ranges.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_ranges_now_and_then_is_asked_for_again() {
    let image = image();
    let manifest = manifest(&image);
    let (with, without) =
        (Served::new(image.clone()), Served { ranges: false, ..Served::new(image.clone()) });
    let asked = AtomicUsize::new(0);
    let case = Case::serving(&manifest, move |request| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        if [2, 3].contains(&number) { without.reply(request) } else { with.reply(request) }
    });
    let disk = TestDisk::file(SIZE);
    let written = case.run(&disk).await.unwrap();
    assert!(written.work.retries >= 1);
    assert!(disk.content() == image, "other bytes are on the disk");
}
