//! Checks decoded bytes against a manifest as they pass: its ranges have their digests, the rest is zero.

use std::sync::{
    Arc,
    mpsc::{Receiver, SyncSender},
};

use bessemer_proto::{manifest::Manifest, step::StageWork};
use sha2::{Digest as _, Sha256};

use super::{StreamError, work::StageClock, write::Filled, zeros::is_zero};

/// The content was all there and each of its bytes is what the manifest says. Only a finished check makes one.
pub(super) struct ContentRight {
    bytes: u64,
}

impl ContentRight {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Where in the manifest the content is.
pub(super) struct ContentCheck {
    manifest: Arc<Manifest>,
    /// The range that comes next or has begun.
    range: usize,
    hasher: Sha256,
    position: u64,
}

impl ContentCheck {
    pub(super) fn new(manifest: Arc<Manifest>) -> Self {
        Self { manifest, range: 0, hasher: Sha256::new(), position: 0 }
    }

    /// The next bytes of the image.
    pub(super) fn update(&mut self, mut bytes: &[u8]) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            let range = self.manifest.ranges.get(self.range).copied();
            let (inside, end) = match range {
                Some(range) if self.position >= range.offset => (true, range.offset + range.length),
                Some(range) => (false, range.offset),
                None => (false, self.manifest.image_bytes),
            };
            let left = usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX);
            let (piece, rest) = bytes.split_at(bytes.len().min(left));
            if piece.is_empty() {
                // Behind the end of the image.
                return Err(self.wrong(self.position, rest.len() as u64));
            }
            if inside {
                self.hasher.update(piece);
            } else if !is_zero(piece) {
                return Err(self.wrong(self.position, piece.len() as u64));
            }
            self.position += piece.len() as u64;
            bytes = rest;
            if let Some(range) = range.filter(|_| inside && self.position == end) {
                if self.hasher.finalize_reset()[..] != range.sha256 {
                    return Err(self.wrong(range.offset, range.length));
                }
                self.range += 1;
            }
        }
        Ok(())
    }

    /// All bytes have passed.
    pub(super) fn finish(self) -> Result<ContentRight, StreamError> {
        if self.position == self.manifest.image_bytes && self.range == self.manifest.ranges.len() {
            return Ok(ContentRight { bytes: self.position });
        }
        Err(StreamError::ManifestSize { manifest: self.manifest.image_bytes, image: self.position })
    }

    fn wrong(&self, offset: u64, length: u64) -> StreamError {
        StreamError::Range { offset, length, attempts: 1 }
    }
}

/// The stage: passes on what the decoder sends, checked.
pub(super) fn check(
    filled: &Receiver<Filled>,
    manifest: Arc<Manifest>,
    next: &SyncSender<Filled>,
) -> Result<(ContentRight, StageWork), StreamError> {
    let mut clock = StageClock::new("content digest");
    let mut check = ContentCheck::new(manifest);
    loop {
        let filled = clock.wait(|| filled.recv()).map_err(|_| StreamError::Stopped)?;
        if let Filled::Data { block, .. } = &filled {
            check.update(block.as_ref())?;
            clock.bytes += block.as_ref().len() as u64;
        }
        if matches!(filled, Filled::End) {
            let right = check.finish()?;
            clock.wait(|| next.send(filled)).map_err(|_| StreamError::Stopped)?;
            return Ok((right, clock.finish()));
        }
        clock.wait(|| next.send(filled)).map_err(|_| StreamError::Stopped)?;
    }
}

#[cfg(test)]
mod tests {
    use bessemer_proto::manifest::Range;
    use proptest::prelude::*;

    use super::*;

    fn manifest(image: &[u8], ranges: &[(u64, u64)]) -> Arc<Manifest> {
        let range = |&(offset, length): &(u64, u64)| {
            let bytes = &image[offset as usize..(offset + length) as usize];
            Range { offset, length, sha256: Sha256::digest(bytes).into() }
        };
        let ranges = ranges.iter().map(range).collect();
        Arc::new(Manifest { image_bytes: image.len() as u64, image_digest: None, ranges })
    }

    fn check(manifest: &Arc<Manifest>, image: &[u8], piece: usize) -> Result<ContentRight, StreamError> {
        let mut check = ContentCheck::new(manifest.clone());
        for piece in image.chunks(piece) {
            check.update(piece)?;
        }
        check.finish()
    }

    proptest! {
        #[test]
        fn only_the_image_itself_passes(
            piece in 1_usize..900,
            at in 0_usize..1000,
            cut in 0_usize..1000,
        ) {
            let mut image = vec![0; 1000];
            image[100..300].fill(7);
            image[300..450].fill(9);
            image[990..].fill(1);
            let manifest = manifest(&image, &[(100, 200), (300, 150), (980, 20)]);
            prop_assert_eq!(check(&manifest, &image, piece).unwrap().bytes(), 1000);
            let mut other = image.clone();
            other[at] ^= 4;
            prop_assert!(check(&manifest, &other, piece).is_err());
            prop_assert!(check(&manifest, &image[..cut], piece).is_err());
            other.clone_from(&image);
            other.push(0);
            prop_assert!(check(&manifest, &other, piece).is_err());
        }
    }
}
