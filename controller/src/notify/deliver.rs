//! Sends the messages to one receiver: in order for each node, a few nodes at once, until they are taken. A message that
//! is not taken holds up those of its node only; a receiver that cannot be reached is left alone for a while.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use url::Url;

use super::{News, NotifyError, sign::Signer};
use crate::{
    reconcile::sentence,
    store::{Message, Store, StoreError},
};

/// Messages taken out of the database at once, each of another node.
const BATCH: u32 = 64;
/// Messages under way at the same moment.
const AT_ONCE: usize = 8;
/// From the news of a message to the look for it: its transaction is committed meanwhile.
const SETTLE: Duration = Duration::from_millis(20);
/// Without news it is looked again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So often it is looked for messages that wait too long.
const TIDY_EVERY: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A receiver that asks for a longer pause does not get it.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// One receiver and how to reach it.
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) shown: String,
    pub(super) url: Url,
    pub(super) signer: Signer,
    pub(super) client: Client,
    pub(super) timeout: Duration,
    pub(super) give_up_after: chrono::Duration,
    pub(super) max_waiting: u32,
    pub(super) store: Store,
    pub(super) news: News,
}

/// What became of one attempt.
enum Attempt {
    Taken,
    /// It will never take this one.
    Refused(String),
    /// Not this one, not now.
    Failed(String),
    /// None now: it cannot be reached, or says so itself.
    Closed(Closed),
    /// Not tried: the receiver is closed.
    Skipped,
}

/// A receiver that takes nothing.
struct Closed {
    problem: String,
    /// How long, if it said so.
    pause: Option<Duration>,
}

/// What became of a batch.
struct Sent {
    /// Messages that it answered to, well or not.
    answered: usize,
    closed: Option<Closed>,
}

impl Receiver {
    /// Until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(self) {
        let mut failures = 0;
        let mut tidied: Option<Instant> = None;
        loop {
            if tidied.is_none_or(|at| at.elapsed() >= TIDY_EVERY) {
                tidied = Some(Instant::now());
                if let Err(error) = self.give_up_old().await {
                    error!(
                        receiver = self.shown,
                        error = sentence(&error),
                        "old notifications cannot be removed"
                    );
                }
            }
            let wait = match self.send_batch().await {
                Ok(Sent { closed: None, answered: 0 }) => None,
                Ok(Sent { closed: None, .. }) => {
                    if failures > 0 {
                        info!(receiver = self.shown, "the receiver of notifications answers again");
                        failures = 0;
                    }
                    continue;
                }
                Ok(Sent { closed: Some(Closed { problem, pause: asked }), .. }) => {
                    failures += 1;
                    warn!(receiver = self.shown, failures, problem, "notifications cannot be sent now");
                    Some(asked.unwrap_or_else(|| pause(failures)))
                }
                Err(error) => {
                    failures += 1;
                    error!(
                        receiver = self.shown,
                        error = sentence(&error),
                        "notifications cannot be worked on in the database"
                    );
                    Some(pause(failures))
                }
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    let _ = tokio::time::timeout(LOOK_AGAIN, self.news.notified()).await;
                    tokio::time::sleep(SETTLE).await;
                }
            }
        }
    }

    /// Sends one message of each of some nodes.
    async fn send_batch(&self) -> Result<Sent, StoreError> {
        let now = Utc::now();
        let messages = self.store.outbox(&self.name, now, now + LONGEST_WAIT, BATCH).await?;
        let is_closed = AtomicBool::new(false);
        let attempts: Vec<_> =
            stream::iter(messages.into_iter().map(|message| self.attempt(message, &is_closed)))
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
        let (mut done, mut put_off, mut closed) = (Vec::new(), Vec::new(), None);
        for (message, attempt) in attempts {
            let (receiver, id) = (&self.shown, message.id);
            match attempt {
                Attempt::Taken => {
                    debug!(receiver, %id, "notification sent");
                    done.push(id);
                }
                Attempt::Refused(reason) => {
                    error!(receiver, %id, reason, "a notification is refused, dropped");
                    done.push(id);
                }
                Attempt::Failed(reason) => {
                    let (node, attempts) = (message.node, message.attempts.saturating_add(1));
                    warn!(receiver, %id, %node, attempts, reason, "a notification is not taken, put off");
                    put_off.push((id, Utc::now() + pause(attempts)));
                }
                Attempt::Closed(problem) => closed = closed.or(Some(problem)),
                Attempt::Skipped => {}
            }
        }
        self.store.remove_messages(&done).await?;
        self.store.put_off_messages(&put_off).await?;
        Ok(Sent { answered: done.len() + put_off.len(), closed })
    }

    async fn attempt(&self, message: Message, is_closed: &AtomicBool) -> (Message, Attempt) {
        if is_closed.load(Ordering::Relaxed) {
            return (message, Attempt::Skipped);
        }
        let attempt = self.send(&message).await;
        is_closed.fetch_or(matches!(attempt, Attempt::Closed(_)), Ordering::Relaxed);
        (message, attempt)
    }

    async fn send(&self, message: &Message) -> Attempt {
        let (id, timestamp) = (message.id.to_string(), Utc::now().timestamp());
        let answer = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", self.signer.sign(&id, timestamp, &message.body))
            .body(message.body.clone())
            .send()
            .await;
        match answer.map(|answer| (answer.status(), retry_after(answer.headers()))) {
            Ok((status, _)) if status.is_success() => Attempt::Taken,
            // These are about the message; all others may be about the receiver.
            Ok((
                status @ (StatusCode::BAD_REQUEST
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNPROCESSABLE_ENTITY),
                _,
            )) => Attempt::Refused(format!("it answered {status}")),
            Ok((
                status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE),
                pause @ Some(_),
            )) => Attempt::Closed(Closed { problem: format!("it answered {status}"), pause }),
            Ok((status, _)) => Attempt::Failed(format!("it answered {status}")),
            // Its URL may hold a secret.
            Err(error) if error.is_connect() => {
                Attempt::Closed(Closed { problem: sentence(&error.without_url()), pause: None })
            }
            Err(error) => Attempt::Failed(sentence(&error.without_url())),
        }
    }

    async fn give_up_old(&self) -> Result<(), StoreError> {
        let old = self.store.expire_messages(&self.name, Utc::now() - self.give_up_after).await?;
        let many = self.store.trim_messages(&self.name, self.max_waiting).await?;
        if old + many > 0 {
            error!(receiver = self.shown, old, too_many = many, "notifications that nobody took are dropped");
        }
        Ok(())
    }
}

/// What it asks for, within bounds: seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
            (date.to_utc() - Utc::now()).to_std().unwrap_or_default()
        }
    };
    Some(asked.clamp(FIRST_WAIT, LONGEST_ASKED))
}

/// Twice as long each time.
fn pause(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}

/// `timeout` is that of whole attempts: a receiver to which half of it brings no connection cannot be reached.
pub(super) fn client(ca_file: Option<PathBuf>, timeout: Duration) -> Result<Client, NotifyError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => read_authorities(&path, &mut roots)
            .map_err(|source| NotifyError::Authority { path: path.clone(), source })?,
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(NotifyError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(timeout / 2)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("bessemer/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(NotifyError::Client)
}

fn read_authorities(path: &std::path::Path, roots: &mut RootCertStore) -> io::Result<()> {
    let pem = std::fs::read(path)?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other("it holds no certificate"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let seconds: Vec<_> = [1, 2, 3, 9, 10, 1000].iter().map(|n| pause(*n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn a_receiver_may_ask_for_a_bounded_pause() {
        let asked = |text: &str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers).map(|pause| pause.as_secs())
        };
        assert_eq!(["0", "7", " 120 ", "18446744073709551615"].map(asked), [1, 7, 120, 3600].map(Some));
        assert_eq!(
            ["Wed, 21 Oct 2015 07:28:00 GMT", "Fri, 21 Oct 2095 07:28:00 GMT"].map(asked),
            [1, 3600].map(Some)
        );
        assert_eq!(["", "-1", "soon", "18446744073709551616"].map(asked), [None; 4]);
    }
}
