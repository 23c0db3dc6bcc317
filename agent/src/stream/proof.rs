//! The proof that an image is the one that was asked for.

use bessemer_proto::digest::Digest;

/// Proof that every byte of an image is right: the boot area of a disk is written only by who has one. Three places
/// make one: [`super::digest`] for a stream whose digest is the expected one, [`super::ranged`] when each range of a
/// trusted manifest has its digest, and [`super::content`] when a decoded stream does.
#[derive(Debug)]
pub struct Verified {
    digest: Digest,
    bytes: u64,
}

impl Verified {
    /// A whole stream had this digest.
    pub(super) fn of_stream(digest: Digest, bytes: u64) -> Self {
        Self { digest, bytes }
    }

    /// Every range of the manifest had its digest. `digest`: what the manifest says of the image, or else the digest of
    /// the manifest.
    pub(super) fn of_ranges(digest: Digest, bytes: u64) -> Self {
        Self { digest, bytes }
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Length of what was proved.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
