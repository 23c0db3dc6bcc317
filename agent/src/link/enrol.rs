//! From a join token to a certificate, and from one certificate to the next.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bessemer_proto::{
    boot_parameters::BootParameters,
    identity::{IdentityError, node_of_certificate},
    v1::{EnrollRequest, RenewRequest},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{AGENT_VERSION, Client, LinkError, call, clock::Clock, tls::ClientCertificate};

/// Shortest life of a certificate that is taken seriously, so that renewal cannot become a busy loop.
const SHORTEST_LIFE: Duration = Duration::from_secs(6);

/// Why the controller's certificate is refused.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It names another node.
    #[error("the controller issued a certificate for node {got}, the boot medium is for node {expected}")]
    OtherNode {
        /// The node of the boot parameters.
        expected: bessemer_proto::ids::NodeId,
        /// The node of the certificate.
        got: bessemer_proto::ids::NodeId,
    },
    /// It names no node.
    #[error("the controller issued a certificate that cannot be used")]
    Identity(#[from] IdentityError),
}

/// The key of this boot. Made in RAM, never leaves it.
pub(super) struct Key {
    pair: KeyPair,
}

/// A certificate and when to ask for the next one.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) certificate: ClientCertificate,
    pub(super) renew_at: Instant,
    pub(super) expires_at: Instant,
}

impl Key {
    pub(super) fn generate() -> Result<Self, rcgen::Error> {
        Ok(Self { pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)? })
    }

    /// A signing request. The controller takes only the key from it.
    fn request(&self) -> Result<Vec<u8>, rcgen::Error> {
        let request = CertificateParams::default().serialize_request(&self.pair)?;
        Ok(request.der().to_vec())
    }

    /// Enrols once. Repeating it with the same key is allowed: an answer may get lost.
    pub(super) async fn enrol(
        &self,
        client: &mut Client,
        parameters: &BootParameters,
        clock: &Clock,
    ) -> Result<Identity, LinkError> {
        let request = EnrollRequest {
            boot_id: parameters.boot.to_string(),
            join_token: parameters.token.reveal().to_owned(),
            csr_der: self.request().map_err(LinkError::Key)?,
            agent_version: AGENT_VERSION.to_owned(),
            agent_time_ms: clock.now_ms(),
        };
        let response = call("Enroll", client.enroll(request)).await?;
        clock.set_controller(response.controller_time_ms);
        self.identity(response.certificate_der, response.not_after_ms, parameters, clock)
    }

    /// Trades a valid certificate for a fresh one.
    pub(super) async fn renew(
        &self,
        client: &mut Client,
        parameters: &BootParameters,
        clock: &Clock,
    ) -> Result<Identity, LinkError> {
        let request = RenewRequest { csr_der: self.request().map_err(LinkError::Key)? };
        let response = call("Renew", client.renew(request)).await?;
        clock.set_controller(response.controller_time_ms);
        self.identity(response.certificate_der, response.not_after_ms, parameters, clock)
    }

    fn identity(
        &self,
        der: Vec<u8>,
        not_after_ms: i64,
        parameters: &BootParameters,
        clock: &Clock,
    ) -> Result<Identity, LinkError> {
        let got = node_of_certificate(&der).map_err(CertificateError::from)?;
        if got != parameters.node {
            return Err(CertificateError::OtherNode { expected: parameters.node, got }.into());
        }
        let life = u64::try_from(not_after_ms.saturating_sub(clock.now_ms())).unwrap_or(0);
        // A year is more than any boot lasts; it keeps the sum below far from overflow.
        let life = Duration::from_millis(life).clamp(SHORTEST_LIFE, Duration::from_secs(365 * 86_400));
        let now = Instant::now();
        let key: Arc<[u8]> = self.pair.serialized_der().into();
        Ok(Identity {
            certificate: ClientCertificate { certificate: der, key },
            renew_at: now + life * 2 / 3,
            expires_at: now + life,
        })
    }
}
