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

use bessemer_proto::ids::NodeId;
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
    announcer: Announcer,
}

/// Makes messages of what is no change of a node; the default makes none.
#[derive(Clone, Debug, Default)]
pub struct Announcer(Arc<[Wanted]>);

/// A receiver, what the database calls it, and how to tell its sender of news.
type Wanted = (Webhook, String, News);

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
        let announcer = Announcer(wanted.into());
        if !announcer.0.is_empty() {
            let announcer = announcer.clone();
            store.announce(Arc::new(move |node, event| announcer.messages(node, event)));
        }
        Ok(Self { tasks, stop, announcer })
    }

    /// For what is no change of a node.
    #[must_use]
    pub fn announcer(&self) -> Announcer {
        self.announcer.clone()
    }

    /// Ends what is being sent.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Announcer {
    /// Called inside a transaction: quick, and no I/O.
    fn messages(&self, node: &Node, event: &HistoryEvent) -> Vec<Message> {
        let kind = payload::kind_of(event);
        let mut body = None;
        self.to_each(&kind, node.uuid, |_| {
            body.get_or_insert_with(|| payload::body_of(&kind, node, event).to_string()).clone()
        })
    }

    /// A message to each receiver that wants those of type `kind`; `body` is made of the message's id.
    pub(crate) fn to_each(
        &self,
        kind: &str,
        node: NodeId,
        mut body: impl FnMut(Uuid) -> String,
    ) -> Vec<Message> {
        let receivers = self.0.iter().filter(|(webhook, ..)| webhook.wants(kind));
        receivers
            .map(|(_, name, news)| {
                // Before it is committed: the sender waits a moment before it looks.
                news.notify_one();
                let id = Uuid::new_v4();
                let (receiver, created) = (name.clone(), Utc::now());
                Message { id, receiver, node, created, body: body(id), attempts: 0 }
            })
            .collect()
    }
}

/// What the database calls a receiver: not its URL, which may hold a secret.
fn name_of(webhook: &Webhook) -> String {
    hex::encode(&Sha256::digest(webhook.url.as_str())[..16])
}
