//! The header of a Zstandard frame (RFC 8878, 3.1.1.1).

/// The window that a frame may ask for. The whole agent stays within 64 MiB while it unpacks, so this is a quarter of
/// what `zstd --long` uses, and four times what `zstd -19` does.
pub(super) const LARGEST_WINDOW: u64 = 1 << LARGEST_WINDOW_LOG;
pub(super) const LARGEST_WINDOW_LOG: u32 = 25;

/// What a frame starts with.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A frame header has no more bytes than this.
pub(super) const LONGEST_HEADER: usize = 18;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of the header.
    pub(super) length: usize,
    /// Bytes of history that unpacking needs.
    pub(super) window: u64,
    /// Length of the content, when it is given.
    pub(super) content: Option<u64>,
    /// Whether a dictionary is needed.
    pub(super) dictionary: bool,
    /// Whether a checksum follows the last block.
    pub(super) checksum: bool,
}

impl FrameHeader {
    /// Parses a header; `None` when the bytes are no header or end within it.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let rest = head.strip_prefix(&MAGIC)?;
        let (&descriptor, mut rest) = rest.split_first()?;
        if descriptor & 0x08 != 0 {
            return None;
        }
        let single_segment = descriptor & 0x20 != 0;
        let mut window = None;
        if !single_segment {
            let (&byte, tail) = rest.split_first()?;
            let base = 1_u64 << (10 + (byte >> 3));
            window = Some(base + base / 8 * u64::from(byte & 7));
            rest = tail;
        }
        let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let (dictionary, tail) = rest.split_at_checked(dictionary_bytes)?;
        let content_bytes = match descriptor >> 6 {
            0 => usize::from(single_segment),
            1 => 2,
            2 => 4,
            _ => 8,
        };
        let mut content = [0; 8];
        content.get_mut(..content_bytes)?.copy_from_slice(tail.get(..content_bytes)?);
        let offset = if content_bytes == 2 { 256 } else { 0 };
        let content = (content_bytes > 0).then(|| u64::from_le_bytes(content).saturating_add(offset));
        Some(Self {
            length: head.len() - tail.len() + content_bytes,
            window: window.or(content)?,
            content,
            dictionary: dictionary.iter().any(|byte| *byte != 0),
            checksum: descriptor & 0x04 != 0,
        })
    }
}
