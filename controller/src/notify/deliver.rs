//! Sends the messages to one receiver: in order for each node, a few nodes at once, until they are taken.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use bessemer_proto::ids::NodeId;
use chrono::Utc;
use futures_util::{StreamExt as _, stream};
use http::{StatusCode, header};
use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use url::Url;
use uuid::Uuid;

use super::{News, NotifyError, sign::Signer};
use crate::{
    reconcile::sentence,
    store::{Message, Store, StoreError},
};

/// Messages taken out of the database at once.
const BATCH: u32 = 64;
/// Nodes whose messages are under way at the same moment.
const AT_ONCE: usize = 8;
/// From the news of a message to the look for it: its transaction is committed meanwhile.
const SETTLE: Duration = Duration::from_millis(20);
/// Without news it is looked again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So often it is looked for messages that wait too long.
const TIDY_EVERY: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

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
    /// Not now.
    Failed(String),
}

/// What became of a batch.
struct Sent {
    /// How many messages it had.
    count: usize,
    /// Why the receiver could not be reached.
    problem: Option<String>,
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
                Ok(Sent { problem: None, count }) => {
                    if failures > 0 && count > 0 {
                        info!(receiver = self.shown, "the receiver of notifications takes messages again");
                        failures = 0;
                    }
                    if count == BATCH as usize {
                        continue;
                    }
                    None
                }
                Ok(Sent { problem: Some(problem), .. }) => {
                    failures += 1;
                    warn!(receiver = self.shown, failures, problem, "a notification could not be sent");
                    Some(pause(failures))
                }
                Err(error) => {
                    failures += 1;
                    error!(receiver = self.shown, error = sentence(&error), "notifications cannot be read");
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

    async fn send_batch(&self) -> Result<Sent, StoreError> {
        let messages = self.store.outbox(&self.name, BATCH).await?;
        let count = messages.len();
        let mut of_nodes: BTreeMap<NodeId, Vec<Message>> = BTreeMap::new();
        for message in messages {
            of_nodes.entry(message.node).or_default().push(message);
        }
        let results: Vec<_> =
            stream::iter(of_nodes.into_values().map(|messages| self.send_in_order(messages)))
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
        let done: Vec<Uuid> = results.iter().flat_map(|(done, _)| done.iter().copied()).collect();
        self.store.remove_messages(&done).await?;
        Ok(Sent { count, problem: results.into_iter().find_map(|(_, problem)| problem) })
    }

    /// The messages about one node, up to the first that is not taken.
    async fn send_in_order(&self, messages: Vec<Message>) -> (Vec<Uuid>, Option<String>) {
        let mut done = Vec::new();
        for message in messages {
            match self.send(&message).await {
                Attempt::Taken => debug!(receiver = self.shown, id = %message.id, "notification sent"),
                Attempt::Refused(reason) => {
                    error!(receiver = self.shown, id = %message.id, reason, "a notification is refused, dropped");
                }
                Attempt::Failed(reason) => return (done, Some(reason)),
            }
            done.push(message.id);
        }
        (done, None)
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
        match answer.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => Attempt::Taken,
            // These are about the message; all others may be about the receiver.
            Ok(
                status @ (StatusCode::BAD_REQUEST
                | StatusCode::PAYLOAD_TOO_LARGE
                | StatusCode::UNPROCESSABLE_ENTITY),
            ) => Attempt::Refused(format!("it answered {status}")),
            Ok(status) => Attempt::Failed(format!("it answered {status}")),
            // Its URL may hold a secret.
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

/// Twice as long each time.
fn pause(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}

pub(super) fn client(ca_file: Option<PathBuf>) -> Result<Client, NotifyError> {
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
}
