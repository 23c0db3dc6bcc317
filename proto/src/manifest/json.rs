//! Our JSON form, version 1.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, de};

use super::{Manifest, ManifestError, Range};
use crate::digest::Digest;

const VERSION: u64 = 1;

/// Read first: a later version may have other fields.
#[derive(Deserialize)]
struct Header {
    bessemer_manifest: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(rename = "bessemer_manifest")]
    _version: u64,
    image_bytes: u64,
    #[serde(default)]
    image_digest: Option<Digest>,
    ranges: Vec<Row>,
}

#[derive(Deserialize)]
struct Row(u64, u64, Sha256Hex);

struct Sha256Hex([u8; 32]);

pub(super) fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let header: Header = serde_json::from_str(text).map_err(ManifestError::Json)?;
    if header.bessemer_manifest != VERSION {
        return Err(ManifestError::Version(header.bessemer_manifest));
    }
    let body: Body = serde_json::from_str(text).map_err(ManifestError::Json)?;
    let ranges = body
        .ranges
        .into_iter()
        .map(|Row(offset, length, Sha256Hex(sha256))| Range { offset, length, sha256 })
        .collect();
    Ok(Manifest { image_bytes: body.image_bytes, image_digest: body.image_digest, ranges })
}

pub(super) fn write(manifest: &Manifest) -> String {
    let mut text = format!("{{\"bessemer_manifest\": {VERSION}, \"image_bytes\": {}", manifest.image_bytes);
    if let Some(digest) = &manifest.image_digest {
        // Writing into a String cannot fail.
        write!(text, ", \"image_digest\": \"{digest}\"").ok();
    }
    text.push_str(", \"ranges\": [");
    for (index, range) in manifest.ranges.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let hex = hex::encode(range.sha256);
        write!(text, "{comma}\n[{}, {}, \"{hex}\"]", range.offset, range.length).ok();
    }
    text.push_str("\n]}\n");
    text
}

// === impl Sha256Hex ===

impl<'de> Deserialize<'de> for Sha256Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(HexVisitor)
    }
}

/// Decodes in place: a manifest has many of them.
struct HexVisitor;

impl de::Visitor<'_> for HexVisitor {
    type Value = Sha256Hex;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SHA-256 of 64 hexadecimal characters")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Sha256Hex, E> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Sha256Hex(bytes)),
            Err(_) => Err(E::custom("a range's digest is not a SHA-256 of 64 hexadecimal characters")),
        }
    }
}
