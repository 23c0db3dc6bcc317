//! The embedded certificate authority: made on first start, it signs the controller's server certificates and the
//! agents' client certificates. Its key never leaves this type.

mod keystore;

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use bessemer_proto::{
    identity::{CONTROLLER_SERVER_NAME, node_uri},
    ids::{BootId, NodeId},
};
use chrono::{DateTime, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKey, PublicKeyData as _, SanType,
    SerialNumber,
};
use rustls_pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _,
};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

pub use keystore::KeystoreError;

/// A controller's certificates start this long before they are made: a machine whose clock is years behind must
/// accept them.
const BACKDATE: time::Duration = time::Duration::days(20 * 365);
/// Agents' certificates are only judged by controllers, whose clocks differ less.
const CLOCK_DIFFERENCE: time::Duration = time::Duration::days(1);
const CA_LIFETIME: time::Duration = time::Duration::days(30 * 365);
/// Longest signing request that is read. One for P-256 has about 300 bytes.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The certificate authority.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate chain and its key, made in memory.
pub struct ServerIdentity {
    /// The certificate, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// The public key of a verified signing request: nothing else of the request is used.
pub(super) struct RequestedKey(PublicKey);

/// A certificate for an agent.
pub(super) struct AgentCertificate {
    pub(super) der: Vec<u8>,
    pub(super) not_after: DateTime<Utc>,
}

/// Why the authority cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its files.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// A certificate could not be made.
    #[error("the certificate authority could not make {what}")]
    Issue {
        /// Which certificate.
        what: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// Why a signing request is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum RequestError {
    #[error("the certificate signing request is longer than {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    #[error("the certificate signing request cannot be read or its signature is wrong")]
    Invalid,
    #[error("the certificate signing request has a key that is neither ECDSA P-256, P-384 nor Ed25519")]
    Algorithm,
}

// === impl Authority ===

impl Authority {
    /// Opens the authority kept in `dir`, making it when the directory holds none. Damaged files are an error: a
    /// new authority would lock out every agent that knows the old one.
    pub fn open(dir: &Path) -> Result<Arc<Self>, AuthorityError> {
        let pem = keystore::load_or_create(dir, make_authority)?;
        let damaged = |problem| KeystoreError::Damaged { path: keystore::path(dir), problem };
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.reveal().as_bytes())
            .map_err(|_| damaged("it holds no private key"))?;
        let key = KeyPair::try_from(&key).map_err(|_| damaged("its private key cannot be used"))?;
        let certificate = CertificateDer::from_pem_slice(pem.reveal().as_bytes())
            .map_err(|_| damaged("it holds no certificate"))?;
        check_pair(&certificate, &key).map_err(damaged)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|_| damaged("its certificate cannot be used"))?;
        keystore::publish_certificate(dir, &certificate)?;
        Ok(Arc::new(Self { certificate, issuer }))
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A server certificate with a fresh key for [`CONTROLLER_SERVER_NAME`] and `hosts` (names and addresses).
    pub fn issue_server(&self, hosts: &[String]) -> Result<ServerIdentity, AuthorityError> {
        let failed = |source| AuthorityError::Issue { what: "a server certificate", source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = leaf("Bessemer controller", ExtendedKeyUsagePurpose::ServerAuth);
        params.not_before = OffsetDateTime::now_utc() - BACKDATE;
        params.not_after = OffsetDateTime::now_utc() + CA_LIFETIME;
        for host in std::iter::once(CONTROLLER_SERVER_NAME).chain(hosts.iter().map(String::as_str)) {
            params.subject_alt_names.push(server_name(host).map_err(failed)?);
        }
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(ServerIdentity {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }

    /// A client certificate that names one boot of one node.
    pub(super) fn issue_agent(
        &self,
        node: NodeId,
        boot: BootId,
        key: &RequestedKey,
        lifetime: Duration,
    ) -> Result<AgentCertificate, AuthorityError> {
        let failed = |source| AuthorityError::Issue { what: "an agent's certificate", source };
        let not_after = Utc::now() + lifetime;
        let mut params = leaf(&boot.to_string(), ExtendedKeyUsagePurpose::ClientAuth);
        params.not_before = OffsetDateTime::now_utc() - CLOCK_DIFFERENCE;
        params.not_after = OffsetDateTime::from_unix_timestamp(not_after.timestamp())
            .map_err(|_| failed(rcgen::Error::Time))?;
        let uri = node_uri(node).try_into().map_err(failed)?;
        params.subject_alt_names.push(SanType::URI(uri));
        let certificate = params.signed_by(&key.0, &self.issuer).map_err(failed)?;
        Ok(AgentCertificate { der: certificate.der().to_vec(), not_after })
    }
}

fn server_name(host: &str) -> Result<SanType, rcgen::Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) => Ok(SanType::DnsName(host.try_into()?)),
    }
}

fn leaf(common_name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name);
    params.serial_number = Some(random_serial());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn random_serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] &= 0x7f;
    SerialNumber::from_slice(&bytes)
}

/// A fresh key and its self-signed certificate, as PEM.
fn make_authority() -> Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Bessemer certificate authority");
    params.serial_number = Some(random_serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::now_utc() - BACKDATE;
    params.not_after = OffsetDateTime::now_utc() + CA_LIFETIME;
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn check_pair(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(), &'static str> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| "its certificate cannot be parsed")?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err("its private key does not belong to its certificate");
    }
    if !parsed.is_ca() {
        return Err("its certificate is not one of a certificate authority");
    }
    if !parsed.validity().is_valid() {
        return Err("its certificate is not valid at this time: check the clock");
    }
    Ok(())
}

// === impl RequestedKey ===

impl RequestedKey {
    /// Reads a PKCS #10 request (DER) and verifies that its sender holds the key.
    pub(super) fn from_request(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLong);
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(|_| RequestError::Invalid)?;
        let algorithm = request.public_key.algorithm();
        let accepted = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
        if !accepted.contains(&algorithm) {
            return Err(RequestError::Algorithm);
        }
        Ok(Self(request.public_key))
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(super) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0.subject_public_key_info()).to_vec()
    }
}

#[cfg(test)]
mod tests;
