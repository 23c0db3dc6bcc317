//! The header of an LZ4 frame (LZ4 frame format 1.6).

use twox_hash::XxHash32;

/// What a frame starts with.
pub(super) const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// What a frame of the format before this one starts with.
pub(super) const LEGACY_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// A header has no more bytes than this.
pub(super) const LONGEST_HEADER: usize = 19;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of the header.
    pub(super) length: usize,
    /// Whether blocks refer to the ones before them.
    pub(super) linked: bool,
    /// Whether each block has a checksum.
    pub(super) block_checksums: bool,
    /// Whether the content has a checksum.
    pub(super) content_checksum: bool,
    /// Most bytes that a block unpacks to.
    pub(super) block: usize,
    /// Length of the content, when it is given.
    pub(super) content: Option<u64>,
    /// Whether a dictionary is needed.
    pub(super) dictionary: bool,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// They end within it.
    Short,
    /// They are wrong.
    Wrong(&'static str),
}

impl FrameHeader {
    /// Parses a header and verifies its checksum.
    pub(super) fn parse(head: &[u8]) -> Result<Self, HeaderError> {
        let rest = head.strip_prefix(&MAGIC).ok_or(HeaderError::Wrong("no frame begins here"))?;
        let &[flags, sizes, ..] = rest else { return Err(HeaderError::Short) };
        if flags >> 6 != 1 || flags & 0x02 != 0 || sizes & 0x8f != 0 {
            return Err(HeaderError::Wrong("the frame is of an unknown version"));
        }
        let block = match sizes >> 4 {
            code @ 4..=7 => 1 << (8 + 2 * code),
            _ => return Err(HeaderError::Wrong("the frame has an unknown block size")),
        };
        let content_bytes = if flags & 0x08 != 0 { 8 } else { 0 };
        let dictionary_bytes = if flags & 0x01 != 0 { 4 } else { 0 };
        let end = 2 + content_bytes + dictionary_bytes;
        let (fields, tail) = rest.split_at_checked(end).ok_or(HeaderError::Short)?;
        let checksum = tail.first().ok_or(HeaderError::Short)?;
        if XxHash32::oneshot(0, fields).to_le_bytes().get(1) != Some(checksum) {
            return Err(HeaderError::Wrong("the frame header does not match its checksum"));
        }
        let content =
            fields.get(2..).and_then(|fields| fields.first_chunk()).map(|eight| u64::from_le_bytes(*eight));
        Ok(Self {
            length: MAGIC.len() + end + 1,
            linked: flags & 0x20 == 0,
            block_checksums: flags & 0x10 != 0,
            content_checksum: flags & 0x04 != 0,
            block,
            content: content.filter(|_| content_bytes > 0),
            dictionary: dictionary_bytes > 0,
        })
    }
}
