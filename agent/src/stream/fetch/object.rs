//! An object on a server: one version of it, read as a whole or by ranges.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use reqwest::Response;
use url::Url;

use super::{
    Body, FetchError, Fetcher,
    attempts::Attempts,
    client::RangeRequest,
    identity::{ContentRange, Identity},
    shown,
};
use crate::{
    steps::StepReport,
    stream::{StreamError, random_access::RandomAccess},
};

/// What fetching took.
#[derive(Debug, Default)]
pub struct FetchCounts {
    /// Requests sent again after a failure.
    pub retries: AtomicU64,
    /// Bytes that arrived, repeated ones included.
    pub bytes: AtomicU64,
    /// Most range requests at once; 0 when one body was enough.
    pub connections: AtomicU64,
}

/// One version of an object.
pub struct Object {
    fetcher: Arc<Fetcher>,
    url: Url,
    /// The URL for messages.
    pub(super) shown: String,
    pub(super) identity: Identity,
    /// Whether the server said that it takes range requests.
    says_ranges: bool,
    /// Whether it has answered one as if it took none.
    ranges_refused: AtomicBool,
    report: Arc<dyn StepReport>,
    /// What was fetched so far.
    pub counts: FetchCounts,
}

/// The answer to a request for part of an object.
pub(super) enum Part {
    /// The part, from where it was asked for, and the length of the object where the answer tells it.
    Range(Response, Option<u64>),
    /// The whole object from its start: the server takes no ranges.
    Whole(Response),
}

impl Object {
    /// Asks for the object; its body is left to be read. Failures that may pass are tried again.
    pub async fn open(
        fetcher: Arc<Fetcher>,
        url: &Url,
        report: Arc<dyn StepReport>,
    ) -> Result<(Arc<Self>, Body), FetchError> {
        let mut attempts = Attempts::new(fetcher.attempts, fetcher.first_pause, report.clone());
        let mut retries = 0;
        let response = loop {
            match fetcher.request(url, None).await {
                Ok(response) => break response,
                Err(error) => attempts.after(error, 0).await?,
            }
            retries += 1;
        };
        let headers = response.headers();
        let object = Arc::new(Self {
            url: url.clone(),
            shown: shown(url),
            identity: Identity::of(headers, response.content_length()),
            says_ranges: headers.get(header::ACCEPT_RANGES).is_some_and(|unit| unit == "bytes"),
            ranges_refused: AtomicBool::new(false),
            report,
            counts: FetchCounts { retries: AtomicU64::new(retries), ..FetchCounts::default() },
            fetcher,
        });
        let body = Body::of_whole(object.clone(), response);
        Ok((object, body))
    }

    /// Length, when the server told it.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.identity.length
    }

    /// Whether several ranges may be fetched at once.
    #[must_use]
    pub fn has_ranges(&self) -> bool {
        self.says_ranges && self.length().is_some() && !self.ranges_refused.load(Ordering::Relaxed)
    }

    /// The bytes of a range; it is asked for when the first is wanted.
    #[must_use]
    pub fn range(self: &Arc<Self>, range: Range<u64>) -> Body {
        Body::of_range(self.clone(), range)
    }

    /// The same for who has no use for an answer with the whole object, even at its end.
    #[must_use]
    pub fn part(self: &Arc<Self>, range: Range<u64>) -> Body {
        Body::of_part(self.clone(), range)
    }

    pub(super) fn attempts(&self) -> Attempts {
        Attempts::new(self.fetcher.attempts, self.fetcher.first_pause, self.report.clone())
    }

    pub(super) fn read_timeout(&self) -> std::time::Duration {
        self.fetcher.read_timeout
    }

    /// Asks for the object from `start` to `end`, or to its end.
    pub(super) async fn request(&self, start: u64, end: Option<u64>) -> Result<Part, FetchError> {
        let wanted = RangeRequest { start, end, if_range: self.identity.if_range() };
        // Who wants a part has no use for the whole.
        let ask_range = end.is_some() || !self.ranges_refused.load(Ordering::Relaxed);
        let response = self.fetcher.request(&self.url, ask_range.then_some(&wanted)).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => self.check_range(&wanted, response),
            StatusCode::OK => {
                let now = Identity::of(response.headers(), response.content_length());
                self.identity.same(&now, &self.shown)?;
                self.ranges_refused.store(true, Ordering::Relaxed);
                Ok(Part::Whole(response))
            }
            // 416 for a range of an object that has not changed: the server does not mean what it says of ranges.
            status => {
                let total = response.headers().get(header::CONTENT_RANGE).and_then(|value| {
                    value.to_str().ok()?.trim().strip_prefix("bytes */")?.parse::<u64>().ok()
                });
                self.identity.same(&Identity::of(response.headers(), total), &self.shown)?;
                if self.ranges_refused.swap(true, Ordering::Relaxed) {
                    return Err(FetchError::Status { url: self.shown.clone(), status, retry_after: None });
                }
                let response = self.fetcher.request(&self.url, None).await?;
                let now = Identity::of(response.headers(), response.content_length());
                self.identity.same(&now, &self.shown)?;
                Ok(Part::Whole(response))
            }
        }
    }

    fn check_range(&self, wanted: &RangeRequest<'_>, response: Response) -> Result<Part, FetchError> {
        let sent = ContentRange::of(response.headers());
        let fits = sent.as_ref().is_some_and(|sent| {
            let framed = response.content_length().is_none_or(|n| n == sent.range.end - sent.range.start);
            wanted.fits(&sent.range) && framed
        });
        let Some(sent) = sent.filter(|_| fits) else {
            let header = response.headers().get(header::CONTENT_RANGE);
            let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            return Err(FetchError::WrongRange {
                url: self.shown.clone(),
                asked: wanted.header(),
                sent: header.unwrap_or_default().chars().take(100).collect(),
            });
        };
        self.identity.same(&Identity::of(response.headers(), sent.total), &self.shown)?;
        Ok(Part::Range(response, sent.total))
    }
}

#[async_trait]
impl RandomAccess for Arc<Object> {
    fn length(&self) -> u64 {
        Object::length(self).unwrap_or(0)
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, StreamError> {
        let mut body = self.range(offset..offset.saturating_add(length as u64));
        let mut bytes = BytesMut::with_capacity(length);
        while let Some(chunk) = body.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}
