//! Files of the authority: `authority.pem` (key and certificate in one file, so that there is no half of it) and
//! `ca.crt`, a copy of the certificate for people.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bessemer_proto::secret::Secret;
use rustls_pki_types::CertificateDer;

const FILE: &str = "authority.pem";
const CERTIFICATE_FILE: &str = "ca.crt";
const MAX_BYTES: u64 = 64 * 1024;

/// Why the authority's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// Reading or writing failed.
    #[error("the certificate authority's {path} cannot be {action}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// `read`, `written`.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content is not what it must be.
    #[error(
        "the certificate authority's {path} is damaged: {problem}; restore it from a backup (a new authority \
         would lock out running agents; to accept that, move the file away)"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// Others can read the key.
    #[error(
        "the certificate authority's {path} can be read by others: chmod 600 it, or make a new authority"
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// A first authority could not be made.
    #[error("a certificate authority could not be made")]
    Make(#[source] rcgen::Error),
}

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// The PEM file's text; `make` makes it when the directory has none.
pub(super) fn load_or_create(
    dir: &Path,
    make: impl FnOnce() -> Result<String, rcgen::Error>,
) -> Result<Secret, KeystoreError> {
    let path = path(dir);
    if !exists(&path)? {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| failed(dir, "made", e))?;
        create(dir, &path, &Secret::new(make().map_err(KeystoreError::Make)?))?;
    }
    load(&path)
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> KeystoreError {
    KeystoreError::Io { path: path.to_owned(), action, source }
}

fn exists(path: &Path) -> Result<bool, KeystoreError> {
    path.try_exists().map_err(|e| failed(path, "read", e))
}

fn load(path: &Path) -> Result<Secret, KeystoreError> {
    let read = |e| failed(path, "read", e);
    let file = fs::File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.mode() & 0o077 != 0 {
        return Err(KeystoreError::Exposed { path: path.to_owned() });
    }
    let mut text = String::new();
    let damaged = |problem| KeystoreError::Damaged { path: path.to_owned(), problem };
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => damaged("it is not text"),
        _ => read(e),
    })?;
    if text.trim().is_empty() {
        return Err(damaged("it is empty"));
    }
    Ok(Secret::new(text))
}

/// Makes the file appear complete or not at all, and never over an existing one.
fn create(dir: &Path, path: &Path, pem: &Secret) -> Result<(), KeystoreError> {
    let draft = write_draft(dir, FILE, 0o600, pem.reveal().as_bytes())?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft).ok();
    match linked {
        // Another controller was faster: its authority counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(path, "written", error)),
        Ok(()) => sync_directory(dir),
    }
}

/// Keeps a copy of the certificate where people find it.
pub(super) fn publish_certificate(dir: &Path, certificate: &CertificateDer<'_>) -> Result<(), KeystoreError> {
    let path = dir.join(CERTIFICATE_FILE);
    let pem = certificate_pem(certificate);
    if fs::read(&path).is_ok_and(|old| old == pem.as_bytes()) {
        return Ok(());
    }
    let draft = write_draft(dir, CERTIFICATE_FILE, 0o644, pem.as_bytes())?;
    fs::rename(&draft, &path).map_err(|e| failed(&path, "written", e))
}

fn certificate_pem(der: &CertificateDer<'_>) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<_> = encoded.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn write_draft(dir: &Path, name: &str, mode: u32, bytes: &[u8]) -> Result<PathBuf, KeystoreError> {
    let path = dir.join(format!(".{name}.{:016x}", rand::random::<u64>()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| failed(&path, "written", e))?;
    Ok(path)
}

fn sync_directory(dir: &Path) -> Result<(), KeystoreError> {
    fs::File::open(dir).and_then(|d| d.sync_all()).map_err(|e| failed(dir, "written", e))
}
