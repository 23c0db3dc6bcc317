//! Digest of a stream as it passes, and the proof that it was the right one.

use bessemer_proto::digest::{Digest, DigestAlgorithm};
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{StreamError, chunks::Blocks, work::StageClock};
use crate::disk::buffer::Block;

/// Proof that a whole stream had the digest that was asked for. Only [`Digesting::finish`] makes one.
#[derive(Debug)]
pub struct Verified {
    digest: Digest,
    bytes: u64,
}

impl Verified {
    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Length of the stream.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

enum Hasher {
    Sha256(Box<Sha256>),
    Sha512(Box<Sha512>),
}

impl Hasher {
    fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha256 => Self::Sha256(Box::default()),
            DigestAlgorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// Passes blocks on and digests them.
pub struct Digesting<S> {
    source: S,
    hasher: Hasher,
    bytes: u64,
    expected: Digest,
}

impl<S: Blocks> Digesting<S> {
    /// Will compare the digest of all of `source` with `expected`.
    pub fn new(source: S, expected: Digest) -> Self {
        Self { source, hasher: Hasher::new(expected.algorithm()), bytes: 0, expected }
    }

    /// The next block, with the time of waiting for it told to `clock`.
    pub fn next_block_timed(&mut self, clock: &mut StageClock) -> Result<Option<Block>, StreamError> {
        let block = clock.wait(|| self.source.next_block())?;
        if let Some(block) = &block {
            self.hasher.update(block.as_ref());
            self.bytes += block.as_ref().len() as u64;
        }
        Ok(block)
    }

    /// Reads what is left of the source and compares.
    pub fn finish(mut self) -> Result<Verified, StreamError> {
        while self.next_block()?.is_some() {}
        let got = self.hasher.finish();
        let same: bool = got.as_slice().ct_eq(self.expected.bytes()).into();
        if same {
            return Ok(Verified { digest: self.expected, bytes: self.bytes });
        }
        // The hasher was made for the algorithm, so its output has the right length.
        let got =
            Digest::from_bytes(self.expected.algorithm(), &got).unwrap_or_else(|_| self.expected.clone());
        Err(StreamError::DigestMismatch { expected: self.expected, got, bytes: self.bytes })
    }
}

impl<S: Blocks> Blocks for Digesting<S> {
    fn next_block(&mut self) -> Result<Option<Block>, StreamError> {
        self.next_block_timed(&mut StageClock::new("digest"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::chunks::tests::Pieces, *};

    fn digest_of(algorithm: DigestAlgorithm, bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        Digest::from_bytes(algorithm, &hasher.finish()).unwrap()
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
        fn any_chunking_verifies_and_passes_every_byte(
            bytes in proptest::collection::vec(any::<u8>(), 0..5000),
            lengths in proptest::collection::vec(0_usize..700, 0..40),
            taken in 0_usize..50,
            wide in any::<bool>(),
        ) {
            let algorithm = if wide { DigestAlgorithm::Sha512 } else { DigestAlgorithm::Sha256 };
            let mut digesting = Digesting::new(Pieces::new(&bytes, &lengths), digest_of(algorithm, &bytes));
            let mut seen = Vec::new();
            for _ in 0..taken {
                if let Some(block) = digesting.next_block().unwrap() {
                    seen.extend_from_slice(block.as_ref());
                }
            }
            prop_assert_eq!(&seen[..], &bytes[..seen.len()]);
            // What the consumer left is drained by finish.
            let verified = digesting.finish().unwrap();
            prop_assert_eq!(verified.bytes(), bytes.len() as u64);
        }

        #[test]
        fn one_flipped_bit_or_a_missing_end_is_never_verified(
            bytes in proptest::collection::vec(any::<u8>(), 1..3000),
            lengths in proptest::collection::vec(1_usize..700, 0..20),
            place in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let expected = digest_of(DigestAlgorithm::Sha256, &bytes);
            let mut flipped = bytes.clone();
            let at = place.index(bytes.len());
            flipped[at] ^= 1 << bit;
            let result = Digesting::new(Pieces::new(&flipped, &lengths), expected.clone()).finish();
            let is_mismatch = matches!(result, Err(StreamError::DigestMismatch { .. }));
            prop_assert!(is_mismatch);
            let shorter = Digesting::new(Pieces::new(&bytes[..at], &lengths), expected.clone()).finish();
            prop_assert!(shorter.is_err());
            // The right bytes, but the source never said that this is all.
            let mut cut_off = Pieces::new(&bytes, &lengths);
            cut_off.cut_off = true;
            prop_assert!(Digesting::new(cut_off, expected).finish().is_err());
        }
    }
}
