//! Buffers that direct I/O accepts, in rings that bound what a write may hold in memory.

use std::ops::{Deref, DerefMut};

use tokio::sync::mpsc;

use super::target::DIRECT_ALIGNMENT;

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

/// A fixed number of buffers that go round: who wants one waits until one is dropped.
#[derive(Debug)]
pub struct Ring {
    free: mpsc::Receiver<AlignedBuffer>,
    home: mpsc::Sender<AlignedBuffer>,
    unmade: usize,
    size: usize,
}

impl Ring {
    /// `count` buffers of `size` bytes, made when they are first wanted.
    #[must_use]
    pub fn new(count: usize, size: usize) -> Self {
        let (home, free) = mpsc::channel(count.max(1));
        Self { free, home, unmade: count.max(1), size }
    }

    /// An empty block, as soon as there is a buffer.
    pub async fn take(&mut self) -> Block {
        match self.ready() {
            Some(block) => block,
            None => {
                let buffer = self.free.recv().await;
                self.block(buffer)
            }
        }
    }

    /// The same for threads.
    pub fn blocking_take(&mut self) -> Block {
        match self.ready() {
            Some(block) => block,
            None => {
                let buffer = self.free.blocking_recv();
                self.block(buffer)
            }
        }
    }

    fn ready(&mut self) -> Option<Block> {
        if let Ok(buffer) = self.free.try_recv() {
            return Some(self.block(Some(buffer)));
        }
        self.unmade = self.unmade.checked_sub(1)?;
        Some(self.block(None))
    }

    fn block(&self, buffer: Option<AlignedBuffer>) -> Block {
        let buffer = buffer.unwrap_or_else(|| AlignedBuffer::new(self.size));
        Block { buffer: Some(buffer), length: 0, home: self.home.clone() }
    }
}

/// A buffer of a ring and how much of it counts. It goes back when it is dropped.
#[derive(Debug)]
pub struct Block {
    /// There until the drop.
    buffer: Option<AlignedBuffer>,
    length: usize,
    home: mpsc::Sender<AlignedBuffer>,
}

impl Block {
    /// The whole buffer.
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.as_deref_mut().unwrap_or_default()
    }

    /// Lets the first `length` bytes count.
    pub fn set_length(&mut self, length: usize) {
        self.length = length;
    }

    /// Copies as much of `bytes` as there is room for behind what counts; returns how much.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let start = self.length;
        let Some(room) = self.space().get_mut(start..) else { return 0 };
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.length += count;
        count
    }

    /// True when nothing more goes in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffer.as_ref().is_none_or(|buffer| self.length >= buffer.len())
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_deref().and_then(|buffer| buffer.get(..self.length)).unwrap_or_default()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // There is room for every buffer of the ring; without the ring it is not needed any more.
            let _ = self.home.try_send(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_so_many_buffers_and_gets_them_back() {
        let mut ring = Ring::new(2, 8192);
        let (mut first, second) = (ring.blocking_take(), ring.blocking_take());
        assert!(ring.ready().is_none());
        assert_eq!((first.append(&[7; 5000]), first.append(&[8; 5000])), (5000, 3192));
        assert!(first.is_full() && first.as_ref()[8191] == 8);
        drop(second);
        let again = ring.blocking_take();
        assert!(again.as_ref().is_empty() && ring.ready().is_none());
        assert_eq!(first.as_ref().as_ptr().align_offset(DIRECT_ALIGNMENT), 0);
        drop(ring);
        assert_eq!(first.as_ref().len(), 8192);
    }
}
