//! Talking to image servers: is it there, and getting it. Everything is bounded: size, time, redirects.

use std::{
    error::Error as _,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bessemer_proto::digest::{Digest, DigestAlgorithm};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::sync::{Semaphore, mpsc};
use url::Url;

use super::{Config, ImageError, authorization::Authorization, cache::Sink, checksum};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const READ_WITHIN: Duration = Duration::from_secs(60);
const PROBE_WITHIN: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 10;
const MAX_CHECKSUM_FILE: usize = 1024 * 1024;
/// Pieces between the network and the disk.
const PIECES: usize = 16;

/// An HTTP client for images.
pub(super) struct Fetcher {
    client: Client,
    ca_pem: Option<String>,
    within: Duration,
    max_bytes: u64,
    slots: Semaphore,
}

impl Fetcher {
    pub(super) fn new(config: &Config) -> Result<Self, ImageError> {
        let mut roots = RootCertStore::empty();
        let mut ca_pem = None;
        match &config.ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let pem = read_authorities(path, &mut roots).map_err(|source| ImageError::Setup {
                    problem: "images.ca_file cannot be used:",
                    path: path.clone(),
                    source,
                })?;
                ca_pem = Some(pem);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ImageError::Setup {
                problem: "TLS cannot be set up for",
                path: PathBuf::from("image sources"),
                source: io::Error::other(error),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(READ_WITHIN)
            .redirect(redirect::Policy::custom(follow))
            .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ImageError::Client)?;
        Ok(Self {
            client,
            ca_pem,
            within: Duration::from_secs(config.download_timeout.into()),
            max_bytes: u64::from(config.max_size_gib) << 30,
            slots: Semaphore::new(config.image_download_concurrency.max(1) as usize),
        })
    }

    pub(super) fn ca_pem(&self) -> Option<String> {
        self.ca_pem.clone()
    }

    pub(super) fn within(&self) -> Duration {
        self.within.max(PROBE_WITHIN)
    }

    /// Whether the source has the image: HEAD, and one byte by GET where HEAD is not allowed (signed URLs).
    pub(super) async fn probe(
        &self,
        url: &Url,
        authorization: Option<&Authorization>,
    ) -> Result<(), ImageError> {
        let ask = async {
            let head = self.request(Method::HEAD, url, authorization);
            let head = head.send().await.map_err(|error| failed(url, &error))?;
            if head.status().is_success() {
                return Ok(());
            }
            if head.status() == StatusCode::NOT_FOUND || head.status() == StatusCode::GONE {
                return Err(refused(url, head.status()));
            }
            let get = self.request(Method::GET, url, authorization).header(header::RANGE, "bytes=0-0");
            let get = get.send().await.map_err(|error| failed(url, &error))?;
            if get.status().is_success() { Ok(()) } else { Err(refused(url, get.status())) }
        };
        in_time(url, PROBE_WITHIN, ask).await
    }

    /// The digest of the image `image` in the checksum file at `url`.
    pub(super) async fn digest_of(
        &self,
        url: &Url,
        image: &Url,
        authorization: Option<&Authorization>,
    ) -> Result<Digest, ImageError> {
        let fetch = async {
            let mut answer = self.get(url, authorization).await?;
            let mut text = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(|error| failed(url, &error))? {
                text.extend_from_slice(&piece);
                if text.len() > MAX_CHECKSUM_FILE {
                    return Err(source(
                        url,
                        format!("the checksum file is larger than {MAX_CHECKSUM_FILE} bytes"),
                    ));
                }
            }
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let text = in_time(url, PROBE_WITHIN, fetch).await?;
        let name = image.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
        checksum::find(&text, name).ok_or_else(|| {
            source(
                url,
                format!("the checksum file of image_checksum has no sha256 or sha512 digest of {name}"),
            )
        })
    }

    /// The whole of a small file; the error says what went wrong, without the URL.
    pub(super) async fn read(&self, url: &Url, limit: usize) -> Result<Vec<u8>, String> {
        let request = self.client.get(url.clone()).header(header::ACCEPT_ENCODING, "identity");
        let mut answer = request.send().await.map_err(|error| problem_of(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the source answered {}", answer.status()));
        }
        let mut content = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| problem_of(&error))? {
            if content.len() + piece.len() > limit {
                return Err(format!("it is larger than {limit} bytes"));
            }
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    /// Fetches an image into a file and says what it hashes to. A short body is an error.
    pub(super) async fn fetch(
        &self,
        url: &Url,
        authorization: Option<&Authorization>,
        algorithm: DigestAlgorithm,
        into: &Path,
    ) -> Result<Digest, ImageError> {
        let work = async {
            let Ok(_slot) = self.slots.acquire().await else {
                return Err(source(url, "the controller is stopping".to_owned()));
            };
            let answer = self.get(url, authorization).await?;
            let length = answer.content_length();
            if length.is_some_and(|length| length > self.max_bytes) {
                return Err(self.too_large(url));
            }
            self.receive(url, answer, algorithm, into).await
        };
        in_time(url, self.within, work).await
    }

    async fn receive(
        &self,
        url: &Url,
        mut answer: Response,
        algorithm: DigestAlgorithm,
        into: &Path,
    ) -> Result<Digest, ImageError> {
        let (pieces, writer) = writer(into, algorithm);
        let mut received: u64 = 0;
        while let Some(piece) = answer.chunk().await.map_err(|error| failed(url, &error))? {
            received += piece.len() as u64;
            if received > self.max_bytes {
                return Err(self.too_large(url));
            }
            if pieces.send(piece).await.is_err() {
                // The writer ended early: it says why below.
                break;
            }
        }
        drop(pieces);
        let written = writer.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| ImageError::Cache {
            url: plain(url),
            path: into.display().to_string(),
            source: error,
        })
    }

    /// A redirect to another server loses the authorization.
    fn request(&self, method: Method, url: &Url, authorization: Option<&Authorization>) -> RequestBuilder {
        let request = self.client.request(method, url.clone());
        match authorization.and_then(|authorization| authorization.header_for(url)) {
            Some(value) => request.header(header::AUTHORIZATION, value),
            None => request,
        }
    }

    async fn get(&self, url: &Url, authorization: Option<&Authorization>) -> Result<Response, ImageError> {
        let request = self.request(Method::GET, url, authorization);
        let answer = request
            .header(header::ACCEPT_ENCODING, "identity")
            .send()
            .await
            .map_err(|error| failed(url, &error))?;
        if answer.status() == StatusCode::OK { Ok(answer) } else { Err(refused(url, answer.status())) }
    }

    fn too_large(&self, url: &Url) -> ImageError {
        source(url, format!("it is larger than images.max_size_gib ({} GiB)", self.max_bytes >> 30))
    }
}

/// Hashing and writing happen on a thread of their own.
fn writer(
    into: &Path,
    algorithm: DigestAlgorithm,
) -> (mpsc::Sender<Bytes>, tokio::task::JoinHandle<io::Result<Digest>>) {
    let (pieces, mut arriving) = mpsc::channel::<Bytes>(PIECES);
    let into = into.to_owned();
    let task = tokio::task::spawn_blocking(move || {
        let mut sink = Sink::create(&into, algorithm)?;
        while let Some(piece) = arriving.blocking_recv() {
            sink.write(&piece)?;
        }
        sink.finish()
    });
    (pieces, task)
}

fn read_authorities(path: &Path, roots: &mut RootCertStore) -> io::Result<String> {
    let pem = std::fs::read_to_string(path)?;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if roots.is_empty() { Err(io::Error::other("it holds no certificate")) } else { Ok(pem) }
}

async fn in_time<T>(
    url: &Url,
    within: Duration,
    work: impl Future<Output = Result<T, ImageError>>,
) -> Result<T, ImageError> {
    tokio::time::timeout(within, work)
        .await
        .unwrap_or_else(|_| Err(source(url, format!("the source took longer than {} s", within.as_secs()))))
}

fn refused(url: &Url, status: StatusCode) -> ImageError {
    let check = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "check image_source and image_request_authorization_secret"
        }
        _ => "check image_source",
    };
    source(url, format!("the source answered {status}: {check}"))
}

fn failed(url: &Url, error: &reqwest::Error) -> ImageError {
    source(url, format!("{}: check image_source and the network", problem_of(error)))
}

fn problem_of(error: &reqwest::Error) -> String {
    // The innermost cause says it best; the outer ones repeat the URL with its query.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let what = if error.is_connect() { "no connection to the source" } else { "the transfer failed" };
    let inner = if error.source().is_some() { format!(" ({cause})") } else { String::new() };
    format!("{what}{inner}")
}

fn source(url: &Url, problem: String) -> ImageError {
    ImageError::Source { url: plain(url), problem }
}

/// A few hops, and never from https to http: the digest that proves an image may come this way.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let downgrade =
        attempt.url().scheme() != "https" && attempt.previous().iter().any(|url| url.scheme() == "https");
    if downgrade {
        return attempt.error("it redirects from https to http");
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("too many redirects")
    } else {
        attempt.follow()
    }
}

/// Without user, password and query: these are secrets.
pub(crate) fn plain(url: &Url) -> String {
    let mut url = url.clone();
    // A URL that cannot have them has none.
    url.set_username("").ok();
    url.set_password(None).ok();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}
