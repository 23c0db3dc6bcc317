//! Exit codes: which kind of thing went wrong. Scripts depend on them; docs/write.md lists them.

use crate::{
    disk::{ClaimError, Left},
    stream::{DecodeError, FetchError, Qcow2Error, StreamError, job::NotWritten},
};

/// Why the command ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// An argument, or what it names, is of no use.
    #[error(transparent)]
    Arguments(anyhow::Error),
    /// The device was not taken.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The write.
    #[error(transparent)]
    Stream(#[from] NotWritten),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Failure {
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Arguments(_) => 2,
            Self::Claim(_) => 6,
            Self::Stream(failed) => of_stream(&failed.source),
            Self::Other(_) => 1,
        }
    }

    /// What the device has now, where it was to be written.
    pub(super) fn left(&self) -> Left {
        match self {
            Self::Stream(failed) => failed.left,
            _ => Left::Unchanged,
        }
    }
}

fn of_stream(error: &StreamError) -> u8 {
    match error {
        StreamError::Fetch(
            FetchError::Ca(_)
            | FetchError::Certificate(_)
            | FetchError::Authorization
            | FetchError::Proxy { .. },
        ) => 2,
        StreamError::Fetch(FetchError::Changed { .. })
        | StreamError::Decode(DecodeError::Qcow2(Qcow2Error::Changed(_)))
        | StreamError::DigestMismatch { .. }
        | StreamError::Checksum(_)
        | StreamError::Manifest { .. }
        | StreamError::ManifestDigest { .. }
        | StreamError::ManifestSize { .. }
        | StreamError::ManifestOfOther { .. }
        | StreamError::Range { .. } => 4,
        StreamError::Fetch(_)
        | StreamError::ChecksumFile(_)
        | StreamError::ManifestFile(_)
        | StreamError::Late { .. } => 3,
        StreamError::NoProof | StreamError::ManifestUse(_) => 2,
        StreamError::Decode(_)
        | StreamError::TooLarge { .. }
        | StreamError::Empty
        | StreamError::NoPartitionTable
        | StreamError::SectorSize { .. } => 5,
        StreamError::Target(_) => 7,
        StreamError::ReadBack { .. } => 8,
        StreamError::Cancelled => 130,
        StreamError::Stopped | StreamError::Died(_) => 1,
    }
}
