//! Certificates of test servers.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What a server shows, and what a client must trust for it.
pub(crate) struct ServerIdentity {
    pub(crate) config: ServerConfig,
    pub(crate) ca_pem: String,
}

impl ServerIdentity {
    /// A certificate of its own CA for 127.0.0.1.
    pub(crate) fn of_own_ca() -> Self {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap();
        Self { config: config(certificate.der().clone(), &key), ca_pem }
    }

    /// Self-signed and marked as a CA, as `openssl req -x509` makes it. `years`: first and last of its life.
    pub(crate) fn self_signed(name: &str, years: (i32, i32)) -> Self {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(years.1, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { config: config(certificate.der().clone(), &key), ca_pem: certificate.pem() }
    }

    /// A server's own certificate that nobody else signed and that may sign nobody's, and a stranger's for 127.0.0.1
    /// that it signed nevertheless.
    pub(crate) fn leaf_and_forgery() -> (Self, Self) {
        let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        leaf.is_ca = IsCa::ExplicitNoCa;
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.self_signed(&key).unwrap();
        let honest = Self { config: config(certificate.der().clone(), &key), ca_pem: certificate.pem() };
        let issuer = Issuer::new(leaf, key);
        let stranger = KeyPair::generate().unwrap();
        let forged = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let forged = forged.signed_by(&stranger, &issuer).unwrap();
        let forgery = Self { config: config(forged.der().clone(), &stranger), ca_pem: honest.ca_pem.clone() };
        (honest, forgery)
    }

    /// Speaks only these protocols.
    pub(crate) fn speaking(mut self, protocol: &[u8]) -> Self {
        self.config.alpn_protocols = vec![protocol.to_vec()];
        self
    }
}

fn config(certificate: CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap()
}
