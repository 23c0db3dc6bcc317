//! What the fuzz targets of `fuzz/` call. Not for anything else.

use bessemer_proto::step::ImageFormat;
use bytes::Bytes;

use super::{StreamError, chunks::Chunks, decode::Decoder};

/// A few bytes can unpack to gigabytes; nothing new is found there.
const ENOUGH: usize = 4 << 20;

/// Unpacks `data`, declared as `format`, in several ways.
///
/// # Panics
///
/// When the way the bytes arrive changes what becomes of them.
pub fn unpack(data: &[u8], format: ImageFormat) {
    let whole = outcome(data, data.len(), format);
    let pieces = outcome(data, 1 + data.len() % 37, format);
    if let (Ok(Some(whole)), Ok(Some(pieces))) = (&whole, &pieces) {
        assert!(whole == pieces, "the content depends on how the bytes arrive");
    }
    assert!(whole.is_ok() == pieces.is_ok(), "whole: {:?}, in pieces: {:?}", whole.err(), pieces.err());
}

/// The content; `None` when it is not small.
fn outcome(data: &[u8], piece: usize, format: ImageFormat) -> Result<Option<Vec<u8>>, StreamError> {
    let mut decoder = Decoder::open(Pieces { rest: Bytes::copy_from_slice(data), piece }, format)?;
    let mut content = Vec::new();
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
