//! Manifests against `bmaptool`, which nobody here wrote. Debian: bmap-tools (`make setup`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
};

use bessemer_proto::manifest::{Manifest, Range};
use sha2::{Digest as _, Sha256};

fn bmaptool(arguments: &[&str], files: &[&Path]) {
    let run = Command::new("bmaptool")
        .args(arguments)
        .args(files)
        .output()
        .expect("bmaptool runs: `make setup` installs it");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "bmaptool {arguments:?}: {said}");
}

/// A sparse image that ends inside a block.
fn image(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(9 * 1024 * 1024 + 1000).unwrap();
    for (at, length) in [(0, 5000), (1 << 20, 3 << 20), (7 << 20, 1), ((9 << 20) + 10, 990)] {
        file.write_all_at(&vec![0x5a; length], at).unwrap();
    }
    file.sync_all().unwrap();
}

#[test]
fn what_bmaptool_creates_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, bmap) = (folder.path().join("disk.raw"), folder.path().join("disk.bmap"));
    image(&raw);
    bmaptool(&["create", "-o"], &[&bmap, &raw]);
    let manifest = Manifest::parse(&fs::read(&bmap).unwrap()).unwrap();
    let mut content = fs::read(&raw).unwrap();
    assert_eq!(manifest.image_bytes, content.len() as u64);
    assert!(manifest.ranges.len() >= 2, "{manifest:?}");
    for range in &manifest.ranges {
        let part = &mut content[range.offset as usize..(range.offset + range.length) as usize];
        assert_eq!(range.sha256, <[u8; 32]>::from(Sha256::digest(&*part)), "{range:?}");
        part.fill(0);
    }
    assert!(content.iter().all(|byte| *byte == 0), "what no range covers is zero");
}

#[test]
fn bmaptool_copies_by_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    image(&at("disk.raw"));
    let content = fs::read(at("disk.raw")).unwrap();
    let pieces = content.chunks(256 * 1024).enumerate();
    let ranges: Vec<Range> = pieces
        .filter(|(_, piece)| piece.iter().any(|byte| *byte != 0))
        .map(|(index, piece)| Range {
            offset: index as u64 * 256 * 1024,
            length: piece.len() as u64,
            sha256: Sha256::digest(piece).into(),
        })
        .collect();
    let mut manifest = Manifest { image_bytes: content.len() as u64, image_digest: None, ranges };
    fs::write(at("disk.bmap"), manifest.to_bmap().unwrap()).unwrap();
    bmaptool(&["copy", "--bmap"], &[&at("disk.bmap"), &at("disk.raw"), &at("copy.raw")]);
    assert!(fs::read(at("copy.raw")).unwrap() == content, "the copy is not equal");

    // Its own check takes our digests seriously.
    manifest.ranges[0].sha256[0] ^= 1;
    fs::write(at("disk.bmap"), manifest.to_bmap().unwrap()).unwrap();
    let files = [at("disk.bmap"), at("disk.raw"), at("bad.raw")];
    let bad = Command::new("bmaptool").args(["copy", "--bmap"]).args(&files).output().unwrap();
    assert!(!bad.status.success());
}
