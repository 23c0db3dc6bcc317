//! Requests: TLS, proxies, redirects, credentials. One answer at a time; nothing is retried here.
//!
//! Redirects are followed here and not by the client, so that none leads from https to http and credentials stay
//! with the host they were given for.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bessemer_proto::{secret::Secret, step::ProxyArguments};
use http::{HeaderValue, StatusCode, header};
use reqwest::{Client, NoProxy, Proxy, Response, dns::Resolve, redirect};
use url::{Origin, Url};

use super::{FetchError, error::is_about_certificates, shown, tls};

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 8;
/// A server that is silent for this long has stalled.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection, TLS included, must stand after this time.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// What a server may have under way on an HTTP/2 stream, and on a connection: bounds memory.
const HTTP2_STREAM_WINDOW: u32 = 1 << 20;
const HTTP2_CONNECTION_WINDOW: u32 = 4 << 20;
/// No server is obeyed for longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How to fetch.
#[derive(Clone)]
pub struct FetchOptions {
    /// CA certificates that replace the public ones; a server's own certificate among them is a pin.
    pub ca_pem: Option<String>,
    /// Resolves names; the C library's resolver when absent.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Longest silence of a server.
    pub read_timeout: Duration,
    /// Attempts in a row without progress.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each.
    pub first_pause: Duration,
    /// Proxies.
    pub proxy: ProxyArguments,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            ca_pem: None,
            resolver: None,
            read_timeout: READ_TIMEOUT,
            attempts: 10,
            first_pause: Duration::from_millis(250),
            proxy: ProxyArguments::default(),
        }
    }
}

/// Credentials that go to one origin and nowhere else.
struct Credentials {
    origin: Origin,
    value: HeaderValue,
}

/// An HTTP client for images.
pub struct Fetcher {
    client: Client,
    credentials: Option<Credentials>,
    pub(super) read_timeout: Duration,
    pub(super) attempts: u32,
    pub(super) first_pause: Duration,
}

/// A range request.
pub(super) struct RangeRequest<'a> {
    /// From where, and to where unless to the end.
    pub(super) start: u64,
    pub(super) end: Option<u64>,
    /// The validator of the version that is wanted.
    pub(super) if_range: Option<&'a str>,
}

impl RangeRequest<'_> {
    pub(super) fn header(&self) -> String {
        match self.end {
            Some(end) => format!("bytes={}-{}", self.start, end.saturating_sub(1)),
            None => format!("bytes={}-", self.start),
        }
    }

    pub(super) fn fits(&self, sent: &Range<u64>) -> bool {
        sent.start == self.start && self.end.is_none_or(|end| sent.end <= end)
    }
}

impl Fetcher {
    /// Makes a client.
    pub fn new(options: FetchOptions) -> Result<Self, FetchError> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls::config(options.ca_pem.as_deref())?)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(options.read_timeout)
            .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .http2_initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .tcp_nodelay(true)
            .user_agent(concat!("bessemer-agent/", env!("CARGO_PKG_VERSION")));
        for proxy in proxies(&options.proxy)? {
            builder = builder.proxy(proxy);
        }
        if let Some(resolver) = options.resolver {
            builder = builder.dns_resolver(resolver);
        }
        Ok(Self {
            client: builder.build().map_err(FetchError::Client)?,
            credentials: None,
            read_timeout: options.read_timeout,
            attempts: options.attempts,
            first_pause: options.first_pause,
        })
    }

    /// Sends `authorization` with requests to the scheme, host and port of `url`, and with no others.
    pub fn with_authorization(mut self, url: &Url, authorization: &Secret) -> Result<Self, FetchError> {
        let mut value =
            HeaderValue::from_str(authorization.reveal()).map_err(|_| FetchError::Authorization)?;
        value.set_sensitive(true);
        self.credentials = Some(Credentials { origin: url.origin(), value });
        Ok(self)
    }

    /// Asks for `url` and follows redirects. The answer is 200, 206 or 416, its body not packed by the server; any
    /// other is an error.
    pub(super) async fn request(
        &self,
        url: &Url,
        range: Option<&RangeRequest<'_>>,
    ) -> Result<Response, FetchError> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(FetchError::Scheme { url: shown(&url) });
            }
            let response = self.send(&url, range).await?;
            if is_redirect(response.status()) {
                url = redirect_target(&url, &response)?;
                continue;
            }
            return check(&url, response, range.is_some());
        }
        Err(FetchError::Redirect { url: shown(&url), reason: "too often" })
    }

    async fn send(&self, url: &Url, range: Option<&RangeRequest<'_>>) -> Result<Response, FetchError> {
        let credentials = self.credentials.as_ref().filter(|known| known.origin == url.origin());
        let mut address = url.clone();
        if credentials.is_some() {
            // The client would make a second Authorization header of a user in the URL.
            let _ = address.set_username("").and_then(|()| address.set_password(None));
        }
        let mut request = self.client.get(address).header(header::ACCEPT_ENCODING, "identity");
        if let Some(credentials) = credentials {
            request = request.header(header::AUTHORIZATION, credentials.value.clone());
        }
        if let Some(range) = range {
            request = request.header(header::RANGE, range.header());
            if let Some(validator) = range.if_range {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        request.send().await.map_err(|error| {
            let (url, source) = (shown(url), error.without_url());
            if is_about_certificates(&source) {
                FetchError::Untrusted { url, source }
            } else if source.is_connect() {
                FetchError::Connect { url, source }
            } else if source.is_timeout() {
                FetchError::Stalled { url, seconds: self.read_timeout.as_secs(), bytes: 0, received: 0 }
            } else {
                FetchError::Request { url, source }
            }
        })
    }
}

fn proxies(arguments: &ProxyArguments) -> Result<Vec<Proxy>, FetchError> {
    let exceptions = arguments.no_proxy.as_deref().unwrap_or_default();
    if exceptions.split(',').any(|entry| entry.trim() == "*") {
        // The client's own star is for names and leaves out addresses.
        return Ok(Vec::new());
    }
    let exceptions = NoProxy::from_string(exceptions);
    let mut proxies = Vec::new();
    for (scheme, url) in [("http", &arguments.http), ("https", &arguments.https)] {
        let Some(url) = url.as_ref().filter(|url| !url.is_empty()) else { continue };
        let parsed = Url::parse(url.reveal()).ok().filter(|url| url.scheme() == "http" && url.has_host());
        let parsed = parsed.ok_or(FetchError::Proxy { scheme })?;
        let proxy = if scheme == "http" { Proxy::http(parsed) } else { Proxy::https(parsed) };
        let proxy = proxy.map_err(|_| FetchError::Proxy { scheme })?;
        proxies.push(proxy.no_proxy(exceptions.clone()));
    }
    Ok(proxies)
}

fn check(url: &Url, response: Response, ranged: bool) -> Result<Response, FetchError> {
    let status = response.status();
    let wanted = status == StatusCode::OK
        || ranged && matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE);
    if !wanted {
        let retry_after = retry_after(&response);
        return Err(FetchError::Status { url: shown(url), status, retry_after });
    }
    if let Some(encoding) = response.headers().get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let encoding = String::from_utf8_lossy(encoding.as_bytes()).chars().take(40).collect();
        return Err(FetchError::Encoding { url: shown(url), encoding });
    }
    Ok(response)
}

/// Seconds or a date (RFC 9110, 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = chrono::DateTime::parse_from_rfc2822(value).ok()?;
            SystemTime::from(date).duration_since(SystemTime::now()).ok()?
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
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
