//! Who is at the other end of a connection: names inside certificates.

use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::ids::NodeId;

/// The name in every controller's server certificate. Agents ask for this name whatever address they dial, so
/// that an address may change without a new certificate.
pub const CONTROLLER_SERVER_NAME: &str = "controller.bessemer.internal";

const NODE_PREFIX: &str = "spiffe://bessemer/node/";

/// Why a certificate names no node.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// Not a certificate.
    #[error("the peer's certificate cannot be parsed")]
    Parse,
    /// No URI `spiffe://bessemer/node/<uuid>`, or more than one.
    #[error("the peer's certificate does not name exactly one node (spiffe://bessemer/node/<uuid>)")]
    NoNode,
}

/// The URI that a node's certificate carries as its subject alternative name.
#[must_use]
pub fn node_uri(node: NodeId) -> String {
    format!("{NODE_PREFIX}{node}")
}

/// The node that a certificate (DER) was issued to. Does not check signature or validity: the TLS layer did.
pub fn node_of_certificate(der: &[u8]) -> Result<NodeId, IdentityError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::Parse)?;
    let mut nodes = certificate
        .extensions()
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        })
        .flatten()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    match (nodes.next(), nodes.next()) {
        (Some(uri), None) => {
            uri.strip_prefix(NODE_PREFIX).and_then(|uuid| uuid.parse().ok()).ok_or(IdentityError::NoNode)
        }
        _ => Err(IdentityError::NoNode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(uris: &[&str]) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.subject_alt_names =
            uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap())).collect();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_node_is_read_from_the_certificate() {
        let node = NodeId::random();
        assert_eq!(node_of_certificate(&certificate(&[&node_uri(node)])), Ok(node));
    }

    #[test]
    fn a_certificate_must_name_exactly_one_node() {
        let (a, b) = (node_uri(NodeId::random()), node_uri(NodeId::random()));
        for uris in [&[][..], &[&*a, &*b], &["spiffe://bessemer/node/x"], &["spiffe://elsewhere/node/1"]] {
            assert_eq!(node_of_certificate(&certificate(uris)), Err(IdentityError::NoNode));
        }
        assert_eq!(node_of_certificate(b"no certificate"), Err(IdentityError::Parse));
    }
}
