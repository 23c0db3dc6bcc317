//! Why something could not be fetched, and whether trying again can help.

use std::time::Duration;

use http::StatusCode;

/// Why something could not be fetched. URLs are shown without user, password and query.
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
    /// A proxy's URL is none.
    #[error("the proxy for {scheme} URLs cannot be used: give an http:// URL")]
    Proxy {
        /// For which URLs.
        scheme: &'static str,
    },
    /// The client could not be built.
    #[error("the HTTP client could not be built")]
    Client(#[source] reqwest::Error),
    /// No connection.
    #[error("cannot reach the server of {url}: check its address and the network")]
    Connect {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Its certificate is not trusted.
    #[error(
        "the certificate of the server of {url} is refused: give the certificate of its CA, or the server's own where nobody signed it"
    )]
    Untrusted {
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
    /// The answer was not the one that was asked for.
    #[error(
        "the server answered {status} for {url}: check that the URL is right and that the agent may read it"
    )]
    Status {
        /// The URL.
        url: String,
        /// The answer.
        status: StatusCode,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
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
    /// Nothing, or next to nothing, came for too long.
    #[error("the server of {url} sent {bytes} bytes in {seconds} seconds, after {received} bytes")]
    Stalled {
        /// The URL.
        url: String,
        /// How long.
        seconds: u64,
        /// What came in that time.
        bytes: u64,
        /// Bytes of the body so far.
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
    /// Part of the body is of one object and part of another.
    #[error(
        "{url} changed on the server while it was fetched ({what} was {before:?} and is {now:?}): deploy again once it is stable"
    )]
    Changed {
        /// The URL.
        url: String,
        /// What differs.
        what: &'static str,
        /// At first.
        before: String,
        /// Later.
        now: String,
    },
    /// The answer to a range request is for another range.
    #[error("the server of {url} was asked for {asked} and sent {sent:?}: its range requests do not work")]
    WrongRange {
        /// The URL.
        url: String,
        /// `bytes=…`.
        asked: String,
        /// The `Content-Range` of the answer.
        sent: String,
    },
    /// Ranges are needed and the server has none.
    #[error("the server of {url} has no range requests, which are needed to {purpose}")]
    NoRanges {
        /// The URL.
        url: String,
        /// What for.
        purpose: &'static str,
    },
    /// It was tried often enough.
    #[error("given up after {attempts} attempts")]
    GaveUp {
        /// How often, since something came last.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Box<FetchError>,
    },
}

impl FetchError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(
                *status,
                StatusCode::REQUEST_TIMEOUT
                    | StatusCode::TOO_EARLY
                    | StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::INTERNAL_SERVER_ERROR
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
            Self::Connect { .. } | Self::Request { .. } | Self::Stalled { .. } | Self::Short { .. } => true,
            _ => false,
        }
    }

    /// Whether a request for part of an object was not answered with that part.
    #[must_use]
    pub fn is_about_ranges(&self) -> bool {
        match self {
            Self::NoRanges { .. } | Self::WrongRange { .. } => true,
            Self::Status { status, .. } => *status == StatusCode::RANGE_NOT_SATISFIABLE,
            Self::GaveUp { source, .. } => source.is_about_ranges(),
            _ => false,
        }
    }

    /// How long the server asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A certificate that is refused now is refused a second later.
pub(super) fn is_about_certificates(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.downcast_ref::<rustls::Error>().is_some() {
        return true;
    }
    // An I/O error does not name what it wraps as its source, but that one's source.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
    match wrapped {
        Some(inner) => is_about_certificates(inner),
        None => error.source().is_some_and(is_about_certificates),
    }
}
