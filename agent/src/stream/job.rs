//! A whole write: where the image and its proof are, how to fetch, how to write. The `write_image` step and the
//! `write` command are this.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bessemer_proto::{
    digest::Digest,
    secret::Secret,
    step::{DigestSource, ImageFormat, WriteImageReceipt, WrittenDevice},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    StreamError, checksum_file,
    fetch::{self, FetchOptions, Fetcher, Object},
    pipeline::{self, Image, WriteOptions, Written},
};
use crate::{
    disk::{BlockDevice, Target},
    steps::StepReport,
};

/// A checksum file must be there after this time, whatever the server does.
const CHECKSUM_DEADLINE: Duration = Duration::from_secs(120);

/// What to write and how.
pub struct Job {
    /// Where the image is.
    pub url: Url,
    /// How it is packed.
    pub format: ImageFormat,
    /// What its bytes, as served, must hash to.
    pub digest: DigestSource,
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
        let image = prepared.unwrap_or(Err(StreamError::Cancelled))?;
        tracing::info!(device = %target.path().display(), url = %fetch::shown(&self.url), length = image.object.length(), "writing image");
        pipeline::run(image, self.write, target, report, cancel).await
    }

    async fn prepare(&self, report: Arc<dyn StepReport>) -> Result<Image, StreamError> {
        let mut fetcher = Fetcher::new(self.fetch.clone())?;
        if let Some(authorization) = &self.authorization {
            fetcher = fetcher.with_authorization(&self.url, authorization)?;
        }
        let fetcher = Arc::new(fetcher);
        let expected = self.expected(&fetcher, report.clone()).await?;
        let (object, body) = Object::open(fetcher, &self.url, report).await?;
        Ok(Image { object, body, format: self.format, expected })
    }

    async fn expected(
        &self,
        fetcher: &Arc<Fetcher>,
        report: Arc<dyn StepReport>,
    ) -> Result<Digest, StreamError> {
        let (url, algorithm) = match &self.digest {
            DigestSource::Value(digest) => return Ok(digest.clone()),
            DigestSource::Url { url, algorithm } => (url, *algorithm),
        };
        let read = fetch::read(fetcher, url, checksum_file::MAX_BYTES, report);
        let content = tokio::time::timeout(CHECKSUM_DEADLINE, read)
            .await
            .map_err(|_| StreamError::Late { what: fetch::shown(url), seconds: CHECKSUM_DEADLINE.as_secs() })?
            .map_err(StreamError::ChecksumFile)?;
        Ok(checksum_file::find(&content, &fetch::shown(url), &self.url, algorithm)?)
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
        bytes_received: written.verified.bytes(),
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
