//! Manifests of the images in the cache: made once each, beside the image.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    manifest::{MAX_BYTES, Manifest},
    step::ManifestSource,
};
use sha2::{Digest as _, Sha256};

use super::{MakeError, Watch, make};
use crate::image::{
    Inner,
    cache::{manifest_name_of, name_of},
};

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Make(#[from] MakeError),
    #[error("{path} now hashes to {got}: remove it", path = path.display())]
    Changed { got: Digest, path: PathBuf },
    #[error("could not keep {path}", path = path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the thread that made it died")]
    Thread(#[from] tokio::task::JoinError),
}

/// The files of a manifest in the cache.
struct Files {
    image: PathBuf,
    manifest: PathBuf,
    temporary: PathBuf,
}

/// Stops the work when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    /// Where the manifest of a kept raw image is. A deploy works without one: a failure is only logged.
    pub(in crate::image) async fn manifest_of(&self, image: &Digest) -> Option<ManifestSource> {
        match self.keep_manifest(image).await {
            Ok(digest) => {
                let url = self.url_of_name(&manifest_name_of(image)).ok()?;
                Some(ManifestSource { url, digest: Some(digest) })
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!(%image, "no manifest: {error:#}; agents will fetch the whole image");
                None
            }
        }
    }

    /// The digest of the manifest. Several at once for one image make it once.
    async fn keep_manifest(&self, image: &Digest) -> Result<Digest, KeepError> {
        let lock = self.cache.lock_for(&manifest_name_of(image));
        let _making = lock.lock().await;
        let files = Files {
            image: self.cache.path(&name_of(image)),
            manifest: self.cache.path(&manifest_name_of(image)),
            temporary: self.cache.temporary(),
        };
        let stop = StopOnDrop(Arc::default());
        let (image, stopped) = (image.clone(), Arc::clone(&stop.0));
        tokio::task::spawn_blocking(move || files.read_or_make(&image, &stopped)).await?
    }
}

impl Files {
    fn read_or_make(&self, image: &Digest, stop: &AtomicBool) -> Result<Digest, KeepError> {
        if let Some(digest) = self.read(image) {
            return Ok(digest);
        }
        tracing::info!(%image, "making the manifest");
        let made = make(&self.image, image.algorithm(), Watch { progress: &|_| {}, stop })?;
        // The manifest is to prove the image: it must be of the bytes that were checked, not of what became of them.
        if let Some(got) = made.image_digest.as_ref().filter(|got| *got != image) {
            return Err(KeepError::Changed { got: got.clone(), path: self.image.clone() });
        }
        let text = made.to_json();
        let unkept = |source| KeepError::Write { path: self.manifest.clone(), source };
        self.write(text.as_bytes()).map_err(|error| {
            // What could not be written may not be there at all.
            fs::remove_file(&self.temporary).ok();
            unkept(error)
        })?;
        tracing::info!(%image, ranges = made.ranges.len(), bytes = text.len(), "manifest kept");
        sha256(text.as_bytes()).map_err(unkept)
    }

    /// What an earlier deploy made.
    fn read(&self, image: &Digest) -> Option<Digest> {
        let length = fs::metadata(&self.manifest).ok()?.len();
        let bytes = (length <= MAX_BYTES as u64).then(|| fs::read(&self.manifest).ok())??;
        let manifest = Manifest::parse(&bytes).ok()?;
        if manifest.image_digest.as_ref() == Some(image) { sha256(&bytes).ok() } else { None }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.manifest)?;
        let folder = self.manifest.parent().unwrap_or(Path::new("/"));
        fs::File::open(folder)?.sync_all()
    }
}

fn sha256(bytes: &[u8]) -> io::Result<Digest> {
    Digest::from_bytes(DigestAlgorithm::Sha256, &Sha256::digest(bytes)).map_err(io::Error::other)
}
