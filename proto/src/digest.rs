//! Image digests: `sha256:…` and `sha512:…`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The digest algorithms an image may be declared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestAlgorithm {
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-512 (FIPS 180-4).
    Sha512,
}

impl DigestAlgorithm {
    /// Length of the digest in bytes.
    #[must_use]
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The algorithm whose hexadecimal digests have this many characters.
    #[must_use]
    pub fn of_hex_length(characters: usize) -> Option<Self> {
        match characters {
            64 => Some(Self::Sha256),
            128 => Some(Self::Sha512),
            _ => None,
        }
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        })
    }
}

impl FromStr for DigestAlgorithm {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text.to_ascii_lowercase().as_str() {
            "sha256" | "sha-256" => Ok(Self::Sha256),
            "sha512" | "sha-512" => Ok(Self::Sha512),
            _ => Err(DigestError::Algorithm(text.chars().take(32).collect())),
        }
    }
}

/// A digest value with its algorithm. Written `sha256:<hex>`; bare hexadecimal is accepted, its length decides.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: DigestAlgorithm,
    bytes: Vec<u8>,
}

/// Why a text is no digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DigestError {
    /// The algorithm is not one of ours.
    #[error("unknown digest algorithm \"{0}\": use sha256 or sha512")]
    Algorithm(String),
    /// The value has the wrong length.
    #[error("a digest of {0} characters is neither sha256 (64) nor sha512 (128)")]
    Length(usize),
    /// The value and the named algorithm do not fit.
    #[error("a {algorithm} digest has {expected} hexadecimal characters, this one has {got}")]
    Mismatch {
        /// The named algorithm.
        algorithm: DigestAlgorithm,
        /// Characters expected.
        expected: usize,
        /// Characters given.
        got: usize,
    },
    /// The value is not hexadecimal.
    #[error("the digest contains a character that is not hexadecimal")]
    NotHex,
}

impl Digest {
    /// A digest of known algorithm from its raw bytes.
    pub fn from_bytes(algorithm: DigestAlgorithm, bytes: &[u8]) -> Result<Self, DigestError> {
        if bytes.len() != algorithm.len_bytes() {
            return Err(DigestError::Mismatch {
                algorithm,
                expected: algorithm.len_bytes() * 2,
                got: bytes.len() * 2,
            });
        }
        Ok(Self { algorithm, bytes: bytes.to_vec() })
    }

    /// A digest of known algorithm from hexadecimal, upper or lower case.
    pub fn from_hex(algorithm: DigestAlgorithm, text: &str) -> Result<Self, DigestError> {
        let text = text.trim();
        if text.len() != algorithm.len_bytes() * 2 {
            return Err(DigestError::Mismatch {
                algorithm,
                expected: algorithm.len_bytes() * 2,
                got: text.len(),
            });
        }
        let bytes = hex::decode(text).map_err(|_| DigestError::NotHex)?;
        Ok(Self { algorithm, bytes })
    }

    /// Which algorithm made it.
    #[must_use]
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The raw bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Lower-case hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(&self.bytes)
    }
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let text = text.trim();
        if let Some((algorithm, value)) = text.split_once(':') {
            return Self::from_hex(algorithm.parse()?, value);
        }
        let algorithm = DigestAlgorithm::of_hex_length(text.len()).ok_or(DigestError::Length(text.len()))?;
        Self::from_hex(algorithm, text)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bare_and_named_digests_in_either_case() {
        let hex = "AB".repeat(32);
        let digest: Digest = hex.parse().unwrap();
        assert_eq!(digest.algorithm(), DigestAlgorithm::Sha256);
        assert_eq!(format!("sha256:{}", hex.to_lowercase()).parse(), Ok(digest));
    }

    #[test]
    fn refuses_what_is_no_digest() {
        assert_eq!("abc".parse::<Digest>(), Err(DigestError::Length(3)));
        assert_eq!("md5:abc".parse::<Digest>(), Err(DigestError::Algorithm("md5".into())));
        assert_eq!("zz".repeat(32).parse::<Digest>(), Err(DigestError::NotHex));
        assert!(matches!(
            format!("sha512:{}", "ab".repeat(32)).parse::<Digest>(),
            Err(DigestError::Mismatch { .. })
        ));
    }
}
