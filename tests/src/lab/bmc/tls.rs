//! HTTPS with a self-signed certificate, as BMCs have it.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::lab::{Certificate, LabError};

/// A certificate and what serves with it.
pub(super) struct Tls {
    /// In PEM.
    pub(super) certificate: String,
    pub(super) acceptor: TlsAcceptor,
}

/// Makes a new key and certificate for the loopback addresses.
pub(super) fn self_signed(kind: Certificate) -> Result<Tls, LabError> {
    let wrong = |error: &dyn std::fmt::Display| LabError::Tls(error.to_string());
    let names = match kind {
        // Old BMCs name themselves in the subject only.
        Certificate::Old => Vec::new(),
        Certificate::Plain | Certificate::Expired => vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
    };
    let mut parameters = CertificateParams::new(names).map_err(|error| wrong(&error))?;
    match kind {
        Certificate::Plain => {}
        Certificate::Old => parameters.distinguished_name.push(DnType::CommonName, "ILO123456"),
        Certificate::Expired => {
            parameters.not_before = rcgen::date_time_ymd(2015, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
    }
    let pair = KeyPair::generate().map_err(|error| wrong(&error))?;
    let certificate = parameters.self_signed(&pair).map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
        })
        .map_err(|error| wrong(&error))?;
    Ok(Tls { certificate: certificate.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
}
