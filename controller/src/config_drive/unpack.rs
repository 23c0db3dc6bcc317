//! Base64 and gzip, bounded: a few bytes of gzip can hold gigabytes.

use std::io::{self, Read};

use base64::{engine::general_purpose::STANDARD, read::DecoderReader};
use bessemer_proto::config_drive::{FileSystem, MAX_BYTES};
use flate2::read::MultiGzDecoder;

use super::{ConfigDriveError, checked};

/// Base64 of 64 MiB that gzip could not shrink, and line ends.
pub(super) const MAX_PACKED_BYTES: usize = 96 << 20;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The image in base64 of gzip.
pub(super) fn text(text: &str) -> Result<Vec<u8>, ConfigDriveError> {
    if text.len() > MAX_PACKED_BYTES {
        return Err(ConfigDriveError::TooLarge);
    }
    base64(text.as_bytes())
}

/// The image in a file: as it is, or packed like a text.
pub(super) fn file(bytes: Vec<u8>) -> Result<Vec<u8>, ConfigDriveError> {
    match FileSystem::of(&bytes) {
        Some(_) if bytes.len() > MAX_BYTES => Err(ConfigDriveError::TooLarge),
        Some(_) => Ok(bytes),
        None if bytes.starts_with(&GZIP) => gunzip(&bytes[..]),
        None => base64(&bytes),
    }
}

fn base64(text: &[u8]) -> Result<Vec<u8>, ConfigDriveError> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if !text.iter().all(|byte| is_letter(byte) || byte.is_ascii_whitespace()) {
        return Err(ConfigDriveError::Base64);
    }
    // Some clients send lines of 76 characters.
    gunzip(DecoderReader::new(Letters(text), &STANDARD))
}

fn gunzip(packed: impl Read) -> Result<Vec<u8>, ConfigDriveError> {
    let mut image = Vec::new();
    let mut unpacked = MultiGzDecoder::new(packed).take(MAX_BYTES as u64 + 1);
    unpacked.read_to_end(&mut image).map_err(|_| ConfigDriveError::Gzip)?;
    if image.len() > MAX_BYTES { Err(ConfigDriveError::TooLarge) } else { checked(image) }
}

/// A text without its blanks and line ends.
struct Letters<'a>(&'a [u8]);

impl Read for Letters<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.0.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(self.0.len());
        let text = &self.0[start..];
        let run = text.iter().take(buffer.len()).position(u8::is_ascii_whitespace);
        let length = run.unwrap_or(text.len().min(buffer.len()));
        buffer[..length].copy_from_slice(&text[..length]);
        self.0 = &text[length..];
        Ok(length)
    }
}
