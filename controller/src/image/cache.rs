//! Images kept by the controller, named by their digest. A file with such a name is whole and checked.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    step::DigestSource,
};
use sha2::{Digest as _, Sha256, Sha512};
use url::Url;
use uuid::Uuid;

use super::{
    Config, ImageError, Inner,
    check::{Source, Wanted, is_allowed},
    content::Content,
    fetch::plain,
};

/// An agent may still be reading what was staged this short ago.
const KEEP_AT_LEAST: Duration = Duration::from_secs(3 * 3600);
/// Extension of an image's manifest beside it. Names of images have none.
const MANIFEST: &str = "manifest";
const COPY_BYTES: usize = 1024 * 1024;

/// The folder, and who fetches what at the moment.
pub(super) struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    fetching: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Writes a file and hashes what it writes.
pub(super) struct Sink {
    file: File,
    hasher: Hasher,
}

/// Either digest.
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

// === impl Cache ===

impl Cache {
    pub(super) fn open(folder: PathBuf, config: &Config) -> Result<Self, ImageError> {
        let tmp = folder.join("tmp");
        let setup = |problem| {
            let path = tmp.clone();
            move |source| ImageError::Setup { problem, path, source }
        };
        // What a killed controller was in the middle of.
        match fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(setup("could not clear the folder")(error));
            }
            _ => {}
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&tmp)
            .map_err(setup("could not make the folder"))?;
        let max_bytes = u64::from(config.cache_size_gib) << 30;
        Ok(Self { folder, max_bytes, fetching: Mutex::default() })
    }

    /// Where the image of that digest is or would be.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.folder.join("tmp").join(Uuid::new_v4().to_string())
    }

    pub(super) fn lock_for(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(fetching.entry(key.to_owned()).or_default())
    }

    /// True when the image is there; it then counts as used now.
    fn touch(&self, digest: &Digest) -> bool {
        let Ok(file) = OpenOptions::new().write(true).open(self.path(&name_of(digest))) else { return false };
        file.set_modified(SystemTime::now()).is_ok()
    }

    /// Gives a checked file its name.
    fn take(&self, temporary: &Path, digest: &Digest) -> io::Result<()> {
        fs::rename(temporary, self.path(&name_of(digest)))?;
        File::open(&self.folder)?.sync_all()?;
        self.evict()
    }

    /// Removes the longest unused images until the rest fits.
    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            // Somebody else may be clearing up, too.
            let Some(found) = unless_gone(fs::metadata(&path))? else { continue };
            if path.extension().is_some_and(|extension| extension == MANIFEST) {
                // Goes with its image.
                if !path.with_extension("").exists() {
                    unless_gone(fs::remove_file(&path))?;
                }
            } else if found.is_file() {
                let manifest =
                    fs::metadata(path.with_extension(MANIFEST)).map_or(0, |manifest| manifest.len());
                files.push((found.modified()?, found.len() + manifest, path));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (used, bytes, path) in files {
            if total <= self.max_bytes || used.elapsed().unwrap_or_default() < KEEP_AT_LEAST {
                break;
            }
            unless_gone(fs::remove_file(&path))?;
            unless_gone(fs::remove_file(path.with_extension(MANIFEST)))?;
            tracing::info!(file = %path.display(), bytes, "image removed from the cache");
            total -= bytes;
        }
        Ok(())
    }
}

/// Nothing for a file that is not there any more.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// The name of a kept image: `sha256-…`.
pub(super) fn name_of(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.hex())
}

/// The name of its manifest, once it has one.
pub(super) fn manifest_name_of(digest: &Digest) -> String {
    format!("{}.{MANIFEST}", name_of(digest))
}

// === impl Inner ===

impl Inner {
    /// Makes sure that the image is kept; says its digest. Several at once for one image are one download.
    pub(super) async fn keep(&self, wanted: &Wanted) -> Result<Digest, ImageError> {
        let declared = match (&wanted.digest, &wanted.source) {
            (None, _) => None,
            (Some(DigestSource::Value(digest)), _) => Some(digest.clone()),
            (Some(DigestSource::Url { url, .. }), source) => {
                Some(self.fetcher.digest_of(url, &source.url()?, wanted.authorization.as_ref()).await?)
            }
        };
        let key = declared.as_ref().map_or_else(|| format!("{:?}", wanted.source), Digest::to_string);
        let lock = self.cache.lock_for(&key);
        let _fetching = lock.lock().await;
        if let Some(digest) = declared.as_ref().filter(|digest| self.cache.touch(digest)) {
            return Ok(digest.clone());
        }
        let temporary = self.cache.temporary();
        let kept = self.fetch_checked(wanted, declared.as_ref(), &temporary).await;
        if kept.is_err() {
            tokio::fs::remove_file(&temporary).await.ok();
        }
        kept
    }

    async fn fetch_checked(
        &self,
        wanted: &Wanted,
        declared: Option<&Digest>,
        temporary: &Path,
    ) -> Result<Digest, ImageError> {
        let url = wanted.source.url()?;
        let algorithm = declared.map_or(DigestAlgorithm::Sha256, Digest::algorithm);
        tracing::info!(url = plain(&url), "fetching an image");
        let got = match &wanted.source {
            Source::Remote { url, .. } => {
                self.fetcher.fetch(url, wanted.authorization.as_ref(), algorithm, temporary).await?
            }
            Source::File(path) => self.copy(path, algorithm, temporary).await?,
        };
        if let Some(expected) = declared.filter(|expected| **expected != got) {
            return Err(ImageError::Digest {
                url: plain(&url),
                got: got.to_string(),
                expected: expected.to_string(),
            });
        }
        self.cache.take(temporary, &got).map_err(|source| ImageError::Cache {
            url: plain(&url),
            path: self.cache.folder.display().to_string(),
            source,
        })?;
        tracing::info!(url = plain(&url), digest = %got, "image kept");
        Ok(got)
    }

    async fn copy(&self, path: &Path, algorithm: DigestAlgorithm, into: &Path) -> Result<Digest, ImageError> {
        let allowed = self.config.file_url_allowed_paths.clone();
        let most = u64::from(self.config.max_size_gib) << 30;
        if tokio::fs::metadata(path).await.is_ok_and(|file| file.len() > most) {
            return Err(ImageError::Source {
                url: format!("file://{}", path.display()),
                problem: format!(
                    "it has more than the {} GiB of images.max_size_gib",
                    self.config.max_size_gib
                ),
            });
        }
        let (from, to) = (path.to_owned(), into.to_owned());
        let copied = tokio::task::spawn_blocking(move || copy_file(&from, &to, &allowed, algorithm)).await;
        let source = match copied {
            Ok(Ok(digest)) => return Ok(digest),
            Ok(Err(Copy::Refused)) => {
                return Err(ImageError::InstanceInfo(format!(
                    "image_source file://{} may not be read: put the image into one of \
                     images.file_url_allowed_paths",
                    path.display()
                )));
            }
            Ok(Err(Copy::Read(error))) => {
                return Err(ImageError::Source {
                    url: format!("file://{}", path.display()),
                    problem: format!("it cannot be read ({error}): check image_source"),
                });
            }
            Ok(Err(Copy::Write(error))) => error,
            Err(panic) => io::Error::other(panic),
        };
        Err(ImageError::Cache {
            url: format!("file://{}", path.display()),
            path: into.display().to_string(),
            source,
        })
    }

    /// What a kept image is.
    pub(super) async fn content_of(&self, digest: &Digest) -> Result<Content, ImageError> {
        let path = self.cache.path(&name_of(digest));
        let read = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || Content::of(&File::open(path)?)).await
        };
        read.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|source| ImageError::Cache {
            url: digest.to_string(),
            path: path.display().to_string(),
            source,
        })
    }

    /// Where agents find a kept file.
    pub(super) fn url_of_name(&self, name: &str) -> Result<Url, ImageError> {
        let base = self.url_for_agents.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/images/{name}")).map_err(|error| ImageError::Source {
            url: base.to_owned(),
            problem: format!("files.url_for_agents is no base URL ({error})"),
        })
    }
}

impl Source {
    fn url(&self) -> Result<Url, ImageError> {
        match self {
            Self::Remote { url, .. } => Ok(url.clone()),
            Self::File(path) => Url::from_file_path(path)
                .map_err(|()| ImageError::InstanceInfo("image_source is not an absolute path".to_owned())),
        }
    }
}

enum Copy {
    Refused,
    Read(io::Error),
    Write(io::Error),
}

fn copy_file(
    from: &Path,
    to: &Path,
    allowed: &[PathBuf],
    algorithm: DigestAlgorithm,
) -> Result<Digest, Copy> {
    // Links are followed first, so that none leads out of the allowed folders.
    let real = fs::canonicalize(from).map_err(|error| match is_allowed(from, allowed) {
        true => Copy::Read(error),
        false => Copy::Refused,
    })?;
    let allowed: Vec<_> = allowed.iter().filter_map(|folder| fs::canonicalize(folder).ok()).collect();
    if !is_allowed(&real, &allowed) || !fs::metadata(&real).map_err(Copy::Read)?.is_file() {
        return Err(Copy::Refused);
    }
    let mut file = File::open(&real).map_err(Copy::Read)?;
    let mut sink = Sink::create(to, algorithm).map_err(Copy::Write)?;
    let mut piece = vec![0; COPY_BYTES];
    loop {
        let length = file.read(&mut piece).map_err(Copy::Read)?;
        if length == 0 {
            return sink.finish().map_err(Copy::Write);
        }
        sink.write(piece.get(..length).unwrap_or_default()).map_err(Copy::Write)?;
    }
}

// === impl Sink ===

impl Sink {
    pub(super) fn create(path: &Path, algorithm: DigestAlgorithm) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { file, hasher: Hasher::new(algorithm) })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.hasher.update(piece);
        Ok(())
    }

    /// On disk, with this digest.
    pub(super) fn finish(self) -> io::Result<Digest> {
        self.file.sync_all()?;
        self.hasher.finish()
    }
}

// === impl Hasher ===

impl Hasher {
    pub(super) fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
            DigestAlgorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(piece),
            Self::Sha512(hasher) => hasher.update(piece),
        }
    }

    pub(super) fn finish(self) -> io::Result<Digest> {
        let digest = match self {
            Self::Sha256(hasher) => Digest::from_bytes(DigestAlgorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => Digest::from_bytes(DigestAlgorithm::Sha512, &hasher.finalize()),
        };
        digest.map_err(io::Error::other)
    }
}
