//! TLS of the agent: 1.3 only, the controller is whoever a CA of the boot parameters vouches for under the one
//! name that all controllers have.

use std::{error::Error, io, sync::Arc};

use bessemer_proto::identity::CONTROLLER_SERVER_NAME;
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};

use super::clock::Clock;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A CA certificate of the boot parameters is unusable.
    #[error("certificate {0} of boot parameter bessemer-ca cannot be used: make the medium anew")]
    Ca(usize, #[source] rustls::Error),
    /// The client certificate and key that enrolment gave do not work.
    #[error("the certificate that the controller issued cannot be used")]
    Client(#[source] rustls::Error),
    /// The crypto library refused its own defaults.
    #[error("TLS 1.3 is not available")]
    Protocol(#[source] rustls::Error),
}

/// The certificate that says which node this is, and its key.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key, PKCS #8 DER.
    pub key: Arc<[u8]>,
}

/// A client configuration; without a certificate only enrolment is possible.
pub fn client_config(
    ca_certificates: &[Vec<u8>],
    client: Option<&ClientCertificate>,
    clock: Arc<Clock>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, der) in ca_certificates.iter().enumerate() {
        roots.add(CertificateDer::from_slice(der)).map_err(|source| TlsError::Ca(index + 1, source))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Protocol)?
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let chain = vec![CertificateDer::from(client.certificate.clone())];
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(client.key.to_vec()));
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Client)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The name asked for, whatever address is dialled.
pub(super) fn server_name() -> ServerName<'static> {
    // Proven by a test: the constant is a DNS name.
    ServerName::try_from(CONTROLLER_SERVER_NAME)
        .unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
}

/// True when a handshake failed because a certificate was judged too old or too new.
pub(super) fn is_validity_error(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| {
        let inner: &(dyn Error + 'static) = inner;
        inner.downcast_ref::<rustls::Error>()
    });
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        tls,
        Some(rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        ))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_name_is_a_dns_name() {
        assert!(matches!(server_name(), ServerName::DnsName(_)));
    }

    #[test]
    fn a_broken_ca_is_named_by_its_number() {
        let error = client_config(&[vec![1, 2, 3]], None, Clock::new()).unwrap_err();
        assert!(matches!(error, TlsError::Ca(1, _)));
    }
}
