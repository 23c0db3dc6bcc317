//! Buffers that direct I/O accepts.

use std::ops::{Deref, DerefMut};

use crate::disk::target::DIRECT_ALIGNMENT;

/// Memory of fixed length whose first byte lies on a 4096-byte boundary.
#[derive(Debug)]
pub struct AlignedBuffer {
    storage: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// `length` zero bytes.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let storage = vec![0; length + DIRECT_ALIGNMENT];
        // The storage never grows, so its address and with it the alignment stay.
        let start = storage.as_ptr().align_offset(DIRECT_ALIGNMENT).min(DIRECT_ALIGNMENT);
        Self { storage, start, length }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.length]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.length]
    }
}
