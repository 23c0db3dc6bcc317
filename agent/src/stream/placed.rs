//! Where decoded bytes belong, for formats that do not deliver a disk from its first byte to its last.

/// Bytes that were put into a buffer, and their place on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Byte of the disk that the first byte of the buffer belongs to.
    pub offset: u64,
    /// How many bytes of the buffer were filled.
    pub length: usize,
}
