//! Servers, and ways to them, that try to get a wrong or half an image onto a disk.

mod changes;
mod lies;
mod manifest;
mod parallel;
mod resume;
mod way;

use std::{sync::Arc, time::Duration};

use bessemer_proto::{
    digest::Digest,
    step::{DigestSource, ImageFormat, ManifestSource},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    StreamError,
    fetch::FetchOptions,
    job::Job,
    pipeline::{WriteOptions, Written},
};
use crate::{
    disk::Target,
    test_support::{
        Heard,
        disks::{MIB, TestDisk, assert_boot_area_is_zero, gpt_image, sha256},
        server::{Reply, Request, Served, Server},
    },
};

/// Attempts without progress of [`Fetch::of`].
const ATTEMPTS: u32 = 4;
const IMAGE: usize = 4 * MIB;

fn image() -> Vec<u8> {
    gpt_image(IMAGE, 512)
}

/// A write from a server.
struct Fetch {
    url: Url,
    expected: Digest,
    manifest: Option<ManifestSource>,
    options: FetchOptions,
    write: WriteOptions,
}

impl Fetch {
    /// Impatient, so that tests are short.
    fn of(url: Url, served: &[u8]) -> Self {
        let options = FetchOptions {
            read_timeout: Duration::from_millis(400),
            attempts: ATTEMPTS,
            first_pause: Duration::from_millis(1),
            ..FetchOptions::default()
        };
        Self { url, expected: sha256(served), manifest: None, options, write: WriteOptions::default() }
    }

    fn from(server: &Server, served: &[u8]) -> Self {
        let mut fetch = Self::of(server.url("/image"), served);
        fetch.options.ca_pem = server.ca_pem.clone();
        fetch
    }

    async fn to(self, disk: &TestDisk) -> Result<Written, StreamError> {
        let job = Job {
            url: self.url,
            format: ImageFormat::Auto,
            digest: Some(DigestSource::Value(self.expected)),
            manifest: self.manifest,
            authorization: None,
            fetch: self.options,
            write: self.write,
        };
        let target = Arc::new(Target::open(&disk.path).unwrap());
        job.run(target, Arc::new(Heard::default()), &CancellationToken::new()).await
    }
}

/// The image must get onto a disk that is full of something else.
async fn succeeds(
    name: &str,
    image: &[u8],
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (Written, Vec<String>) {
    let disk = TestDisk::file(image.len());
    let server = Server::serve(handler);
    let written = Fetch::from(&server, image).to(&disk).await;
    let written = written.unwrap_or_else(|error| panic!("{name}: {:#}", anyhow::Error::from(error)));
    assert!(disk.content() == image, "{name}: other bytes are on the disk");
    (written, server.requests())
}

/// The write must fail and leave nothing that boots; returns the error and the requests.
async fn fails(
    name: &str,
    image: &[u8],
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (StreamError, Vec<String>) {
    let disk = TestDisk::file(image.len());
    std::fs::write(&disk.path, gpt_image(image.len(), 512)).unwrap();
    let server = Server::serve(handler);
    let error = Fetch::from(&server, image).to(&disk).await;
    let error = error.err().unwrap_or_else(|| panic!("{name}: the write succeeded"));
    let content = disk.content();
    // What is refused before the first byte leaves the disk as it was.
    if content != gpt_image(image.len(), 512) {
        assert_boot_area_is_zero(&content);
    }
    (error, server.requests())
}

/// The error and its causes.
fn chain(error: StreamError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
