//! Where images come from, how they are kept, and how agents get them.

mod authorization;
mod cache;
mod check;
mod checksum;
pub(crate) mod content;
mod fetch;
pub(crate) mod manifest;
pub mod ranges;
mod serve;
#[cfg(test)]
mod tests;
mod transfer;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bessemer_proto::step::{DigestSource, ProxyArguments, WriteImageArguments};
use serde::Deserialize;
use url::Url;

use authorization::Authorization;
use cache::{Cache, name_of};
use check::{Source, Wanted};
use content::Content;
use fetch::Fetcher;
pub(crate) use fetch::plain;
pub use serve::router;
use transfer::DiskFormat;

use crate::node::Node;

/// `[images]`: where images may come from and how they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How agents get images from http and https sources: `http`, straight from the source, or `local`, fetched
    /// and checked once by the controller and served by it. A node's `instance_info` and `driver_info` can say
    /// otherwise. Default `http`.
    pub image_download_source: DownloadSource,
    /// Whether http and https sources are asked for the image before a deploy begins. False where agents reach
    /// the sources but the controller does not; a missing image then shows when the agent asks. Default true.
    pub check_http_sources: bool,
    /// Folders that `file://` images may lie in; `/dev`, `/proc`, `/sys`, `/etc`, `/boot` and `/run` are never
    /// read. Relative paths start at `state_dir`. Default `["files"]`.
    pub file_url_allowed_paths: Vec<PathBuf>,
    /// File with the certificates (PEM) of the authorities that https sources are signed by, instead of the
    /// public ones. Agents get it too. Default none.
    pub ca_file: Option<PathBuf>,
    /// GiB that the largest image may have that the controller fetches. Default 256.
    pub max_size_gib: u32,
    /// Seconds that fetching an image to the controller may take. Default 3600.
    pub download_timeout: u32,
    /// How many images are fetched at once. Default 20.
    pub image_download_concurrency: u32,
    /// GiB of fetched images to keep; the longest unused ones go first, those used in the last three hours stay.
    /// Default 20.
    pub cache_size_gib: u32,
}

/// How agents get images from http and https sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DownloadSource {
    /// Straight from the source.
    #[default]
    Http,
    /// From the controller.
    Local,
}

/// Stages images; cheap to clone.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    fetcher: Fetcher,
    cache: Cache,
    /// What agents put before `/images/…`.
    url_for_agents: Url,
    /// What signs `url_for_agents`, when that is https.
    served_ca_pem: Option<String>,
}

/// Why an image cannot be used. Each sentence names the `instance_info` key to mend.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// `instance_info` lacks something or holds nonsense.
    #[error("{0}")]
    InstanceInfo(String),
    /// The source does not have it.
    #[error("image {url} is not to be had: {problem}")]
    Source {
        /// Where it was looked for, without query.
        url: String,
        /// What came back.
        problem: String,
    },
    /// The bytes are not the declared ones.
    #[error("image {url} has digest {got}, instance_info declares {expected}: fix the digest or the image")]
    Digest {
        /// Where.
        url: String,
        /// What it hashes to.
        got: String,
        /// What it should.
        expected: String,
    },
    /// The cache.
    #[error("image {url} could not be kept in {path}")]
    Cache {
        /// Where from.
        url: String,
        /// Where to.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configuration cannot be used.
    #[error("{problem} {path}", path = path.display())]
    Setup {
        /// What was tried.
        problem: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The TLS library refuses the configuration.
    #[error("the HTTP client for images could not be made: check images.ca_file")]
    Client(#[source] reqwest::Error),
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            image_download_source: DownloadSource::Http,
            check_http_sources: true,
            file_url_allowed_paths: vec!["files".into()],
            ca_file: None,
            max_size_gib: 256,
            download_timeout: 3600,
            image_download_concurrency: 20,
            cache_size_gib: 20,
        }
    }
}

// === impl Images ===

impl Images {
    /// Opens the cache in `folder`, making it when it is not there. `url_for_agents`: what agents put before
    /// `/images/…` to reach [`router`]; `served_ca_pem`: what signs it, when it is https.
    pub fn open(
        config: Config,
        folder: PathBuf,
        url_for_agents: Url,
        served_ca_pem: Option<String>,
    ) -> Result<Self, ImageError> {
        let fetcher = Fetcher::new(&config)?;
        let cache = Cache::open(folder, &config)?;
        Ok(Self { inner: Arc::new(Inner { config, fetcher, cache, url_for_agents, served_ca_pem }) })
    }

    /// Checks `instance_info` without I/O: what `node validate` says.
    pub fn check(&self, node: &Node) -> Result<(), ImageError> {
        Wanted::of(node, &self.inner.config).map(drop)
    }

    /// Makes the image of `instance_info` reachable for an agent and says how: http(s) sources are passed on
    /// after a HEAD request (see [`Config::check_http_sources`]), `file://` sources and `image_download_source=local` are staged and served.
    pub async fn stage(&self, node: &Node) -> Result<WriteImageArguments, ImageError> {
        let within = self.stage_timeout();
        match tokio::time::timeout(within, self.stage_now(node)).await {
            Ok(staged) => staged,
            Err(_) => Err(ImageError::InstanceInfo(format!(
                "the image was not staged within {} s: check image_source, or raise images.download_timeout",
                within.as_secs()
            ))),
        }
    }

    async fn stage_now(&self, node: &Node) -> Result<WriteImageArguments, ImageError> {
        let wanted = Wanted::of(node, &self.inner.config)?;
        match (&wanted.source, &wanted.digest) {
            (Source::Remote { url, staged: false }, Some(digest)) => {
                if self.inner.config.check_http_sources {
                    self.inner.fetcher.probe(url, wanted.authorization.as_ref()).await?;
                }
                let ca_pem = self.inner.fetcher.ca_pem();
                Ok(arguments(
                    &wanted,
                    wanted.format,
                    Reach { url: url.clone(), digest: digest.clone(), ca_pem },
                ))
            }
            _ => self.stage_here(&wanted).await,
        }
    }

    async fn stage_here(&self, wanted: &Wanted) -> Result<WriteImageArguments, ImageError> {
        let digest = self.inner.keep(wanted).await?;
        let content = self.inner.content_of(&digest).await?;
        let format = wanted.format.agreeing_with(content)?;
        let manifest = match content {
            Content::Raw => self.inner.manifest_of(&digest).await,
            Content::Qcow2 | Content::Packed(_) => None,
        };
        let reach = Reach {
            url: self.inner.url_of_name(&name_of(&digest))?,
            digest: DigestSource::Value(digest),
            ca_pem: self.inner.served_ca_pem.clone(),
        };
        // Proxies and authorization are for the source, not for this controller.
        Ok(WriteImageArguments {
            manifest,
            proxy: ProxyArguments::default(),
            authorization: None,
            ..arguments(wanted, format, reach)
        })
    }

    /// The whole of a small file at an http(s) URL, fetched as images are. The error says what went wrong, without the
    /// URL.
    pub(crate) async fn read(&self, url: &Url, limit: usize) -> Result<Vec<u8>, String> {
        self.inner.fetcher.read(url, limit).await
    }

    /// What agents put before paths of the file server.
    pub(crate) fn url_for_agents(&self) -> &Url {
        &self.inner.url_for_agents
    }

    /// What signs [`Self::url_for_agents`], when it is https.
    pub(crate) fn served_ca_pem(&self) -> Option<String> {
        self.inner.served_ca_pem.clone()
    }

    /// How long [`Self::stage`] may take.
    pub(crate) fn stage_timeout(&self) -> Duration {
        self.inner.fetcher.within()
    }
}

/// How an agent gets an image.
struct Reach {
    url: Url,
    digest: DigestSource,
    ca_pem: Option<String>,
}

fn arguments(wanted: &Wanted, format: DiskFormat, reach: Reach) -> WriteImageArguments {
    let (format, allow_qcow2) = format.arguments();
    WriteImageArguments {
        url: reach.url,
        format,
        allow_qcow2,
        digest: reach.digest,
        ca_pem: reach.ca_pem,
        authorization: wanted.authorization.as_ref().map(Authorization::secret),
        root_device: wanted.root_device.clone(),
        proxy: wanted.proxy.clone(),
        connections: wanted.connections,
        manifest: wanted.manifest.clone(),
        verify_readback: wanted.verify_readback,
    }
}
