//! Fetches over HTTP and HTTPS: what a server may do to us, and what we let it.
//!
//! Only status 200 with the announced length is a success. Redirects are followed here and not by the client, so
//! that none leads from https to http and credentials stay with the host they were given for. URLs are shown
//! without user, password and query: the query of a temporary URL is its key.

use std::{sync::Arc, time::Duration};

use bessemer_proto::secret::Secret;
use bytes::Bytes;
use http::{StatusCode, header};
use reqwest::{Client, Response, dns::Resolve, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use url::{Origin, Url};

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 8;
/// A server that is silent for this long has stalled.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection, TLS included, must stand after this time.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is neither http nor https.
    #[error("{url} cannot be fetched: only http and https are")]
    Scheme {
        /// The URL.
        url: String,
    },
    /// The given CA certificates are unusable.
    #[error("the CA certificates for the image server cannot be used: give PEM certificates")]
    Ca(#[source] Option<rustls_pki_types::pem::Error>),
    /// One of them is refused by the TLS library.
    #[error("a CA certificate for the image server cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The credentials contain characters no header can have.
    #[error("the authorization for the image has characters that an HTTP header cannot have")]
    Authorization,
    /// The client could not be built.
    #[error("the HTTP client could not be built")]
    Client(#[source] reqwest::Error),
    /// No connection.
    #[error("cannot reach the server of {url}: check its address, the network and its certificate")]
    Connect {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The request failed after the connection stood.
    #[error("the server of {url} did not answer the request")]
    Request {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer was not 200.
    #[error(
        "the server answered {status} for {url}: check that the URL is right and that the agent may read it"
    )]
    Status {
        /// The URL.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// A redirect that is not followed.
    #[error("the server of {url} redirects {reason}")]
    Redirect {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server packed the body though it was asked not to.
    #[error(
        "the server sends {url} with the content encoding {encoding:?}: switch that off, it would change the digest"
    )]
    Encoding {
        /// The URL.
        url: String,
        /// The encoding.
        encoding: String,
    },
    /// Nothing came for too long.
    #[error("the server of {url} sent nothing for {seconds} seconds, after {received} bytes")]
    Stalled {
        /// The URL.
        url: String,
        /// How long.
        seconds: u64,
        /// Bytes before.
        received: u64,
    },
    /// The connection ended before the body did.
    #[error("the body of {url} ended early: {received} of {} bytes arrived", expected.map_or("an unknown number of".to_owned(), |bytes| bytes.to_string()))]
    Short {
        /// The URL.
        url: String,
        /// Bytes that arrived.
        received: u64,
        /// Bytes that were announced.
        expected: Option<u64>,
        /// The client's word, when it noticed.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// A small file was not small.
    #[error("{url} is larger than {limit} bytes")]
    TooLong {
        /// The URL.
        url: String,
        /// Bytes allowed.
        limit: usize,
    },
}

/// How to fetch.
#[derive(Clone)]
pub struct FetchOptions {
    /// CA certificates that replace the public ones.
    pub ca_pem: Option<String>,
    /// Resolves names; the C library's resolver when absent.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Longest silence of a server.
    pub read_timeout: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { ca_pem: None, resolver: None, read_timeout: READ_TIMEOUT }
    }
}

/// Credentials that go to one origin and nowhere else.
struct Credentials {
    origin: Origin,
    value: header::HeaderValue,
}

/// An HTTP client for images.
pub struct Fetcher {
    client: Client,
    read_timeout: Duration,
    credentials: Option<Credentials>,
}

impl Fetcher {
    /// Makes a client.
    pub fn new(options: FetchOptions) -> Result<Self, FetchError> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls(options.ca_pem.as_deref())?)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(options.read_timeout)
            .tcp_nodelay(true)
            .user_agent(concat!("bessemer-agent/", env!("CARGO_PKG_VERSION")));
        if let Some(resolver) = options.resolver {
            builder = builder.dns_resolver(resolver);
        }
        let client = builder.build().map_err(FetchError::Client)?;
        Ok(Self { client, read_timeout: options.read_timeout, credentials: None })
    }

    /// Sends `authorization` with requests to the scheme, host and port of `url`, and with no others.
    pub fn with_authorization(mut self, url: &Url, authorization: &Secret) -> Result<Self, FetchError> {
        let mut value =
            header::HeaderValue::from_str(authorization.reveal()).map_err(|_| FetchError::Authorization)?;
        value.set_sensitive(true);
        self.credentials = Some(Credentials { origin: url.origin(), value });
        Ok(self)
    }

    /// Asks for `url` and follows redirects; the body of a 200 is left to be read.
    pub async fn open(&self, url: &Url) -> Result<Body, FetchError> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(FetchError::Scheme { url: shown(&url) });
            }
            let response = self.request(&url).await?;
            if !is_redirect(response.status()) {
                return Body::new(&url, response, self.read_timeout);
            }
            url = redirect_target(&url, &response)?;
        }
        Err(FetchError::Redirect { url: shown(&url), reason: "too often" })
    }

    /// The whole of a small file.
    pub async fn read(&self, url: &Url, limit: usize) -> Result<Vec<u8>, FetchError> {
        let mut body = self.open(url).await?;
        let mut content = Vec::new();
        while let Some(chunk) = body.next().await? {
            if content.len() + chunk.len() > limit {
                return Err(FetchError::TooLong { url: shown(url), limit });
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }

    async fn request(&self, url: &Url) -> Result<Response, FetchError> {
        let mut request = self.client.get(url.clone()).header(header::ACCEPT_ENCODING, "identity");
        if let Some(credentials) = self.credentials.as_ref().filter(|known| known.origin == url.origin()) {
            request = request.header(header::AUTHORIZATION, credentials.value.clone());
        }
        request.send().await.map_err(|error| {
            let (url, source) = (shown(url), error.without_url());
            if source.is_connect() {
                FetchError::Connect { url, source }
            } else if source.is_timeout() {
                FetchError::Stalled { url, seconds: self.read_timeout.as_secs(), received: 0 }
            } else {
                FetchError::Request { url, source }
            }
        })
    }
}

/// The body of an answer, as it arrives.
pub struct Body {
    url: String,
    response: Response,
    length: Option<u64>,
    received: u64,
    read_timeout: Duration,
}

impl Body {
    fn new(url: &Url, response: Response, read_timeout: Duration) -> Result<Self, FetchError> {
        let url = shown(url);
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status { url, status: response.status() });
        }
        if let Some(encoding) = response.headers().get(header::CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).chars().take(40).collect();
            return Err(FetchError::Encoding { url, encoding });
        }
        let length = response.content_length();
        Ok(Self { url, response, length, received: 0, read_timeout })
    }

    /// Length, when the server told it.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The next bytes; `None` only when the body is complete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        match self.response.chunk().await {
            Ok(Some(chunk)) => {
                self.received += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Ok(None) if self.length.is_none_or(|length| length == self.received) => Ok(None),
            Ok(None) => Err(self.short(None)),
            Err(error) if error.is_timeout() => Err(FetchError::Stalled {
                url: self.url.clone(),
                seconds: self.read_timeout.as_secs(),
                received: self.received,
            }),
            Err(error) => Err(self.short(Some(error.without_url()))),
        }
    }

    fn short(&self, source: Option<reqwest::Error>) -> FetchError {
        FetchError::Short { url: self.url.clone(), received: self.received, expected: self.length, source }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

fn redirect_target(from: &Url, response: &Response) -> Result<Url, FetchError> {
    let error = |reason| FetchError::Redirect { url: shown(from), reason };
    let location = response.headers().get(header::LOCATION).ok_or_else(|| error("to nowhere"))?;
    let location =
        std::str::from_utf8(location.as_bytes()).map_err(|_| error("to an address that is no URL"))?;
    let to = from.join(location).map_err(|_| error("to an address that is no URL"))?;
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(error("from https to a URL that is not, which would give up its protection"));
    }
    Ok(to)
}

/// The URL without user, password, query and fragment.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot have either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// TLS 1.2 and 1.3: image servers are not ours.
fn tls(ca_pem: Option<&str>) -> Result<ClientConfig, FetchError> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| FetchError::Ca(Some(error)))?;
                roots.add(certificate).map_err(FetchError::Certificate)?;
            }
            if roots.is_empty() {
                return Err(FetchError::Ca(None));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(FetchError::Certificate)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
