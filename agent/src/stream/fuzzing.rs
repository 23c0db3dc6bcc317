//! What the fuzz targets of `fuzz/` call. Not for anything else.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bessemer_proto::step::ImageFormat;
use bytes::Bytes;

use super::{StreamError, chunks::Chunks, decode::Decoder, placed::Scatter, xz_blocks::Terms};
use crate::disk::buffer::{Block, Ring};

/// A few bytes can unpack to gigabytes; nothing new is found there.
const ENOUGH: usize = 4 << 20;

/// Unpacks `data`, declared as `format`, in several ways.
///
/// # Panics
///
/// When the way the bytes arrive, or on how many threads they are unpacked, changes what becomes of them.
pub fn unpack(data: &[u8], format: ImageFormat) {
    let whole = outcome(data, data.len(), format, None);
    let small = 1 + data.len() % 37;
    let pieces = outcome(data, small, format, None);
    same(&whole, &pieces);
    if !matches!(whole, Ok(None)) {
        same(&whole, &outcome(data, small * 7, format, Some(Terms { threads: 2, content: 1, alignment: 1 })));
    }
}

fn same(one: &Result<Option<Vec<u8>>, StreamError>, other: &Result<Option<Vec<u8>>, StreamError>) {
    if let (Ok(Some(one)), Ok(Some(other))) = (one, other) {
        assert!(one == other, "the content is not the same");
    }
    assert!(one.is_ok() == other.is_ok(), "{:?} and {:?}", one.as_ref().err(), other.as_ref().err());
}

/// The content; `None` when it is not small.
fn outcome(
    data: &[u8],
    piece: usize,
    format: ImageFormat,
    terms: Option<Terms>,
) -> Result<Option<Vec<u8>>, StreamError> {
    let mut decoder = Decoder::open(Pieces { rest: Bytes::copy_from_slice(data), piece }, format)?;
    let memory = Memory::new(ENOUGH, 64 << 10);
    if let Some(terms) = terms {
        decoder.side_by_side_by(terms, &memory)?;
    }
    let mut content = memory.into_content();
    let mut buffer = vec![0; 64 << 10];
    while content.len() < ENOUGH {
        let count = decoder.fill(&mut buffer)?;
        content.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if count < buffer.len() {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

/// Puts content together.
pub(super) struct Memory {
    room: usize,
    ring: Mutex<Ring>,
    content: Mutex<Vec<u8>>,
}

impl Memory {
    /// For so much content at most, in buffers of this length.
    pub(super) fn new(room: usize, buffer: usize) -> Self {
        Self { room, ring: Mutex::new(Ring::new(7, buffer)), content: Mutex::new(Vec::new()) }
    }

    pub(super) fn into_content(self) -> Vec<u8> {
        self.content.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn content(&self) -> MutexGuard<'_, Vec<u8>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scatter for Memory {
    fn buffer(&self) -> Block {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).blocking_take()
    }

    fn fits(&self, content: u64) -> Result<(), StreamError> {
        let disk = self.room as u64;
        if content <= disk {
            return Ok(());
        }
        Err(StreamError::TooLarge { image: content, disk, device: "memory".to_owned() })
    }

    fn put(&self, block: Block, offset: u64) -> Result<(), StreamError> {
        let mut content = self.content();
        assert!(offset == 0 || !content.is_empty(), "the beginning must come first");
        let start = usize::try_from(offset).map_err(|_| StreamError::Stopped)?;
        let end = start + block.as_ref().len();
        let length = content.len().max(end);
        content.resize(length, 0);
        content.get_mut(start..end).unwrap_or_default().copy_from_slice(block.as_ref());
        Ok(())
    }

    fn stop(&self) {}
}

struct Pieces {
    rest: Bytes,
    piece: usize,
}

impl Chunks for Pieces {
    fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        let length = self.piece.min(self.rest.len());
        Ok((length > 0).then(|| self.rest.split_to(length)))
    }
}
