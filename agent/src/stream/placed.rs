//! Where decoded bytes belong, for formats that do not deliver a disk from its first byte to its last.

use super::StreamError;
use crate::disk::buffer::Block;

/// Bytes that were put into a buffer, and their place on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Byte of the disk that the first byte of the buffer belongs to.
    pub offset: u64,
    /// How many bytes of the buffer were filled.
    pub length: usize,
}

/// Takes content in any order, from several threads.
pub(super) trait Scatter: Sync {
    /// An empty buffer, as soon as there is one. There are more than threads.
    fn buffer(&self) -> Block;

    /// Refuses an image of at least `content` bytes when there is no room for it.
    fn fits(&self, content: u64) -> Result<(), StreamError>;

    /// Takes a buffer for its place. The first one is the image's beginning.
    fn put(&self, block: Block, offset: u64) -> Result<(), StreamError>;

    /// Something failed: whoever waits for the source need not.
    fn stop(&self);
}
