//! The hashing threads. A thread ends when its sender is gone; a sender whose thread is gone drops what it gets,
//! and joining the thread then says what happened.

use std::{
    io,
    ops::Range as Span,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    manifest::Range,
};
use sha2::{Digest as _, Sha256};

use super::{CHUNK, QUEUE};
use crate::image::cache::Hasher;

/// A part of a range.
pub(super) struct Piece {
    /// Of the range.
    pub(super) number: usize,
    /// In the image.
    pub(super) offset: u64,
    pub(super) chunk: Arc<Vec<u8>>,
    /// In the chunk.
    pub(super) part: Span<usize>,
}

/// To a thread that hashes ranges.
pub(super) struct RangeHasher(SyncSender<Piece>);

/// To the thread that hashes everything.
pub(super) struct Whole(SyncSender<Stretch>);

pub(super) enum Stretch {
    Data(Arc<Vec<u8>>),
    Zeros(u64),
}

impl RangeHasher {
    pub(super) fn channel() -> (Self, Receiver<Piece>) {
        let (sender, receiver) = sync_channel(QUEUE);
        (Self(sender), receiver)
    }

    pub(super) fn send(&self, piece: Piece) {
        self.0.send(piece).ok();
    }
}

impl Whole {
    pub(super) fn channel() -> (Self, Receiver<Stretch>) {
        let (sender, receiver) = sync_channel(QUEUE);
        (Self(sender), receiver)
    }

    pub(super) fn data(&self, chunk: Arc<Vec<u8>>) {
        self.0.send(Stretch::Data(chunk)).ok();
    }

    pub(super) fn zeros(&self, count: u64) {
        self.0.send(Stretch::Zeros(count)).ok();
    }
}

/// The pieces of a range come one after the other.
pub(super) fn hash_ranges(pieces: Receiver<Piece>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut current: Option<(usize, Range, Sha256)> = None;
    for piece in pieces {
        let bytes = piece.chunk.get(piece.part).unwrap_or_default();
        let (number, mut range, mut hasher) = match current.take() {
            Some(current) if current.0 == piece.number => current,
            other => {
                ranges.extend(other.map(finished));
                let range = Range { offset: piece.offset, length: 0, sha256: [0; 32] };
                (piece.number, range, Sha256::new())
            }
        };
        hasher.update(bytes);
        range.length += bytes.len() as u64;
        current = Some((number, range, hasher));
    }
    ranges.extend(current.map(finished));
    ranges
}

fn finished((_, range, hasher): (usize, Range, Sha256)) -> Range {
    Range { sha256: hasher.finalize().into(), ..range }
}

pub(super) fn hash_whole(algorithm: DigestAlgorithm, stretches: Receiver<Stretch>) -> io::Result<Digest> {
    let zeros = vec![0; CHUNK];
    let mut hasher = Hasher::new(algorithm);
    for stretch in stretches {
        match stretch {
            Stretch::Data(chunk) => hasher.update(&chunk),
            Stretch::Zeros(mut count) => {
                while count > 0 {
                    let some = usize::try_from(count).unwrap_or(CHUNK).min(CHUNK);
                    hasher.update(zeros.get(..some).unwrap_or_default());
                    count -= some as u64;
                }
            }
        }
    }
    hasher.finish()
}
