//! Skippable frames, which Zstandard (RFC 8878, 3.1.2) and LZ4 share: a magic number, a length, bytes to ignore.

/// The lowest four bits are free.
const MAGIC: u32 = 0x184d_2a50;
/// Magic number and length.
const HEADER: u64 = 8;

/// Length of the whole skippable frame that starts here, if one does.
pub(super) fn length(head: &[u8]) -> Option<u64> {
    let (magic, rest) = head.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*magic) & 0xffff_fff0 != MAGIC {
        return None;
    }
    let (length, _) = rest.split_first_chunk::<4>()?;
    Some(HEADER + u64::from(u32::from_le_bytes(*length)))
}
