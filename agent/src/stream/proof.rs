//! The proof that an image is the one that was asked for.

use std::sync::Arc;

use bessemer_proto::{digest::Digest, manifest::Manifest};
use subtle::ConstantTimeEq as _;

use super::{StreamError, content_check::ContentRight, digest::Hasher, ranged::RangesRight};

/// Proof that every byte of an image is right: the boot area of a disk is written only by who has one. Its
/// constructors take the evidence, and there is no other way to make one.
#[derive(Debug)]
pub struct Verified {
    digest: Digest,
    bytes: u64,
}

impl Verified {
    /// The `bytes` bytes that `hasher` has seen are the ones that `expected` is the digest of.
    pub(super) fn of_stream(hasher: Hasher, expected: Digest, bytes: u64) -> Result<Self, StreamError> {
        let got = hasher.finish();
        let same: bool = got.as_slice().ct_eq(expected.bytes()).into();
        if same {
            return Ok(Self { digest: expected, bytes });
        }
        // The hasher was made for the algorithm, so its output has the right length.
        let got = Digest::from_bytes(expected.algorithm(), &got).unwrap_or_else(|_| expected.clone());
        Err(StreamError::DigestMismatch { expected, got, bytes })
    }

    /// The decoded content is the one that a manifest describes, which nothing but itself speaks for.
    pub(super) fn of_content(known: &KnownManifest, evidence: &ContentRight) -> Self {
        Self { digest: known.stands_for(None), bytes: evidence.bytes() }
    }

    /// Every range is the one that a trusted manifest describes.
    pub(super) fn of_ranges(
        known: &TrustedManifest<'_>,
        expected: Option<Digest>,
        evidence: &RangesRight,
    ) -> Self {
        Self { digest: known.0.stands_for(expected), bytes: evidence.bytes() }
    }

    /// What was proved: the image's digest where one was given or the manifest names one, else the manifest's.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How many bytes were proved: of a stream as served, of a manifest those in its ranges.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A manifest, and whether it proves anything.
#[derive(Clone)]
pub struct KnownManifest {
    /// The manifest.
    pub manifest: Arc<Manifest>,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Somebody vouches for it: its digest was given, or it is all that was given.
    pub trusted: bool,
}

/// One that somebody vouches for.
pub(super) struct TrustedManifest<'a>(&'a KnownManifest);

impl KnownManifest {
    /// This manifest, if it proves anything.
    pub(super) fn as_trusted(&self) -> Option<TrustedManifest<'_>> {
        self.trusted.then_some(TrustedManifest(self))
    }

    fn stands_for(&self, expected: Option<Digest>) -> Digest {
        let of_image = expected.or_else(|| self.manifest.image_digest.clone());
        of_image.unwrap_or_else(|| self.digest.clone())
    }
}
