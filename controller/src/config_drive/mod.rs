//! Config drives: what `instance_info.configdrive` asks for, the image that it becomes, and how agents get it.
//!
//! They hold passwords. At rest there is only `instance_info`, which is encrypted; what an agent is to fetch is kept in
//! memory, under a URL whose query is a fresh key, until its deploy ends.

mod fat;
mod form;
mod serve;
mod unpack;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bessemer_proto::{
    config_drive::{FileSystem, MAX_BYTES},
    digest::{Digest, DigestAlgorithm},
    ids::NodeId,
    secret::Secret,
};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use url::Url;

use crate::{image::Images, node::Node};
use form::Form;
pub use serve::router;

/// The key of `instance_info`, and the argument of `PUT states/provision`.
pub(crate) const KEY: &str = "configdrive";

/// Packed config drives are large: so many are unpacked at once.
const UNPACKED_AT_ONCE: usize = 2;
/// How long fetching one from its URL may take.
const FETCH_WITHIN: Duration = Duration::from_secs(120);

/// Config drives that agents may fetch; cheap to clone.
#[derive(Clone)]
pub struct ConfigDrives(Arc<Inner>);

struct Inner {
    images: Images,
    staged: Mutex<HashMap<NodeId, Staged>>,
    unpacking: Semaphore,
}

/// What an agent may fetch.
#[derive(Clone)]
struct Staged {
    key: Secret,
    image: Bytes,
}

/// Where an agent gets a config drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Whoever knows it can read the config drive.
    pub(crate) url: Secret,
    pub(crate) digest: Digest,
    /// What signs `url`, when it is https.
    pub(crate) ca_pem: Option<String>,
}

/// Why a config drive cannot be used. No sentence shows what is in one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigDriveError {
    /// It has none of the forms.
    #[error("{0}")]
    Form(String),
    /// The text is no base64.
    #[error(
        "configdrive is neither a URL nor base64: give base64 of a gzip-compressed ISO 9660 or FAT image"
    )]
    Base64,
    /// What base64 holds cannot be unpacked.
    #[error(
        "configdrive is base64, but not of whole gzip data: give base64 of a gzip-compressed ISO 9660 or FAT image"
    )]
    Gzip,
    /// What gzip holds is no file system.
    #[error("configdrive holds neither an ISO 9660 nor a FAT file system: operating systems read no other")]
    FileSystem,
    /// More than Ironic takes.
    #[error("configdrive is larger than {} MiB: make it smaller", MAX_BYTES >> 20)]
    TooLarge,
    /// The file system could not be made.
    #[error("the config drive could not be made")]
    Fat(#[source] std::io::Error),
    /// The URL does not lead to one.
    #[error("the config drive {url} is not to be had: {problem}")]
    Source {
        /// Without user, password and query.
        url: String,
        /// What came back.
        problem: String,
    },
    /// The base URL of the controller cannot be extended.
    #[error("files.url_for_agents is no base URL: set one")]
    BaseUrl,
    /// The work ended early.
    #[error("the config drive was not unpacked: the controller is stopping")]
    Stopping,
}

// === impl ConfigDrives ===

impl ConfigDrives {
    /// Without any. Agents reach [`router`] by the same URL as images, and URLs are fetched as those of images are.
    #[must_use]
    pub fn new(images: Images) -> Self {
        let unpacking = Semaphore::new(UNPACKED_AT_ONCE);
        Self(Arc::new(Inner { images, staged: Mutex::default(), unpacking }))
    }

    /// Checks the form of a node's config drive, if it has one: what `node validate` says.
    pub(crate) fn check_form(node: &Node) -> Result<(), ConfigDriveError> {
        of(node).map(Form::of).transpose().map(drop)
    }

    /// Checks all of a config drive, but does not fetch one from a URL. Hands it back.
    pub(crate) async fn check(&self, value: Value) -> Result<Value, ConfigDriveError> {
        let _slot = self.0.unpacking.acquire().await.map_err(|_| ConfigDriveError::Stopping)?;
        let work = tokio::task::spawn_blocking(move || {
            match Form::of(&value)? {
                Form::Url(_) => {}
                Form::Packed(text) => drop(unpack::text(text)?),
                Form::Parts(parts) => drop(fat::image(&parts, None)?),
            }
            Ok(value)
        });
        work.await.unwrap_or(Err(ConfigDriveError::Stopping))
    }

    /// Makes the config drive of a node reachable for its agent. `None`: it has none. `key`: of an earlier offer, after
    /// a restart.
    pub(crate) async fn stage(
        &self,
        node: &Node,
        key: Option<Secret>,
    ) -> Result<Option<Offer>, ConfigDriveError> {
        let Some(value) = of(node).cloned() else { return Ok(None) };
        let key = key.unwrap_or_else(|| Secret::new(hex::encode(rand::random::<[u8; 16]>())));
        let identity = fat::Identity { uuid: node.uuid.to_string(), name: node.name.clone() };
        let image = Bytes::from(self.image(value, identity).await?);
        let digest = Digest::from_bytes(DigestAlgorithm::Sha256, &Sha256::digest(&image));
        let digest = digest.map_err(|error| ConfigDriveError::Form(error.to_string()))?;
        let url = self.url(node.uuid, &key)?;
        self.lock().insert(node.uuid, Staged { key, image });
        Ok(Some(Offer { url, digest, ca_pem: self.0.images.served_ca_pem() }))
    }

    async fn image(&self, value: Value, identity: fat::Identity) -> Result<Vec<u8>, ConfigDriveError> {
        let fetched = match Form::of(&value)? {
            Form::Url(url) => Some(self.fetch(&url).await?),
            Form::Packed(_) | Form::Parts(_) => None,
        };
        let _slot = self.0.unpacking.acquire().await.map_err(|_| ConfigDriveError::Stopping)?;
        let work = tokio::task::spawn_blocking(move || match (fetched, Form::of(&value)?) {
            (Some(bytes), _) => unpack::file(bytes),
            (None, Form::Packed(text)) => unpack::text(text),
            (None, Form::Parts(parts)) => fat::image(&parts, Some(&identity)),
            (None, Form::Url(_)) => Err(ConfigDriveError::Stopping),
        });
        work.await.unwrap_or(Err(ConfigDriveError::Stopping))
    }

    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, ConfigDriveError> {
        let fetch = tokio::time::timeout(FETCH_WITHIN, self.0.images.read(url, unpack::MAX_PACKED_BYTES));
        let late = |_| Err(format!("its source took longer than {} s", FETCH_WITHIN.as_secs()));
        fetch.await.unwrap_or_else(late).map_err(|problem| ConfigDriveError::Source {
            url: crate::image::plain(url),
            problem: format!("{problem}; check configdrive in instance_info"),
        })
    }

    /// How long [`Self::stage`] may take.
    pub(crate) fn stage_timeout() -> Duration {
        FETCH_WITHIN * 2
    }

    /// Whether the agent of that node could fetch one now.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.lock().contains_key(&node)
    }

    /// The key in the URL of an offer.
    pub(crate) fn key_of(url: &Secret) -> Option<Secret> {
        let url = Url::parse(url.reveal()).ok()?;
        url.query_pairs().find(|(name, _)| name == serve::KEY).map(|(_, key)| Secret::new(key))
    }

    /// Takes a node's config drive away.
    pub(crate) fn remove(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    fn find(&self, node: NodeId, key: &Secret) -> Option<Bytes> {
        self.lock().get(&node).filter(|staged| staged.key == *key).map(|staged| staged.image.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Staged>> {
        self.0.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key is in the query, which no log shows.
    fn url(&self, node: NodeId, key: &Secret) -> Result<Secret, ConfigDriveError> {
        let mut url = self.0.images.url_for_agents().clone();
        url.path_segments_mut()
            .map_err(|()| ConfigDriveError::BaseUrl)?
            .pop_if_empty()
            .extend([serve::FOLDER, &node.to_string()]);
        url.query_pairs_mut().clear().append_pair(serve::KEY, key.reveal());
        Ok(Secret::new(url))
    }
}

impl fmt::Debug for ConfigDrives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfigDrives")
    }
}

/// The config drive of a node, as it was given; nothing counts as none, as in Ironic.
pub(crate) fn of(node: &Node) -> Option<&Value> {
    node.instance_info.get(KEY).filter(|value| !is_empty(value))
}

/// Whether a value asks for no config drive.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(parts) => parts.is_empty(),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Refuses what no operating system reads.
fn checked(image: Vec<u8>) -> Result<Vec<u8>, ConfigDriveError> {
    match FileSystem::of(&image) {
        Some(_) => Ok(image),
        None => Err(ConfigDriveError::FileSystem),
    }
}

#[cfg(test)]
pub(crate) mod tests;
