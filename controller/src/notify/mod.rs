//! Notifications: signed HTTP messages (webhooks) about what happens to nodes. Messages are written together with
//! what they tell of and sent afterwards, so none is lost, and no receiver can hold up the engine.
//!
//! `config`, `payload` and `sign` say what is sent; [`deliver`] sends it.

mod config;
mod deliver;
mod payload;
mod sign;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::Utc;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

pub use config::{Config, ConfigError, Webhook};

use self::{deliver::Receiver, sign::Signer};
use crate::{
    node::Node,
    store::{HistoryEvent, Message, Store, StoreError},
};

/// Why notifications cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// A secret that cannot be read.
    #[error("notifications.webhooks: the secret_file {path} cannot be read", path = path.display())]
    SecretFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A secret that is none.
    #[error(
        "notifications.webhooks: the secret_file {path} must hold whsec_ and then 24 to 64 random bytes in base64, \
         as made by: echo whsec_$(openssl rand -base64 32)",
        path = path.display()
    )]
    Secret {
        /// Which file.
        path: PathBuf,
    },
    /// The receiver's own authority.
    #[error("notifications.webhooks: the ca_file {path} cannot be used", path = path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The HTTP client.
    #[error("notifications cannot be sent: the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// TLS.
    #[error("notifications cannot be sent: TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What sends messages; dropped work is taken up again at the next start.
#[derive(Debug)]
pub struct Notifications {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Tells the senders that there may be something to send.
type News = Arc<Notify>;

impl Notifications {
    /// Sends what is waiting, and from now on what the store writes. `resolve` makes paths absolute.
    pub async fn start(
        config: &Config,
        store: &Store,
        resolve: impl Fn(&Path) -> PathBuf,
    ) -> Result<Self, NotifyError> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let names: Vec<_> = config.webhooks.iter().map(name_of).collect();
        let forgotten = store.keep_messages_of(&names).await?;
        if forgotten > 0 {
            tracing::warn!(forgotten, "messages to receivers that are not configured any more are dropped");
        }
        let mut wanted = Vec::new();
        for (webhook, name) in config.webhooks.iter().zip(names) {
            let news: News = Arc::default();
            let timeout = Duration::from_secs(config.timeout.into());
            let receiver = Receiver {
                name: name.clone(),
                shown: webhook.shown(),
                url: webhook.url.clone(),
                signer: Signer::open(&resolve(&webhook.secret_file))?,
                client: deliver::client(webhook.ca_file.as_deref().map(&resolve), timeout)?,
                timeout,
                give_up_after: chrono::Duration::seconds(config.give_up_after.into()),
                max_waiting: config.max_waiting,
                store: store.clone(),
                news: Arc::clone(&news),
            };
            tasks.spawn(receiver.run(stop.clone()));
            wanted.push((webhook.clone(), name, news));
        }
        tasks.close();
        if !wanted.is_empty() {
            store.announce(Arc::new(move |node, event| messages(&wanted, node, event)));
        }
        Ok(Self { tasks, stop })
    }

    /// Ends what is being sent.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Called inside a transaction: quick, and no I/O.
fn messages(wanted: &[(Webhook, String, News)], node: &Node, event: &HistoryEvent) -> Vec<Message> {
    let kind = payload::kind_of(event);
    let receivers: Vec<_> = wanted.iter().filter(|(webhook, ..)| webhook.wants(&kind)).collect();
    if receivers.is_empty() {
        return Vec::new();
    }
    let body = payload::body_of(&kind, node, event).to_string();
    receivers
        .into_iter()
        .map(|(_, name, news)| {
            // Before it is committed: the sender waits a moment before it looks.
            news.notify_one();
            Message {
                id: Uuid::new_v4(),
                receiver: name.clone(),
                node: node.uuid,
                created: Utc::now(),
                body: body.clone(),
                attempts: 0,
            }
        })
        .collect()
}

/// What the database calls a receiver: not its URL, which may hold a secret.
fn name_of(webhook: &Webhook) -> String {
    hex::encode(&Sha256::digest(webhook.url.as_str())[..16])
}
