use std::{os::unix::fs::FileExt as _, sync::atomic::AtomicU64};

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1024 * 1024;

fn image(length: u64, data: &[(u64, usize)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    let file = File::create(&path).unwrap();
    file.set_len(length).unwrap();
    for (at, size) in data {
        file.write_all_at(&vec![0x77; *size], *at).unwrap();
    }
    (folder, path)
}

fn made(path: &Path, limits: Limits) -> Manifest {
    let watch = Watch { progress: &|_| {}, stop: &AtomicBool::new(false) };
    make_within(path, DigestAlgorithm::Sha256, watch, limits).unwrap()
}

/// That it tells the truth about the file.
fn check(path: &Path, manifest: &Manifest) {
    let mut content = fs::read(path).unwrap();
    manifest.check().unwrap();
    assert_eq!(manifest.image_bytes, content.len() as u64);
    let digest = Digest::from_bytes(DigestAlgorithm::Sha256, &Sha256::digest(&content)).unwrap();
    assert_eq!(manifest.image_digest, Some(digest));
    for range in &manifest.ranges {
        let part = &mut content[range.offset as usize..(range.offset + range.length) as usize];
        assert_eq!(range.sha256, <[u8; 32]>::from(Sha256::digest(&*part)), "{range:?}");
        part.fill(0);
    }
    assert!(content.iter().all(|byte| *byte == 0), "data outside of ranges");
}

fn parts(manifest: &Manifest) -> Vec<(u64, u64)> {
    manifest.ranges.iter().map(|range| (range.offset, range.length)).collect()
}

#[test]
fn holes_and_zeros_are_left_out() {
    // A block; data over a window's end; the image ends in a block.
    let data = [(70_000, 1), (2 * MIB - 10, 20), (5 * MIB, 3)];
    let (folder, path) = image(5 * MIB + 1003, &data);
    let manifest = made(&path, LIMITS);
    check(&path, &manifest);
    let block = BLOCK as u64;
    let expected = [(block, block), (2 * MIB - block, block), (2 * MIB, block), (5 * MIB, 1003)];
    assert_eq!(parts(&manifest), expected);
    // Written zeros are as good as holes.
    let copy = folder.path().join("copy.raw");
    fs::write(&copy, fs::read(&path).unwrap()).unwrap();
    assert_eq!(made(&copy, LIMITS), manifest);
    manifest.to_bmap().unwrap();
}

#[test]
fn an_image_of_zeros_has_no_ranges() {
    for length in [1, MIB, 3 * MIB + 5] {
        let (_folder, path) = image(length, &[]);
        let manifest = made(&path, LIMITS);
        check(&path, &manifest);
        assert_eq!(parts(&manifest), []);
    }
}

#[test]
fn ranges_grow_when_there_would_be_too_many() {
    let data: Vec<_> = (0..20).map(|index| (index * MIB, 100)).collect();
    let (_folder, path) = image(20 * MIB, &data);
    for (windows, splits, most) in [(20, 20, 20), (19, 40, 20), (19, 3, 8), (19, 0, 5), (1, 0, 1), (0, 0, 1)]
    {
        let manifest = made(&path, Limits { windows, splits });
        check(&path, &manifest);
        assert!(manifest.ranges.len() <= most, "{windows} {splits}: {:?}", parts(&manifest));
    }
}

#[test]
fn the_largest_manifest_is_below_8_mib() {
    let count = LIMITS.windows + LIMITS.splits;
    let size = 64 * MIB;
    let range = |index| Range { offset: (1 << 50) + index * size, length: size, sha256: [0xff; 32] };
    let image_bytes = (1 << 50) + count * size;
    let manifest = Manifest { image_bytes, image_digest: None, ranges: (0..count).map(range).collect() };
    assert!(manifest.to_json().len() < 8 << 20);
    assert!(manifest.to_bmap().unwrap().len() < 16 << 20);
}

#[test]
fn progress_reaches_the_end_and_the_work_can_be_stopped() {
    let (_folder, path) = image(5 * MIB + 1, &[(0, 3 * MIB as usize)]);
    let (last, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let progress = |done| last.store(done, Ordering::Relaxed);
    make(&path, DigestAlgorithm::Sha512, Watch { progress: &progress, stop: &stop }).unwrap();
    assert_eq!(last.load(Ordering::Relaxed), 5 * MIB + 1);
    let stopping = |_| stop.store(true, Ordering::Relaxed);
    let stopped = make(&path, DigestAlgorithm::Sha256, Watch { progress: &stopping, stop: &stop });
    assert!(matches!(stopped, Err(MakeError::Stopped { .. })));
}

#[test]
fn what_is_no_raw_image_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let watch = Watch { progress: &|_| {}, stop: &AtomicBool::new(false) };
    let refused = || make(&path, DigestAlgorithm::Sha256, watch).unwrap_err().to_string();
    assert!(refused().contains("could not read"));
    fs::write(&path, "").unwrap();
    assert!(refused().contains("is no image"));
    fs::write(&path, b"QFI\xfb\0\0\0\x03").unwrap();
    assert!(refused().contains("disk is qcow2, and a manifest is of the raw image"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_image_gets_a_true_manifest(
        length in 1u64..(6 * MIB),
        data in prop::collection::vec((0u64..(6 * MIB), 1usize..200_000), 0..8),
        windows in 1u64..8,
        splits in 0u64..4,
    ) {
        let (_folder, path) = image(length, &[]);
        let file = File::options().write(true).open(&path).unwrap();
        for (at, size) in data {
            let at = at % length;
            let size = size.min((length - at) as usize);
            file.write_all_at(&vec![0x33; size], at).unwrap();
        }
        let manifest = made(&path, Limits { windows, splits });
        check(&path, &manifest);
        prop_assert!(manifest.ranges.len() as u64 <= windows + splits);
    }
}
