//! What a machine boots: the deploy ISO with its parameters region patched as it is served, and the FAT
//! parameters medium. Serves them over HTTP(S) with ranges. Knows no provision state.

mod floppy;
mod iso;
mod serve;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bessemer_proto::{
    boot_parameters::{BootParameters, region::RegionError},
    ids::NodeId,
};
use bytes::Bytes;
use serde::Deserialize;
use url::Url;

pub use serve::router;

use self::iso::Iso;

const ISO_NAME: &str = "deploy.iso";
const FLOPPY_NAME: &str = "parameters.img";

/// `[boot]`: what machines boot.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The deploy ISO that `bessemer-ramdisk build` made; one file for the whole fleet. A relative path starts at
    /// `state_dir`. Default `deploy.iso`.
    pub deploy_iso: PathBuf,
}

/// The media of one boot, as URLs the BMC can fetch.
#[derive(Clone, Debug)]
pub struct BootMedia {
    /// The deploy ISO, with the parameters in its region (unless they are on the floppy).
    pub iso: Url,
    /// The parameters medium, when asked for.
    pub floppy: Option<Url>,
}

/// How the parameters travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParametersBy {
    /// In the ISO's region.
    IsoRegion,
    /// On a FAT medium in a second virtual drive.
    Floppy,
}

/// Media of boots that are under way; cheap to clone. In memory: they hold join tokens.
#[derive(Clone)]
pub struct MediaShelf(Arc<Inner>);

struct Inner {
    deploy_iso: PathBuf,
    base: Url,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    by_key: HashMap<String, Arc<Media>>,
    key_of: HashMap<NodeId, String>,
}

/// The files of one boot.
struct Media {
    node: NodeId,
    iso: Iso,
    floppy: Option<Bytes>,
    fetched: AtomicBool,
    /// Bytes that were asked for.
    read: AtomicU64,
}

/// Why media cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The deploy ISO is not there.
    #[error("the deploy ISO {path} cannot be read: build it with bessemer-ramdisk and set boot.deploy_iso")]
    Iso {
        /// Where it should be.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not one of ours.
    #[error(
        "the deploy ISO {path} cannot carry boot parameters: make one with bessemer-ramdisk, and set boot.deploy_iso"
    )]
    Region {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: RegionError,
    },
    /// The parameters are too many.
    #[error("the boot parameters do not fit into the deploy ISO: shorten them")]
    Parameters(#[source] RegionError),
    /// The FAT medium could not be made.
    #[error("the parameters medium could not be made")]
    Fat(#[source] std::io::Error),
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self { deploy_iso: PathBuf::from(ISO_NAME) }
    }
}

// === impl MediaShelf ===

impl MediaShelf {
    /// An empty shelf. `url_for_bmcs`: what BMCs put before `/boot/…` to reach [`router`].
    #[must_use]
    pub fn new(config: Config, url_for_bmcs: Url) -> Self {
        Self(Arc::new(Inner { deploy_iso: config.deploy_iso, base: url_for_bmcs, shelf: Mutex::default() }))
    }

    /// Whether the deploy ISO is there and can carry parameters.
    pub async fn check(&self) -> Result<(), BootError> {
        Iso::open(&self.0.deploy_iso, None).await.map(drop)
    }

    /// Makes the media of a node's boot available under fresh unguessable URLs. Replaces the node's older ones.
    pub async fn put(
        &self,
        node: NodeId,
        parameters: &BootParameters,
        by: ParametersBy,
    ) -> Result<BootMedia, BootError> {
        let text = parameters.to_text();
        let (in_region, floppy) = match by {
            ParametersBy::IsoRegion => (Some(text.as_str()), None),
            ParametersBy::Floppy => (None, Some(floppy::image(&text).map_err(BootError::Fat)?)),
        };
        let iso = Iso::open(&self.0.deploy_iso, in_region).await?;
        let key = hex::encode(rand::random::<[u8; 16]>());
        let media = BootMedia {
            iso: self.url(&key, ISO_NAME),
            floppy: floppy.as_ref().map(|_| self.url(&key, FLOPPY_NAME)),
        };
        self.lock()
            .put(key, Media { node, iso, floppy, fetched: AtomicBool::new(false), read: AtomicU64::new(0) });
        Ok(media)
    }

    /// Takes a node's media away.
    pub fn remove(&self, node: NodeId) {
        self.lock().remove(node);
    }

    /// How many bytes of a node's media were asked for; `None`: it has none.
    #[must_use]
    pub fn bytes_read(&self, node: NodeId) -> Option<u64> {
        let shelf = self.lock();
        Some(shelf.by_key.get(shelf.key_of.get(&node)?)?.read.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &str) -> Option<Arc<Media>> {
        self.lock().by_key.get(key).cloned()
    }

    fn url(&self, key: &str, name: &str) -> Url {
        let mut url = self.0.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["boot", key, name]);
        }
        url
    }
}

// === impl Shelf, Media ===

impl Shelf {
    fn put(&mut self, key: String, media: Media) {
        self.remove(media.node);
        self.key_of.insert(media.node, key.clone());
        self.by_key.insert(key, Arc::new(media));
    }

    fn remove(&mut self, node: NodeId) {
        if let Some(key) = self.key_of.remove(&node) {
            self.by_key.remove(&key);
        }
    }
}

impl Media {
    /// True the first time.
    fn first_fetch(&self) -> bool {
        !self.fetched.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
