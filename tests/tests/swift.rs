//! The write path from a real Swift, by temporary URLs.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use bessemer_agent::{
    disk::Target,
    steps::StepReport,
    stream::{
        StreamError,
        fetch::{FetchError, FetchOptions},
        job::Job,
        pipeline::{WriteOptions, Written},
    },
};
use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    manifest::{Manifest, Range},
    step::{DigestSource, ImageFormat, ManifestSource},
};
use bessemer_tests::counterparts::swift::Swift;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use url::Url;

const MIB: usize = 1 << 20;
const LONG: Duration = Duration::from_secs(600);

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl StepReport for Heard {
    fn progress(&self, _: &'static str, _: u64, _: u64) {}

    fn warning(&self, message: String) {
        self.0.lock().unwrap().push(message);
    }
}

/// 24 MiB with a boot sector, and a hole from 8 to 12 MiB.
fn image() -> Vec<u8> {
    let mut image: Vec<u8> =
        (0..24 * MIB as u64).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
    image[8 * MIB..12 * MIB].fill(0);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(DigestAlgorithm::Sha256, &Sha256::digest(bytes)).unwrap()
}

fn disk(folder: &Path) -> PathBuf {
    let path = folder.join("disk");
    std::fs::write(&path, vec![0xa5; 24 * MIB]).unwrap();
    path
}

async fn write(
    url: Url,
    disk: &Path,
    digest: Digest,
    manifest: Option<ManifestSource>,
) -> Result<Written, StreamError> {
    let job = Job {
        url,
        format: ImageFormat::Auto,
        digest: Some(DigestSource::Value(digest)),
        manifest,
        authorization: None,
        fetch: FetchOptions::default(),
        write: WriteOptions { connections: 4, ..WriteOptions::default() },
    };
    let target = Arc::new(Target::open(disk).unwrap());
    job.run(target, Arc::new(Heard::default()), &CancellationToken::new()).await
}

/// Whole, by ranges, as qcow2 whose tables are read first, and not at all once the time is up.
#[tokio::test(flavor = "multi_thread")]
async fn temporary_urls_are_written_in_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let swift = Swift::start(folder.path()).await.unwrap();
    let (image, raw) = (image(), folder.path().join("image.raw"));
    std::fs::write(&raw, &image).unwrap();
    swift.upload("image.raw", &raw).await.unwrap();

    let target = disk(folder.path());
    let url = swift.temporary_url("image.raw", LONG).unwrap();
    write(url.clone(), &target, sha256(&image), None).await.unwrap();
    assert!(std::fs::read(&target).unwrap() == image, "raw: other bytes are on the disk");

    let ranges = (0..24).filter(|n| !(8..12).contains(n)).map(|n| {
        let bytes = &image[n * MIB..(n + 1) * MIB];
        Range { offset: (n * MIB) as u64, length: MIB as u64, sha256: Sha256::digest(bytes).into() }
    });
    let manifest = Manifest {
        image_bytes: image.len() as u64,
        image_digest: Some(sha256(&image)),
        ranges: ranges.collect(),
    };
    let (json, file) = (manifest.to_json(), folder.path().join("image.json"));
    std::fs::write(&file, &json).unwrap();
    swift.upload("image.json", &file).await.unwrap();
    let source = ManifestSource {
        url: swift.temporary_url("image.json", LONG).unwrap(),
        digest: Some(sha256(json.as_bytes())),
    };
    let target = disk(folder.path());
    let written = write(url, &target, sha256(&image), Some(source)).await.unwrap();
    assert!(std::fs::read(&target).unwrap() == image, "by manifest: other bytes are on the disk");
    assert!(written.work.ranges == 20 && written.work.bytes_fetched < 21 * MIB as u64, "{:?}", written.work);

    let qcow2 = folder.path().join("image.qcow2");
    let convert = ["convert", "-c", "-f", "raw", "-O", "qcow2"];
    let made = Command::new("qemu-img").args(convert).args([&raw, &qcow2]).stdout(Stdio::null()).status();
    assert!(made.unwrap().success());
    swift.upload("image.qcow2", &qcow2).await.unwrap();
    let packed = sha256(&std::fs::read(&qcow2).unwrap());
    let target = disk(folder.path());
    let url = swift.temporary_url("image.qcow2", LONG).unwrap();
    let written = write(url, &target, packed.clone(), None).await.unwrap();
    assert_eq!(written.format, ImageFormat::Qcow2);
    assert!(std::fs::read(&target).unwrap() == image, "qcow2: other bytes are on the disk");

    let before = disk(folder.path());
    let late = swift.temporary_url("image.qcow2", Duration::ZERO).unwrap();
    let error = write(late.clone(), &before, packed, None).await.unwrap_err();
    let refused =
        matches!(&error, StreamError::Fetch(FetchError::Status { status, .. }) if status.as_u16() == 401);
    assert!(refused, "{error:?}");
    let signature = late.query().unwrap().split(['=', '&']).nth(1).unwrap();
    assert!(!format!("{error:?} {error}").contains(signature), "the signature is in the error");
    assert!(std::fs::read(&before).unwrap() == vec![0xa5; 24 * MIB], "the disk was touched");
}
