//! A whole write: where the image and its proof are, how to fetch, how to write. The `write_image` step and the
//! `write` command are this.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    manifest::{self, Manifest},
    secret::Secret,
    step::{DigestSource, ImageFormat, ManifestSource, WriteImageReceipt, WrittenDevice},
};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    FetchError, StreamError, by_manifest, checksum_file,
    decode_stage::Declared,
    detect::SKIPPABLE_LOOK_AHEAD,
    digest,
    fetch::{self, FetchOptions, Fetcher, Object},
    pipeline::{self, Image, Proof, WriteOptions, Written},
    proof::KnownManifest,
    random_access::RandomAccess as _,
};
use crate::{
    disk::{BlockDevice, Left, Target},
    steps::StepReport,
};

/// A checksum file or manifest must be there after this time, whatever the server does.
const SMALL_FILE_DEADLINE: Duration = Duration::from_secs(120);

/// What to write and how.
pub struct Job {
    /// Where the image is.
    pub url: Url,
    /// How it is packed.
    pub format: ImageFormat,
    /// What its bytes, as served, must hash to. May be absent when there is a manifest.
    pub digest: Option<DigestSource>,
    /// Digests of its ranges.
    pub manifest: Option<ManifestSource>,
    /// Value of an `Authorization` header for `url`.
    pub authorization: Option<Secret>,
    /// How to fetch.
    pub fetch: FetchOptions,
    /// How to write.
    pub write: WriteOptions,
}

impl Job {
    /// Does it. The target must be claimed.
    pub async fn run(
        self,
        target: Arc<Target>,
        report: Arc<dyn StepReport>,
        cancel: &CancellationToken,
    ) -> Result<Written, StreamError> {
        let prepared = cancel.run_until_cancelled(self.prepare(report.clone())).await;
        match prepared.unwrap_or(Err(StreamError::Cancelled))? {
            Prepared::Stream(image) => {
                tracing::info!(device = %target.path().display(), url = %fetch::shown(&self.url), length = image.object.length(), "writing image");
                pipeline::run(*image, self.write, target, report, cancel).await
            }
            Prepared::Ranges(image) => {
                tracing::info!(device = %target.path().display(), url = %fetch::shown(&self.url), length = image.object.length(), "writing image by its manifest");
                by_manifest::run(image, self.write, target, report, cancel).await
            }
        }
    }

    async fn prepare(&self, report: Arc<dyn StepReport>) -> Result<Prepared, StreamError> {
        let mut fetcher = Fetcher::new(self.fetch.clone())?;
        if let Some(authorization) = &self.authorization {
            fetcher = fetcher.with_authorization(&self.url, authorization)?;
        }
        let fetcher = Arc::new(fetcher);
        let expected = match &self.digest {
            Some(source) => Some(self.expected(source, &fetcher, report.clone()).await?),
            None => None,
        };
        let manifest = match &self.manifest {
            Some(source) => Some(known_manifest(source, expected.as_ref(), &fetcher, report.clone()).await?),
            None => None,
        };
        if expected.is_none() && manifest.is_none() {
            return Err(StreamError::NoProof);
        }
        let (object, body) = Object::open(fetcher, &self.url, report).await?;
        if let Some(known) = manifest.clone().filter(|_| object.has_ranges())
            && let Some(head) = self.head_of_raw_with_ranges(&object).await?
        {
            check_same_image(&known.manifest, expected.as_ref(), Object::length(&object).unwrap_or(0))?;
            return Ok(Prepared::Ranges(by_manifest::Known { object, head, known, expected }));
        }
        let proof = Proof { expected, manifest };
        Ok(Prepared::Stream(Box::new(Image { object, body, format: self.format, proof })))
    }

    /// The first bytes of an image that is raw and can be had by ranges.
    async fn head_of_raw_with_ranges(&self, object: &Arc<Object>) -> Result<Option<Bytes>, StreamError> {
        let length = Object::length(object).unwrap_or(0).min(SKIPPABLE_LOOK_AHEAD as u64);
        let head = object.read_at(0, usize::try_from(length).unwrap_or(SKIPPABLE_LOOK_AHEAD)).await;
        let head = match head {
            // The server only says that it has ranges: the image is checked as it passes.
            Err(StreamError::Fetch(FetchError::NoRanges { .. } | FetchError::WrongRange { .. })) => {
                return Ok(None);
            }
            head => head?,
        };
        let declared = Declared { format: self.format, allow_qcow2: self.write.allow_qcow2, in_order: true };
        Ok((declared.detect(&head)? == ImageFormat::Raw).then_some(head))
    }

    async fn expected(
        &self,
        source: &DigestSource,
        fetcher: &Arc<Fetcher>,
        report: Arc<dyn StepReport>,
    ) -> Result<Digest, StreamError> {
        let (url, algorithm) = match source {
            DigestSource::Value(digest) => return Ok(digest.clone()),
            DigestSource::Url { url, algorithm } => (url, *algorithm),
        };
        let read = small_file(fetcher, url, checksum_file::MAX_BYTES, report).await?;
        let content = read.map_err(StreamError::ChecksumFile)?;
        Ok(checksum_file::find(&content, &fetch::shown(url), &self.url, algorithm)?)
    }
}

/// What is to be done, once image and manifest are known.
enum Prepared {
    Stream(Box<Image>),
    Ranges(by_manifest::Known),
}

/// Refuses a manifest that is of another raw image.
fn check_same_image(manifest: &Manifest, expected: Option<&Digest>, image: u64) -> Result<(), StreamError> {
    if manifest.image_bytes != image {
        return Err(StreamError::ManifestSize { manifest: manifest.image_bytes, image });
    }
    match (&manifest.image_digest, expected) {
        (Some(manifest), Some(expected))
            if manifest.algorithm() == expected.algorithm() && manifest != expected =>
        {
            Err(StreamError::ManifestOfOther { manifest: manifest.clone(), expected: expected.clone() })
        }
        _ => Ok(()),
    }
}

async fn small_file(
    fetcher: &Arc<Fetcher>,
    url: &Url,
    limit: usize,
    report: Arc<dyn StepReport>,
) -> Result<Result<Vec<u8>, FetchError>, StreamError> {
    let late = |_| StreamError::Late { what: fetch::shown(url), seconds: SMALL_FILE_DEADLINE.as_secs() };
    tokio::time::timeout(SMALL_FILE_DEADLINE, fetch::read(fetcher, url, limit, report)).await.map_err(late)
}

/// Fetches a manifest and checks that it is the right one as far as can be known.
async fn known_manifest(
    source: &ManifestSource,
    expected: Option<&Digest>,
    fetcher: &Arc<Fetcher>,
    report: Arc<dyn StepReport>,
) -> Result<KnownManifest, StreamError> {
    let url = fetch::shown(&source.url);
    let bytes = small_file(fetcher, &source.url, manifest::MAX_BYTES, report).await?;
    let bytes = bytes.map_err(StreamError::ManifestFile)?;
    if let Some(wanted) = &source.digest {
        let got = digest::of(wanted.algorithm(), &bytes).map_err(|_| StreamError::Died("manifest"))?;
        if got != *wanted {
            return Err(StreamError::ManifestDigest { url, expected: wanted.clone(), got });
        }
    }
    let manifest =
        Manifest::parse(&bytes).map_err(|source| StreamError::Manifest { url: url.clone(), source })?;
    // A manifest that does not name the expected digest cannot prove it, whoever vouches for the manifest.
    let names_it = expected.is_none_or(|expected| manifest.image_digest.as_ref() == Some(expected));
    let trusted = expected.is_none() || source.digest.is_some() && names_it;
    let digest = digest::of(DigestAlgorithm::Sha256, &bytes).map_err(|_| StreamError::Died("manifest"))?;
    Ok(KnownManifest { manifest: Arc::new(manifest), digest, trusted })
}

/// Why nothing was written, and what the disk has now.
#[derive(Debug, thiserror::Error)]
#[error("the image was not written; {device} {left}")]
pub struct NotWritten {
    /// The disk.
    pub device: String,
    /// What it has.
    pub left: Left,
    /// Why.
    #[source]
    pub source: Box<StreamError>,
}

impl NotWritten {
    /// For a write to `device` that ended with this error.
    #[must_use]
    pub fn new(device: &BlockDevice, target: &Target, source: StreamError) -> Self {
        Self { device: device.name(), left: target.left(), source: Box::new(source) }
    }
}

/// The receipt of a write to `device`, begun at `started`.
#[must_use]
pub fn receipt(
    device: &BlockDevice,
    target: &Target,
    written: Written,
    started: Instant,
) -> WriteImageReceipt {
    WriteImageReceipt {
        device: WrittenDevice {
            name: device.name(),
            serial: device.serial().map(str::to_owned),
            wwn: device.wwn.name.clone(),
            model: device.model.clone(),
            size: target.size(),
        },
        digest: written.verified.digest().clone(),
        format: written.format,
        manifest_digest: written.manifest_digest,
        bytes_received: written.bytes_received,
        bytes_written: written.bytes_written,
        seconds: started.elapsed().as_secs_f64(),
        seconds_to_first_byte: written.started.duration_since(started).as_secs_f64(),
        peak_memory_kib: peak_memory_kib(),
        choice: Vec::new(),
        work: written.work,
    }
}

/// Largest resident memory of this process, `VmHWM`.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}
