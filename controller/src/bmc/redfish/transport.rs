//! One HTTP exchange with a BMC, bounded in size and time, repeated where that is safe.

use std::{cell::Cell, error::Error as _, io::Read as _, sync::Arc, time::Duration};

use bessemer_proto::secret::Secret;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use tracing::debug;
use url::Url;

use super::{
    Pace,
    settings::{Credentials, Names},
};
use crate::bmc::{
    BmcError,
    queue::{Again, Queue, Retry},
};

const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// All answers of one operation together: what is read of a BMC is kept as JSON for as long, which takes several times
/// as much memory.
const MAX_OPERATION_BYTES: usize = 32 * 1024 * 1024;
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];
const MAX_LINK_BYTES: usize = 2048;
const ATTEMPTS: u32 = 4;
const MAX_REDIRECTS: u32 = 3;
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10);
const TOKEN_HEADER: &str = "x-auth-token";

tokio::task_local! {
    /// How many bytes the operation under way may still get.
    static LEFT: Cell<usize>;
}

/// Bounds what all answers of an operation may weigh together. A part of an operation spends what that has.
pub(super) async fn bounded<T>(operation: impl Future<Output = T>) -> T {
    match LEFT.try_with(|_| ()) {
        Ok(()) => operation.await,
        Err(_) => LEFT.scope(Cell::new(MAX_OPERATION_BYTES), operation).await,
    }
}

/// Whether the operation under way got too much.
pub(super) fn is_spent() -> bool {
    LEFT.try_with(|left| left.get() == 0).unwrap_or_default()
}

fn spend(bytes: usize) -> bool {
    LEFT.try_with(|left| left.set(left.get().saturating_sub(bytes))).ok();
    !is_spent()
}

/// Sends requests to one origin.
pub(in crate::bmc) struct Transport {
    pub(in crate::bmc) http: reqwest::Client,
    pub(super) queue: Arc<Queue>,
    pub(super) origin: Url,
    pub(super) address: String,
    pub(super) pace: Pace,
    pub(super) names: Names,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(in crate::bmc) struct Call<'a> {
    pub(in crate::bmc) method: &'a Method,
    pub(in crate::bmc) link: &'a str,
    /// May hold a password.
    pub(in crate::bmc) body: Option<&'a Value>,
    pub(in crate::bmc) if_match: Option<&'a str>,
}

/// A body that is sent as it comes, once.
pub(super) struct Upload {
    pub(super) content_type: String,
    pub(super) length: u64,
    pub(super) body: reqwest::Body,
    pub(super) within: Duration,
}

/// How a request proves who sends it.
#[derive(Clone, Debug)]
pub(in crate::bmc) enum Authorization {
    Nothing,
    Basic(Credentials),
    Token(Secret),
}

/// What came back, whatever its status.
pub(in crate::bmc) struct Answer {
    pub(in crate::bmc) status: StatusCode,
    pub(in crate::bmc) headers: HeaderMap,
    pub(in crate::bmc) body: Vec<u8>,
}

/// A failed exchange.
pub(super) struct Failure {
    error: BmcError,
    /// The request may have reached the BMC.
    sent: bool,
    /// Trying again may help.
    passing: bool,
}

impl Call<'_> {
    /// The request as messages show it.
    pub(in crate::bmc) fn what(&self) -> String {
        let link: String = self.link.chars().take(256).collect();
        format!("{} {link}", self.method)
    }
}

impl Answer {
    pub(in crate::bmc) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the BMC asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header(header::RETRY_AFTER)?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
    }
}

impl Transport {
    /// Sends a request; repeats it after broken connections, and where the BMC says that it is busy. What may have
    /// changed something is only repeated when the BMC cannot have acted on it.
    pub(in crate::bmc) async fn send(
        &self,
        call: Call<'_>,
        auth: &Authorization,
    ) -> Result<Answer, BmcError> {
        let pace = &self.pace;
        let retry = Retry {
            attempts: ATTEMPTS,
            pause: pace.retry,
            factor: 2,
            longest: pace.retry_until,
            within: pace.retry_until,
        };
        let judge = |result: &Result<Answer, Failure>| {
            let again = match result {
                Err(failure) => failure.repeatable(call.method).into(),
                Ok(answer) if busy(call.method, answer.status) => {
                    answer.retry_after().map_or(Again::Yes, Again::After)
                }
                Ok(_) => Again::No,
            };
            if again != Again::No {
                debug!(bmc = self.address, request = call.what(), "a request to a BMC may be repeated");
            }
            again
        };
        retry.run(|| self.follow(call, auth), judge).await.map_err(|failure| failure.error)
    }

    /// Follows redirections of reads within the origin: some BMCs add or remove a slash.
    async fn follow(&self, call: Call<'_>, auth: &Authorization) -> Result<Answer, Failure> {
        let mut url = self.resolve(call.link, &call).map_err(Failure::lasting)?;
        for _ in 0..MAX_REDIRECTS {
            let exchange = self.exchange(call, url.clone(), auth);
            // The HTTP client's own deadline comes first, and knows more.
            let within = self.pace.request + Duration::from_secs(1);
            let answer = self.queue.run(&call.what(), within, exchange).await?;
            let target = answer.header(header::LOCATION).filter(|_| answer.status.is_redirection());
            match target {
                Some(target) if call.method == Method::GET => {
                    url = self.resolve(target, &call).map_err(Failure::lasting)?;
                }
                _ => return Ok(answer),
            }
        }
        Err(Failure::lasting(self.malformed(&call, "too many redirections")))
    }

    /// Sends a large body. It is not repeated: it comes from elsewhere and is gone.
    pub(super) async fn upload(
        &self,
        call: Call<'_>,
        auth: &Authorization,
        upload: Upload,
    ) -> Result<Answer, BmcError> {
        let url = self.resolve(call.link, &call)?;
        let within = upload.within;
        let request = self
            .request(call, url, auth)
            .header(header::CONTENT_TYPE, upload.content_type)
            .header(header::CONTENT_LENGTH, upload.length)
            .timeout(within)
            .body(upload.body);
        let exchange = self.receive(call, request);
        self.queue.run(&call.what(), within, exchange).await.map_err(|failure| failure.error)
    }

    async fn exchange(&self, call: Call<'_>, url: Url, auth: &Authorization) -> Result<Answer, Failure> {
        let request = self.request(call, url, auth);
        self.receive(call, request).await
    }

    fn request(&self, call: Call<'_>, url: Url, auth: &Authorization) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .header(header::ACCEPT, "application/json")
            .header("OData-Version", "4.0");
        request = match auth {
            Authorization::Nothing => request,
            Authorization::Basic(who) => request.basic_auth(&who.user, Some(who.password.reveal())),
            Authorization::Token(token) => request.header(TOKEN_HEADER, token.reveal()),
        };
        if let Some(body) = call.body {
            request = request.json(body);
        }
        if let Some(tag) = call.if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        request
    }

    async fn receive(&self, call: Call<'_>, request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
        let mut response = request.send().await.map_err(|error| self.failure(&call, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(&call, error))? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(Failure::lasting(self.malformed(&call, "an answer of more than 4 MiB")));
            }
            body.extend_from_slice(&chunk);
        }
        let body =
            plain(body).ok_or_else(|| Failure::lasting(self.malformed(&call, "gzip that cannot be read")))?;
        if !spend(body.len()) {
            return Err(Failure::lasting(self.malformed(&call, "answers of more than 32 MiB in all")));
        }
        Ok(Answer { status, headers, body })
    }

    /// Where a link of the BMC leads; only to itself.
    fn resolve(&self, link: &str, call: &Call<'_>) -> Result<Url, BmcError> {
        let url = Some(link)
            .filter(|link| link.len() <= MAX_LINK_BYTES)
            .and_then(|link| self.origin.join(link).ok())
            .ok_or_else(|| self.malformed(call, "a link that cannot be followed"))?;
        let bare = url.username().is_empty() && url.password().is_none();
        if bare && url.origin() == self.origin.origin() {
            Ok(url)
        } else {
            Err(self.malformed(call, "a link to another host, which is not followed"))
        }
    }

    fn malformed(&self, call: &Call<'_>, problem: &str) -> BmcError {
        BmcError::Malformed { address: self.address.clone(), what: call.what(), problem: problem.to_owned() }
    }

    fn failure(&self, call: &Call<'_>, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let address = self.address.clone();
        let sent = !error.is_connect();
        if let Some(problem) = certificate_problem(&error) {
            return Failure::lasting(BmcError::Certificate {
                address,
                source: problem,
                key: self.names.verify,
            });
        }
        if sent && error.is_timeout() {
            let seconds = self.pace.request.as_secs();
            return Failure::lasting(BmcError::Timeout { address, what: call.what(), seconds });
        }
        Failure { error: BmcError::Unreachable { address, source: error.into() }, sent, passing: true }
    }
}

/// iLO 4 sends gzip that nobody asked for. `None`: it is broken, or far too long.
fn plain(body: Vec<u8>) -> Option<Vec<u8>> {
    if !body.starts_with(&GZIP) {
        return Some(body);
    }
    let mut plain = Vec::new();
    let most = u64::try_from(MAX_BODY_BYTES).ok()? + 1;
    flate2::read::GzDecoder::new(body.as_slice()).take(most).read_to_end(&mut plain).ok()?;
    (plain.len() <= MAX_BODY_BYTES).then_some(plain)
}

fn busy(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || (status.is_server_error() && method == Method::GET)
}

/// The TLS library's reason, when it refused the BMC's certificate.
pub(in crate::bmc) fn certificate_problem(error: &reqwest::Error) -> Option<rustls::Error> {
    let mut cause = error.source();
    while let Some(current) = cause {
        if let Some(problem @ rustls::Error::InvalidCertificate(_)) = current.downcast_ref() {
            return Some(problem.clone());
        }
        // An I/O error hides what it wraps from `source`.
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    None
}

impl From<BmcError> for Failure {
    /// From the queue: before the request was sent, or after its deadline.
    fn from(error: BmcError) -> Self {
        let waited = matches!(error, BmcError::Busy { .. });
        Self { error, sent: !waited, passing: waited }
    }
}

impl Failure {
    fn lasting(error: BmcError) -> Self {
        Self { error, sent: true, passing: false }
    }

    fn repeatable(&self, method: &Method) -> bool {
        self.passing && (!self.sent || method == Method::GET)
    }
}
