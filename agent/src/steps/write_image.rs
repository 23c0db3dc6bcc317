//! `write_image`: streams an image to the disk that the hints name. The receipt exists only for a proved image.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bessemer_proto::{
    digest::Digest,
    step::{DigestSource, WriteImageArguments, WriteImageReceipt, WriteWork, WrittenDevice, names},
};
use reqwest::dns::Resolve;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Roots, Step, StepContext, StepError, arguments};
use crate::{
    disk::{self, BlockDevice, Choice, ChooseError, Hints, Target},
    stream::{
        StreamError, checksum_file,
        fetch::{self, FetchOptions, Fetcher},
        pipeline::{self, Image},
    },
};

/// How long a disk may take to appear: behind a RAID controller they are late.
const DISK_WAIT: Duration = Duration::from_secs(30);
const DISK_POLL: Duration = Duration::from_secs(1);
/// Without new disks for so long, all are taken to be there.
const DISK_SETTLE: Duration = Duration::from_secs(2);
/// A checksum file must be there after this time, whatever the server does.
const CHECKSUM_DEADLINE: Duration = Duration::from_secs(120);

/// The step.
#[derive(Clone, Default)]
pub struct WriteImage {
    resolver: Option<Arc<dyn Resolve>>,
}

impl WriteImage {
    /// Resolves names of image servers with `resolver` instead of the C library.
    #[must_use]
    pub fn with_resolver(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver: Some(resolver) }
    }

    fn fetcher(&self, arguments: &WriteImageArguments) -> Result<Fetcher, StreamError> {
        let options = FetchOptions {
            ca_pem: arguments.ca_pem.clone(),
            resolver: self.resolver.clone(),
            ..FetchOptions::default()
        };
        let fetcher = Fetcher::new(options)?;
        Ok(match &arguments.authorization {
            Some(authorization) => fetcher.with_authorization(&arguments.url, authorization)?,
            None => fetcher,
        })
    }
}

#[async_trait]
impl Step for WriteImage {
    fn name(&self) -> &'static str {
        names::WRITE_IMAGE
    }

    async fn run(&self, value: Value, context: StepContext) -> Result<Value, StepError> {
        let started = Instant::now();
        let arguments: WriteImageArguments = arguments(value)?;
        let hints = Hints::parse(&arguments.root_device).map_err(anyhow::Error::from)?;
        let choice = wait_for_disk(&hints, &context).await?;
        for explanation in &choice.explanations {
            tracing::info!(%explanation, "root device");
        }
        let target = claim(choice.device.clone(), context.roots.clone()).await?;
        let target = Arc::new(target);
        let fetcher = self.fetcher(&arguments).map_err(failed)?;
        let expected = until_cancelled(&context.cancel, expected_digest(&fetcher, &arguments)).await?;
        let body = until_cancelled(&context.cancel, async {
            fetcher.open(&arguments.url).await.map_err(|error| failed(error.into()))
        })
        .await?;
        tracing::info!(device = %choice.device.name(), url = %fetch::shown(&arguments.url), length = body.length(), "writing image");
        let image = Image { body, format: arguments.format, expected };
        let written = pipeline::run(image, target.clone(), context.report.clone(), &context.cancel)
            .await
            .map_err(failed)?;
        let receipt = WriteImageReceipt {
            device: written_device(&choice.device, &target),
            digest: written.verified.digest().clone(),
            format: written.format,
            bytes_received: written.verified.bytes(),
            bytes_written: written.bytes_written,
            seconds: started.elapsed().as_secs_f64(),
            seconds_to_first_byte: written.started.duration_since(started).as_secs_f64(),
            peak_memory_kib: peak_memory_kib(&context.roots),
            choice: choice.explanations,
            work: WriteWork::default(),
        };
        serde_json::to_value(receipt).map_err(|error| StepError::Failed(error.into()))
    }
}

/// Cancelling is no failure.
fn failed(error: StreamError) -> StepError {
    match error {
        StreamError::Cancelled => StepError::Cancelled,
        error => StepError::Failed(error.into()),
    }
}

async fn until_cancelled<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    cancel.run_until_cancelled(work).await.unwrap_or(Err(StepError::Cancelled))
}

/// Looks for the disk until one fits and no more disks appear, or the time is up.
async fn wait_for_disk(hints: &Hints, context: &StepContext) -> Result<Choice, StepError> {
    let deadline = Instant::now() + DISK_WAIT;
    let mut before = None;
    loop {
        let error = match find_disk(hints.clone(), context.roots.clone()).await? {
            // The right disk may appear later than a wrong one that fits.
            Ok(choice) if before.as_ref() == Some(&choice.explanations) => return Ok(choice),
            Ok(choice) => {
                before = Some(choice.explanations);
                pause(context, DISK_SETTLE).await?;
                continue;
            }
            Err(error) if Instant::now() >= deadline => return Err(StepError::Failed(error.into())),
            Err(error) => error,
        };
        tracing::info!(%error, "waiting for the disk");
        context.report.progress("waiting for the disk", 0, 0);
        pause(context, DISK_POLL).await?;
    }
}

async fn pause(context: &StepContext, duration: Duration) -> Result<(), StepError> {
    let sleep = async {
        tokio::time::sleep(duration).await;
        Ok(())
    };
    until_cancelled(&context.cancel, sleep).await
}

async fn find_disk(hints: Hints, roots: Roots) -> Result<Result<Choice, ChooseError>, StepError> {
    let find = move || disk::discover(&roots).map(|devices| disk::choose(&devices, &hints));
    blocking(find).await?.map_err(|error| StepError::Failed(error.into()))
}

async fn claim(device: BlockDevice, roots: Roots) -> Result<Target, StepError> {
    blocking(move || disk::claim(&device, &roots)).await?.map_err(|error| StepError::Failed(error.into()))
}

/// Runs what touches devices off the threads of the network.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StepError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StepError::Failed(error.into()))
}

async fn expected_digest(fetcher: &Fetcher, arguments: &WriteImageArguments) -> Result<Digest, StepError> {
    let (url, algorithm) = match &arguments.digest {
        DigestSource::Value(digest) => return Ok(digest.clone()),
        DigestSource::Url { url, algorithm } => (url, *algorithm),
    };
    let shown = fetch::shown(url);
    let read = tokio::time::timeout(CHECKSUM_DEADLINE, fetcher.read(url, checksum_file::MAX_BYTES)).await;
    let content = read
        .map_err(|_| {
            anyhow::anyhow!(
                "the checksum file {shown} did not arrive in {} seconds",
                CHECKSUM_DEADLINE.as_secs()
            )
        })?
        .map_err(|error| anyhow::Error::from(error).context("the checksum file could not be fetched"))?;
    Ok(checksum_file::find(&content, &shown, &arguments.url, algorithm).map_err(anyhow::Error::from)?)
}

fn written_device(device: &BlockDevice, target: &Target) -> WrittenDevice {
    WrittenDevice {
        name: device.name(),
        serial: device.serial().map(str::to_owned),
        wwn: device.wwn.name.clone(),
        model: device.model.clone(),
        size: target.size(),
    }
}

/// Largest resident memory of this process, `VmHWM`.
fn peak_memory_kib(roots: &Roots) -> u64 {
    let status = disk::sysfs::text(&roots.proc.join("self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "write_image_tests.rs"]
mod tests;
