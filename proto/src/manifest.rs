//! Image manifests: the digests of an image's ranges. Written as our JSON or as bmap XML; both say the same.

mod bmap;
mod json;
#[cfg(test)]
mod tests;

use crate::digest::Digest;

/// Longest manifest that is read, in bytes.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most ranges of a manifest.
pub const MAX_RANGES: usize = 131_072;
/// Offsets in files are signed.
const MAX_IMAGE_BYTES: u64 = i64::MAX as u64;

/// What a raw image consists of. Bytes that no range covers are zero in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Size of the raw image.
    pub image_bytes: u64,
    /// Digest of the whole raw image. A bmap has none.
    pub image_digest: Option<Digest>,
    /// In order, not overlapping, inside the image, none empty.
    pub ranges: Vec<Range>,
}

/// A part of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What they hash to.
    pub sha256: [u8; 32],
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_BYTES`].
    #[error("the manifest has {0} bytes, more than {MAX_BYTES}: make one with larger ranges")]
    TooLong(usize),
    /// Begins like neither form.
    #[error("the manifest is neither Bessemer's JSON nor bmap XML: make it with `bessemer image manifest`")]
    UnknownForm,
    /// Not our JSON.
    #[error("the manifest is not the JSON of version 1")]
    Json(#[source] serde_json::Error),
    /// A later JSON form.
    #[error("the manifest has version {0}, only 1 is known: make it with this release of Bessemer")]
    Version(u64),
    /// Not well-formed XML.
    #[error("the bmap is not well-formed XML at byte {position}")]
    Xml {
        /// Where.
        position: u64,
        /// Why.
        #[source]
        source: quick_xml::Error,
    },
    /// A bmap that cannot be used.
    #[error("the bmap {0}")]
    Bmap(String),
    /// The image is empty or larger than any file.
    #[error("the manifest's image has {0} bytes, which no disk image has")]
    ImageSize(u64),
    /// More than [`MAX_RANGES`].
    #[error("the manifest has {0} ranges, more than {MAX_RANGES}: make one with larger ranges")]
    TooManyRanges(usize),
    /// A range without bytes.
    #[error("range {index} of the manifest, at {offset}, is empty")]
    Empty {
        /// From 0.
        index: usize,
        /// Where.
        offset: u64,
    },
    /// A range beyond the image.
    #[error("range {index} of the manifest, {length} bytes at {offset}, ends after the image")]
    Outside {
        /// From 0.
        index: usize,
        /// Where.
        offset: u64,
        /// Its size.
        length: u64,
    },
    /// A range that begins before the previous one ends.
    #[error(
        "range {index} of the manifest, at {offset}, begins before byte {after}, where the previous one ends"
    )]
    Order {
        /// From 0.
        index: usize,
        /// Where.
        offset: u64,
        /// Where the previous one ends.
        after: u64,
    },
    /// A range that bmap cannot express.
    #[error("range {index} of the manifest, at {offset}, is not made of blocks of 4096 bytes: use JSON")]
    Blocks {
        /// From 0.
        index: usize,
        /// Where.
        offset: u64,
    },
}

// === impl Manifest ===

impl Manifest {
    /// Reads either form. The bytes may come from anywhere.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::UnknownForm)?;
        let text = text.trim_start_matches('\u{feff}');
        let manifest = match text.trim_start().chars().next() {
            Some('{') => json::parse(text)?,
            Some('<') => bmap::parse(text, bytes)?,
            _ => return Err(ManifestError::UnknownForm),
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether the ranges keep what their documentation says. [`Self::parse`] has checked it.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.image_bytes == 0 || self.image_bytes > MAX_IMAGE_BYTES {
            return Err(ManifestError::ImageSize(self.image_bytes));
        }
        if self.ranges.len() > MAX_RANGES {
            return Err(ManifestError::TooManyRanges(self.ranges.len()));
        }
        let mut after = 0;
        for (index, range) in self.ranges.iter().enumerate() {
            let Range { offset, length, .. } = *range;
            if length == 0 {
                return Err(ManifestError::Empty { index, offset });
            }
            if offset < after {
                return Err(ManifestError::Order { index, offset, after });
            }
            after = offset
                .checked_add(length)
                .filter(|end| *end <= self.image_bytes)
                .ok_or(ManifestError::Outside { index, offset, length })?;
        }
        Ok(())
    }

    /// Bytes inside ranges.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, range| range.length.saturating_add(sum))
    }

    /// Our form, a range a line.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// The XML of bmap 2.0, which has no place for the image's own digest. Ranges must begin and end at whole
    /// blocks of 4096 bytes or at the end of the image.
    pub fn to_bmap(&self) -> Result<String, ManifestError> {
        bmap::write(self)
    }
}
