//! Whom an image server must be signed by: the public authorities, or the given certificates and nobody else.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use x509_parser::x509::X509Version;

use super::FetchError;

/// TLS 1.2 and 1.3: image servers are not ours.
pub(super) fn config(ca_pem: Option<&str>) -> Result<ClientConfig, FetchError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(FetchError::Certificate)?;
    let mut config = match ca_pem {
        None => {
            let mut roots = RootCertStore::empty();
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Some(pem) => {
            let verifier = Given::new(pem, provider)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
    };
    // One stream a connection is what servers are fastest at, so HTTP/1.1 comes first.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    Ok(config)
}

/// Certificates that somebody gave: authorities, or a server's own (a pin, as curl takes it).
#[derive(Debug)]
struct Given {
    /// Those that may sign others.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// For the given ones themselves.
    pins: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl Given {
    fn new(pem: &str, provider: Arc<rustls::crypto::CryptoProvider>) -> Result<Self, FetchError> {
        let (mut authorities, mut pins) = (RootCertStore::empty(), RootCertStore::empty());
        let mut given = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| FetchError::Ca(Some(error)))?;
            pins.add(certificate.clone()).map_err(FetchError::Certificate)?;
            // webpki takes whatever is a root for an authority, a server's own certificate too.
            if may_sign(&certificate) {
                authorities.add(certificate.clone()).map_err(FetchError::Certificate)?;
            }
            given.push(certificate);
        }
        if given.is_empty() {
            return Err(FetchError::Ca(None));
        }
        let verifier = |roots: RootCertStore| {
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            builder.build().map_err(|_| FetchError::Ca(None))
        };
        let authorities = (!authorities.is_empty()).then(|| verifier(authorities)).transpose()?;
        Ok(Self { authorities, pins: verifier(pins)?, given })
    }
}

/// Whether a certificate is an authority's (RFC 5280, 4.2.1.9). Those of version 1 cannot say.
fn may_sign(certificate: &CertificateDer<'_>) -> bool {
    x509_parser::parse_x509_certificate(certificate)
        .is_ok_and(|(_, parsed)| parsed.is_ca() || parsed.version() == X509Version::V1)
}

impl ServerCertVerifier for Given {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        if !self.given.iter().any(|known| known == end_entity) {
            let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
            let authorities = self.authorities.as_ref().ok_or(unknown)?;
            return authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        }
        // Nobody else's certificate has a say in it.
        let refused = match self.pins.verify_server_cert(end_entity, &[], name, ocsp, now) {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        // A self-signed certificate is usually marked as an authority, which webpki takes from no server. Its dates
        // are judged before that, its name is judged here.
        let is_dated = matches!(
            refused,
            Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
            )
        );
        if is_dated {
            return Err(refused);
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.pins.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.pins.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.pins.supported_verify_schemes()
    }
}
