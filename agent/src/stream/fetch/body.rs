//! A body that goes on from its last good byte when the connection breaks, stalls or drips.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use reqwest::Response;

use super::{
    FetchError,
    attempts::Attempts,
    object::{Object, Part},
};

/// A server that sends less than this in a read timeout is taken for stalled, though it is not silent.
const LEAST_IN_A_TIMEOUT: u64 = 16 << 10;

/// Attempts of a body that is one of several.
const ATTEMPTS_OF_ONE_OF_MANY: u32 = 3;

/// Bytes of an object in order.
pub struct Body {
    object: Arc<Object>,
    position: u64,
    /// `None` when the server did not say where the object ends.
    end: Option<u64>,
    whole: bool,
    response: Option<Response>,
    /// Bytes of the answer that were had before: the server takes no ranges.
    skip: u64,
    attempts: Attempts,
    pace: Pace,
}

/// How much came in how much waiting.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Body {
    pub(super) fn of_whole(object: Arc<Object>, response: Response) -> Self {
        let end = object.length();
        Self { response: Some(response), whole: true, ..Self::new(object, 0, end) }
    }

    pub(super) fn of_range(object: Arc<Object>, range: Range<u64>) -> Self {
        let whole = Some(range.end) == object.length();
        Self { whole, ..Self::new(object, range.start, Some(range.end)) }
    }

    pub(super) fn of_part(object: Arc<Object>, range: Range<u64>) -> Self {
        Self::new(object, range.start, Some(range.end))
    }

    fn new(object: Arc<Object>, position: u64, end: Option<u64>) -> Self {
        let attempts = object.attempts();
        let pace = Pace::default();
        Self { object, position, end, whole: false, response: None, skip: 0, attempts, pace }
    }

    /// One of several bodies at once: whoever waits for it has another way.
    pub(super) fn impatient(mut self) -> Self {
        self.attempts.limit(ATTEMPTS_OF_ONE_OF_MANY);
        self
    }

    /// The offset of the next byte.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes; `None` only when the body is complete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if self.end == Some(self.position) {
                return Ok(None);
            }
            let error = match self.attempt().await {
                Ok(Some(chunk)) if chunk.is_empty() => continue,
                Ok(Some(chunk)) => {
                    self.position += chunk.len() as u64;
                    self.attempts.progress(chunk.len() as u64);
                    return Ok(Some(chunk));
                }
                Ok(None) => return Ok(None),
                Err(error) => error,
            };
            self.response = None;
            self.attempts.after(error, self.position).await?;
            self.object.counts.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One step on the connection there is, or on a new one.
    async fn attempt(&mut self) -> Result<Option<Bytes>, FetchError> {
        if self.response.is_none() {
            self.connect().await?;
        }
        let Some(response) = &mut self.response else { return Ok(None) };
        let begun = Instant::now();
        let chunk = response.chunk().await;
        self.pace.waited += begun.elapsed();
        match chunk {
            Ok(Some(mut chunk)) => {
                self.object.counts.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                self.keep_pace(chunk.len() as u64)?;
                let had = self.skip.min(chunk.len() as u64);
                self.skip -= had;
                // Not longer than the chunk.
                chunk.advance(usize::try_from(had).unwrap_or(chunk.len()));
                // An answer may go on behind the range when the server sends the whole object.
                if let Some(left) = self.end.and_then(|end| usize::try_from(end - self.position).ok()) {
                    chunk.truncate(left);
                }
                Ok(Some(chunk))
            }
            Ok(None) if self.end.is_none() && self.skip == 0 => {
                self.end = Some(self.position);
                Ok(None)
            }
            Ok(None) => Err(self.short(None)),
            Err(error) if error.is_timeout() => Err(self.stalled(0)),
            Err(error) => Err(self.short(Some(error.without_url()))),
        }
    }

    async fn connect(&mut self) -> Result<(), FetchError> {
        self.pace = Pace::default();
        match self.object.request(self.position, self.end.filter(|_| !self.whole)).await? {
            Part::Range(response, total) => {
                self.skip = 0;
                // A range may end before the object does.
                self.end = self.end.or(total);
                self.response = Some(response);
            }
            // Going through the whole object again is worth it only for its rest.
            Part::Whole(response) if self.whole => {
                self.skip = self.position;
                self.response = Some(response);
            }
            Part::Whole(_) => {
                let url = self.object.shown.clone();
                return Err(FetchError::NoRanges { url, purpose: "read parts of the image" });
            }
        }
        Ok(())
    }

    fn keep_pace(&mut self, bytes: u64) -> Result<(), FetchError> {
        self.pace.bytes += bytes;
        if self.pace.waited < self.object.read_timeout() {
            return Ok(());
        }
        let came = std::mem::take(&mut self.pace).bytes;
        if came < LEAST_IN_A_TIMEOUT { Err(self.stalled(came)) } else { Ok(()) }
    }

    fn stalled(&self, bytes: u64) -> FetchError {
        FetchError::Stalled {
            url: self.object.shown.clone(),
            seconds: self.object.read_timeout().as_secs(),
            bytes,
            received: self.position,
        }
    }

    fn short(&self, source: Option<reqwest::Error>) -> FetchError {
        FetchError::Short {
            url: self.object.shown.clone(),
            received: self.position,
            expected: self.end,
            source,
        }
    }
}
