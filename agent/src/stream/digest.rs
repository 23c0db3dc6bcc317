//! Digest of a stream as it passes.

use bessemer_proto::digest::{Digest, DigestAlgorithm, DigestError};
use sha2::{Digest as _, Sha256, Sha512};

/// A running digest of one of the known algorithms.
pub(super) enum Hasher {
    Sha256(Box<Sha256>),
    Sha512(Box<Sha512>),
}

impl Hasher {
    pub(super) fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha256 => Self::Sha256(Box::default()),
            DigestAlgorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// Digest of a few bytes.
pub(super) fn of(algorithm: DigestAlgorithm, bytes: &[u8]) -> Result<Digest, DigestError> {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    Digest::from_bytes(algorithm, &hasher.finish())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::{StreamError, proof::Verified};

    fn digest_of(algorithm: DigestAlgorithm, bytes: &[u8]) -> Digest {
        of(algorithm, bytes).unwrap()
    }

    /// The proof of an image in memory.
    pub(in crate::stream) fn proof(image: &[u8]) -> Verified {
        let expected = digest_of(DigestAlgorithm::Sha256, image);
        let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
        hasher.update(image);
        Verified::of_stream(hasher, expected, image.len() as u64).unwrap()
    }

    #[test]
    fn the_digests_are_the_standard_ones() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(DigestAlgorithm::Sha256, b"").hex(), empty);
        assert!(
            digest_of(DigestAlgorithm::Sha512, b"abc").hex().starts_with("ddaf35a193617abacc417349ae204131")
        );
    }

    proptest! {
        #[test]
        fn any_chunking_verifies_and_any_change_does_not(
            bytes in proptest::collection::vec(any::<u8>(), 1..5000),
            piece in 1_usize..700,
            place in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
            wide in any::<bool>(),
        ) {
            let algorithm = if wide { DigestAlgorithm::Sha512 } else { DigestAlgorithm::Sha256 };
            let expected = digest_of(algorithm, &bytes);
            let compare = |bytes: &[u8]| {
                let mut hasher = Hasher::new(algorithm);
                bytes.chunks(piece).for_each(|piece| hasher.update(piece));
                Verified::of_stream(hasher, expected.clone(), bytes.len() as u64)
            };
            let verified = compare(&bytes).unwrap();
            prop_assert_eq!((verified.digest(), verified.bytes()), (&expected, bytes.len() as u64));
            let at = place.index(bytes.len());
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            for wrong in [&flipped[..], &bytes[..at]] {
                let is_mismatch = matches!(compare(wrong), Err(StreamError::DigestMismatch { .. }));
                prop_assert!(is_mismatch);
            }
        }
    }
}
