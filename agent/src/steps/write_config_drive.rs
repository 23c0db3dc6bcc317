//! `write_config_drive`: puts a config drive on the written disk, in a partition that operating systems find.
//!
//! A config drive holds passwords: neither its bytes nor its URL's query are ever shown.

use std::{os::unix::fs::FileExt, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use bessemer_proto::{
    config_drive::{self, FileSystem},
    digest::{Digest, DigestAlgorithm},
    step::{WriteConfigDriveArguments, WriteConfigDriveResult, WrittenDevice, names},
};
use reqwest::dns::Resolve;
use serde_json::Value;
use sha2::Digest as _;
use url::Url;

use super::{Step, StepContext, StepError, StepReport, arguments, written_disk};
use crate::{
    disk::{
        self, Target,
        config_partition::{self, Place},
    },
    stream::fetch::{self, FetchError, FetchOptions, Fetcher},
};

const STAGE: &str = "writing the config drive";
const PIECE: usize = 1 << 20;
/// All attempts together, pauses included, must be over after this time.
const FETCH_DEADLINE: Duration = Duration::from_secs(180);
/// A controller that restarts is back after a few seconds.
const FETCH_ATTEMPTS: u32 = 6;
const FETCH_PAUSE: Duration = Duration::from_secs(5);
/// Disks with larger sectors mount no file system that is made of smaller ones.
const ISO_SECTOR: u32 = 2048;

/// The step.
#[derive(Clone, Default)]
pub struct WriteConfigDrive {
    resolver: Option<Arc<dyn Resolve>>,
    /// Between attempts; short in tests.
    pause: Option<Duration>,
}

impl WriteConfigDrive {
    /// Resolves the name of the controller with `resolver` instead of the C library.
    #[must_use]
    pub fn with_resolver(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver: Some(resolver), pause: None }
    }

    async fn fetch(
        &self,
        arguments: &WriteConfigDriveArguments,
        report: &Arc<dyn StepReport>,
    ) -> anyhow::Result<Vec<u8>> {
        let url = Url::parse(arguments.url.reveal()).map_err(|_| {
            anyhow::anyhow!(
                "the URL of the config drive is none: the controller and the agent differ in version"
            )
        })?;
        let options = FetchOptions {
            ca_pem: arguments.ca_pem.clone(),
            resolver: self.resolver.clone(),
            // Counted here: a controller that starts may answer 404 too.
            attempts: 1,
            ..FetchOptions::default()
        };
        let fetcher = Arc::new(Fetcher::new(options)?);
        let mut attempt = 1;
        let attempts = async {
            loop {
                match fetch::read(&fetcher, &url, config_drive::MAX_BYTES, report.clone()).await {
                    Err(error) if attempt < FETCH_ATTEMPTS && may_pass(&error) => {
                        tracing::info!(%error, attempt, "the config drive could not be fetched yet");
                        attempt += 1;
                        tokio::time::sleep(self.pause.unwrap_or(FETCH_PAUSE)).await;
                    }
                    done => return done.context("the config drive could not be fetched"),
                }
            }
        };
        tokio::time::timeout(FETCH_DEADLINE, attempts).await.unwrap_or_else(|_| {
            anyhow::bail!(
                "the config drive at {} did not arrive in {} seconds",
                fetch::shown(&url),
                FETCH_DEADLINE.as_secs()
            )
        })
    }
}

#[async_trait]
impl Step for WriteConfigDrive {
    fn name(&self) -> &'static str {
        names::WRITE_CONFIG_DRIVE
    }

    async fn run(&self, value: Value, context: StepContext) -> Result<Value, StepError> {
        let arguments: WriteConfigDriveArguments = arguments(value)?;
        let fetched = context.cancel.run_until_cancelled(self.fetch(&arguments, &context.report)).await;
        let content = fetched.ok_or(StepError::Cancelled)??;
        check(&content, &arguments.digest)?;
        let work = tokio::task::spawn_blocking(move || put(&arguments.device, &content, &context));
        let result = work.await.context("writing the config drive ended without a result")??;
        Ok(serde_json::to_value(result).map_err(anyhow::Error::from)?)
    }
}

/// What a controller that is just starting answers, or no answer at all.
fn may_pass(error: &FetchError) -> bool {
    match error {
        FetchError::Connect { .. }
        | FetchError::Request { .. }
        | FetchError::Stalled { .. }
        | FetchError::Short { .. } => true,
        FetchError::Status { status, .. } => {
            status.is_server_error() || *status == http::StatusCode::NOT_FOUND
        }
        _ => false,
    }
}

fn check(content: &[u8], expected: &Digest) -> anyhow::Result<()> {
    let hash = match expected.algorithm() {
        DigestAlgorithm::Sha256 => sha2::Sha256::digest(content).to_vec(),
        DigestAlgorithm::Sha512 => sha2::Sha512::digest(content).to_vec(),
    };
    let got = Digest::from_bytes(expected.algorithm(), &hash)?;
    anyhow::ensure!(
        got == *expected,
        "the config drive has digest {got}, the controller announced {expected}: it was changed on its way"
    );
    anyhow::ensure!(
        FileSystem::of(content).is_some(),
        "the config drive is neither ISO 9660 nor FAT: operating systems read no other"
    );
    Ok(())
}

fn put(
    device: &WrittenDevice,
    content: &[u8],
    context: &StepContext,
) -> Result<WriteConfigDriveResult, StepError> {
    let devices = disk::discover(&context.roots).map_err(anyhow::Error::from)?;
    let device = written_disk::find(&devices, device)?;
    let target = disk::claim(device, &context.roots).map_err(anyhow::Error::from)?;
    let name = device.name();
    warn_of_what_is_not_found(content, &target, context);
    let mut place =
        config_partition::find(target.file(), target.sector(), target.size(), content.len() as u64)
            .with_context(|| format!("{name} has no place for the config drive"))?;
    write(&target, &place, content, context)?;
    target.flush().map_err(anyhow::Error::from)?;
    read_back(&target, &place, content).with_context(|| format!("the config drive on {name}"))?;
    place.commit(target.file()).with_context(|| format!("the partition table of {name}"))?;
    target.flush().map_err(anyhow::Error::from)?;
    if let Err(error) = target.reread_partitions() {
        context.report.warning(format!("the kernel did not read the new partition table of {name}: {error}"));
    }
    tracing::info!(
        device = name,
        partition = place.number,
        start = place.start,
        bytes = content.len(),
        reused = place.reused,
        "config drive written"
    );
    Ok(WriteConfigDriveResult {
        device: name,
        partition: place.number,
        partition_offset: place.start,
        partition_size: place.length,
        bytes_written: content.len() as u64,
        reused: place.reused,
    })
}

/// A config drive that the operating system will not find or mount is written nevertheless: it may know better.
fn warn_of_what_is_not_found(content: &[u8], target: &Target, context: &StepContext) {
    let label = config_drive::label(content).unwrap_or_default();
    if !label.eq_ignore_ascii_case(config_drive::LABEL) {
        context.report.warning(format!(
            "the config drive is labelled {label:?}: operating systems look for {:?}",
            config_drive::LABEL
        ));
    }
    if FileSystem::of(content) == Some(FileSystem::Iso9660) && target.sector() > ISO_SECTOR {
        context.report.warning(format!(
            "{} has sectors of {} bytes, and Linux mounts no ISO 9660 from it: give the config drive as JSON or as FAT",
            target.path().display(),
            target.sector()
        ));
    }
}

/// What belongs into the partition at `at`: the content, then zeros.
fn fill(piece: &mut [u8], content: &[u8], at: u64) {
    let rest = usize::try_from(at).ok().and_then(|at| content.get(at..)).unwrap_or_default();
    let (from, zeros) = piece.split_at_mut(rest.len().min(piece.len()));
    from.copy_from_slice(&rest[..from.len()]);
    zeros.fill(0);
}

/// The pieces of a partition: where each begins and how long it is.
fn pieces(place: &Place) -> impl Iterator<Item = (u64, usize)> + use<> {
    let length = place.length;
    (0..length)
        .step_by(PIECE)
        .map(move |at| (at, usize::try_from(length - at).map_or(PIECE, |left| left.min(PIECE))))
}

/// Nothing names the partition yet, or it held a config drive: to be stopped in between does no harm.
fn write(target: &Target, place: &Place, content: &[u8], context: &StepContext) -> Result<(), StepError> {
    let mut piece = vec![0; PIECE];
    for (at, length) in pieces(place) {
        if context.cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        context.report.progress(STAGE, at, place.length);
        fill(&mut piece[..length], content, at);
        target.write_at(&piece[..length], place.start + at).map_err(anyhow::Error::from)?;
    }
    Ok(())
}

fn read_back(target: &Target, place: &Place, content: &[u8]) -> anyhow::Result<()> {
    let (mut wanted, mut got) = (vec![0; PIECE], vec![0; PIECE]);
    for (at, length) in pieces(place) {
        let (wanted, got) = (&mut wanted[..length], &mut got[..length]);
        fill(wanted, content, at);
        target.file().read_exact_at(got, place.start + at).context("cannot be read back")?;
        anyhow::ensure!(
            wanted == got,
            "reads back differently near byte {}: the disk is broken",
            place.start + at
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "write_config_drive_tests.rs"]
mod tests;
