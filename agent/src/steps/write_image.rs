//! `write_image`: streams an image to the disk that the hints name. The receipt exists only for a proved image.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bessemer_proto::step::{WriteImageArguments, names};
use reqwest::dns::Resolve;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Roots, Step, StepContext, StepError, arguments};
use crate::{
    disk::{self, BlockDevice, Choice, ChooseError, Hints, Target},
    stream::{
        StreamError,
        fetch::{FetchOptions, in_order},
        job::{self, Job, NotWritten},
        pipeline::WriteOptions,
    },
};

/// How long a disk may take to appear: behind a RAID controller they are late.
const DISK_WAIT: Duration = Duration::from_secs(30);
const DISK_POLL: Duration = Duration::from_secs(1);
/// Without new disks for so long, all are taken to be there.
const DISK_SETTLE: Duration = Duration::from_secs(2);

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

    fn job(&self, arguments: WriteImageArguments) -> Job {
        let connections = arguments.connections.unwrap_or(in_order::DEFAULT_CONNECTIONS);
        Job {
            url: arguments.url,
            format: arguments.format,
            digest: Some(arguments.digest),
            manifest: arguments.manifest,
            authorization: arguments.authorization,
            fetch: FetchOptions {
                ca_pem: arguments.ca_pem,
                resolver: self.resolver.clone(),
                proxy: arguments.proxy,
                ..FetchOptions::default()
            },
            write: WriteOptions {
                connections,
                verify_readback: arguments.verify_readback,
                allow_qcow2: arguments.allow_qcow2,
            },
        }
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
        let written = self.job(arguments).run(target.clone(), context.report.clone(), &context.cancel).await;
        let written = written.map_err(|error| failed(&choice.device, &target, error))?;
        let mut receipt = job::receipt(&choice.device, &target, written, started);
        receipt.choice = choice.explanations;
        serde_json::to_value(receipt).map_err(|error| StepError::Failed(error.into()))
    }
}

/// Cancelling is no failure.
fn failed(device: &BlockDevice, target: &Target, error: StreamError) -> StepError {
    match error {
        StreamError::Cancelled => StepError::Cancelled,
        error => StepError::Failed(NotWritten::new(device, target, error).into()),
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

#[cfg(test)]
#[path = "write_image_tests.rs"]
mod tests;
