//! `bessemer-agent write`: the pipeline of the `write_image` step as a command, for ramdisk builders, rescue work and
//! benchmarks.

mod console;
mod exit;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use bessemer_proto::{
    digest::{Digest, DigestAlgorithm, DigestError},
    secret::Secret,
    step::{DigestSource, ImageFormat, MOST_CONNECTIONS, ManifestSource, ProxyArguments},
};
use clap::{ArgGroup, Args, ValueEnum, builder::PossibleValue};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use url::Url;

use self::{
    console::{ProgressStyle, Shown},
    exit::Failure,
};
use crate::{
    disk::{self, Left},
    link::{clock::Clock, resolve::Resolver},
    report::{LogLayer, Report},
    steps::Roots,
    stream::{
        fetch::{FetchOptions, in_order},
        job::{self, Job, NotWritten},
        pipeline::WriteOptions,
    },
};

/// A CA file is text of a few KiB.
const LARGEST_CA: u64 = 1 << 20;

/// Writes the image at URL to DEVICE, verified, without a controller.
///
/// The disk gets its partition table only when every byte is proved.
///
/// Exit codes: 0 written and proved; 2 wrong arguments or unusable files that they name; 3 the image server; 4 the bytes are not the ones asked for;
/// 5 the image cannot be unpacked or does not fit; 6 the device is refused; 7 the device failed; 8 the device does not
/// hold what was written; 130 cancelled; 1 anything else.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("digest").multiple(false).args(["sha256", "sha512", "checksum_url"])),
    group(ArgGroup::new("proof").required(true).multiple(true).args(["sha256", "sha512", "checksum_url", "manifest"]))
)]
pub(crate) struct Write {
    /// Where the image is: http:// or https://.
    // Parsed later: a URL may hold a password, and clap shows what it cannot parse.
    url: String,
    /// The whole disk, such as /dev/sda, or a regular file.
    device: PathBuf,
    /// SHA-256 of the image as served.
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    sha256: Option<Digest>,
    /// SHA-512 of the image as served.
    #[arg(long, value_name = "HEX", value_parser = sha512)]
    sha512: Option<Digest>,
    /// A checksum file (SHA256SUMS, BSD or a bare digest) that lists the image.
    #[arg(long, value_name = "URL")]
    checksum_url: Option<String>,
    /// How the image is packed. The content decides; another format than the declared one is an error.
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// Most range connections to the server, 1 to 8.
    #[arg(long, value_name = "N", default_value_t = in_order::DEFAULT_CONNECTIONS,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_CONNECTIONS)))]
    connections: u8,
    /// Certificates (PEM) to trust instead of the public authorities; a server's own certificate is a pin.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File with the value of the Authorization header for URL, such as "Bearer …".
    #[arg(long, value_name = "FILE")]
    authorization_file: Option<PathBuf>,
    /// Manifest of the image (JSON of `bessemer image manifest`, or bmap): only what the device lacks is fetched. Alone
    /// it is trusted as a checksum file is; with a digest that it does not name, the whole device is read back.
    #[arg(long, value_name = "URL")]
    manifest: Option<String>,
    /// SHA-256 of the manifest: then its digests prove the image, if it names the digest that was given.
    #[arg(long, value_name = "HEX", value_parser = sha256, requires = "manifest")]
    manifest_sha256: Option<Digest>,
    /// Read the device back, past the page cache, and compare.
    #[arg(long)]
    verify_readback: bool,
    /// What to show: a line that moves, JSON lines, nothing; auto is a bar on a terminal.
    #[arg(long, value_enum, default_value = "auto")]
    progress: ProgressStyle,
}

fn sha256(text: &str) -> Result<Digest, DigestError> {
    Digest::from_hex(DigestAlgorithm::Sha256, text)
}

fn sha512(text: &str) -> Result<Digest, DigestError> {
    Digest::from_hex(DigestAlgorithm::Sha512, text)
}

/// An image format as an argument.
#[derive(Clone, Copy, Debug)]
struct Format(ImageFormat);

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        use ImageFormat::{Auto, Bzip2, Gzip, Lz4, Qcow2, Raw, Xz, Zstd};
        const ALL: [Format; 8] = [
            Format(Auto),
            Format(Raw),
            Format(Gzip),
            Format(Xz),
            Format(Zstd),
            Format(Bzip2),
            Format(Lz4),
            Format(Qcow2),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

/// Runs the command to its end.
pub(crate) fn main(write: Write) -> ExitCode {
    let shown = Shown::new(write.progress);
    let logs = LogLayer::new(shown.stderr(), Report::new(Clock::new()));
    if shown.logs() {
        // Fails only when a vendor's main has set a subscriber: then that one is used.
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(logs)).ok();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result =
        runtime.context("the threads cannot be started").map_err(Failure::from).and_then(|runtime| {
            let result = runtime.block_on(run(write, shown.clone()));
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            shown.failed(&failure);
            ExitCode::from(failure.code())
        }
    }
}

async fn run(write: Write, shown: Arc<Shown>) -> Result<(), Failure> {
    let started = Instant::now();
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be caught")?;
    let on_signal = cancel.clone();
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked {
                // Who asks twice does not want to wait for a slow disk.
                std::process::exit(130);
            }
            asked = true;
            on_signal.cancel();
        }
    });
    let path = write.device.clone();
    let job = write.job().map_err(Failure::Arguments)?;
    let claimed = tokio::task::spawn_blocking(move || disk::claim_path(&path, &Roots::default())).await;
    let (device, target, is_new) = claimed.context("claiming the device broke off")??;
    let target = Arc::new(target);
    let written = job.run(target.clone(), shown.clone(), &cancel).await.map_err(|error| {
        let mut failed = NotWritten::new(&device, &target, error);
        // Half an image would look like a disk of that size.
        if target.grows() && target.end_at(0).is_ok() {
            failed.left = Left::Unchanged;
        }
        if is_new {
            target.remove_file().ok();
        }
        failed
    })?;
    shown.finished(&job::receipt(&device, &target, written, started));
    Ok(())
}

impl Write {
    fn job(self) -> Result<Job, anyhow::Error> {
        let url = |url: Option<String>, name| url.map(|url| parse(&url, name)).transpose();
        let by_url = url(self.checksum_url, "--checksum-url")?;
        let by_url = by_url.map(|url| DigestSource::Url { url, algorithm: None });
        let digest = self.sha256.or(self.sha512).map(DigestSource::Value).or(by_url);
        let manifest_digest = self.manifest_sha256;
        let manifest = url(self.manifest, "--manifest")?;
        let text = |path: &Option<PathBuf>| path.as_deref().map(read_text).transpose();
        Ok(Job {
            url: parse(&self.url, "URL")?,
            format: self.format.0,
            digest,
            manifest: manifest.map(|url| ManifestSource { url, digest: manifest_digest }),
            authorization: text(&self.authorization_file)?.map(|text| Secret::new(text.trim())),
            fetch: FetchOptions {
                ca_pem: text(&self.ca)?,
                resolver: Some(Arc::new(Resolver::default())),
                proxy: proxies(),
                ..FetchOptions::default()
            },
            write: WriteOptions {
                connections: self.connections,
                verify_readback: self.verify_readback,
                allow_qcow2: true,
            },
        })
    }
}

fn parse(url: &str, argument: &str) -> Result<Url, anyhow::Error> {
    let url = Url::parse(url)
        .with_context(|| format!("{argument} is no URL; it must begin with http:// or https://"))?;
    anyhow::ensure!(
        matches!(url.scheme(), "http" | "https"),
        "{argument} must begin with http:// or https://"
    );
    Ok(url)
}

fn read_text(path: &Path) -> Result<String, anyhow::Error> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let read = file.take(LARGEST_CA).read_to_string(&mut text);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

/// The variables that curl reads: `http_proxy` in lower case only, as a CGI program could be given the other.
fn proxies() -> ProxyArguments {
    let variable = |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok());
    let secret = |names: &[&str]| variable(names).filter(|value| !value.is_empty()).map(Secret::new);
    ProxyArguments {
        http: secret(&["http_proxy"]),
        https: secret(&["https_proxy", "HTTPS_PROXY"]),
        no_proxy: variable(&["no_proxy", "NO_PROXY"]),
    }
}
