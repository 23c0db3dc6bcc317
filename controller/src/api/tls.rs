//! The certificate that the API shows, read again when its files change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// How often the files are looked at for changes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why the API cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read as PEM.
    #[error("{key}: {path} holds no {what} that can be read (PEM)", path = path.display())]
    Pem {
        /// The configuration key.
        key: &'static str,
        /// What was looked for.
        what: &'static str,
        /// In which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The file is not there.
    #[error("{key}: {path} cannot be read", path = path.display())]
    Read {
        /// The configuration key.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("api.tls_certificate and api.tls_key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

/// A certificate and its key, in files.
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    looked: Instant,
    stamps: Stamps,
    config: Arc<ServerConfig>,
}

type Stamps = [(SystemTime, u64); 2];

// === impl Certificate ===

impl Certificate {
    /// Reads both files.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let (stamps, config) = read(&certificate, &key)?;
        let loaded = Mutex::new(Loaded { looked: Instant::now(), stamps, config });
        Ok(Self { certificate, key, loaded })
    }

    /// What the files say now. While they cannot be used, what they said before.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.looked.elapsed() >= LOOK_EVERY {
            self.look(&mut loaded);
        }
        Arc::clone(&loaded.config)
    }

    fn look(&self, loaded: &mut Loaded) {
        loaded.looked = Instant::now();
        if stamps(&self.certificate, &self.key).is_ok_and(|stamps| stamps == loaded.stamps) {
            return;
        }
        match read(&self.certificate, &self.key) {
            Ok((stamps, config)) => {
                tracing::info!(certificate = %self.certificate.display(), "certificate of the API read again");
                (loaded.stamps, loaded.config) = (stamps, config);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "the changed certificate of the API cannot be used: the old one stays"
                );
            }
        }
    }

    #[cfg(test)]
    pub(super) fn look_now(&self) {
        self.look(&mut self.loaded.lock().unwrap());
    }
}

fn read(certificate: &Path, key: &Path) -> Result<(Stamps, Arc<ServerConfig>), TlsError> {
    let stamps = stamps(certificate, key)?;
    let pem = |key: &'static str, what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { key, what, path, source }
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(|chain| chain.collect());
    let chain = chain.map_err(pem("api.tls_certificate", "certificate", certificate))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(pem("api.tls_key", "private key", key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((stamps, Arc::new(config)))
}

fn stamps(certificate: &Path, key: &Path) -> Result<Stamps, TlsError> {
    let stamp = |key: &'static str, path: &Path| {
        let stamp = fs::metadata(path).and_then(|metadata| Ok((metadata.modified()?, metadata.len())));
        stamp.map_err(|source| TlsError::Read { key, path: path.to_owned(), source })
    };
    Ok([stamp("api.tls_certificate", certificate)?, stamp("api.tls_key", key)?])
}
