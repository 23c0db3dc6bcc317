//! How bytes travel between stages: owned chunks, pulled.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::StreamError;
use crate::disk::buffer::Block;

/// A source of byte chunks. After `Ok(None)` the stream is complete; after an error it never becomes so.
pub trait Chunks {
    /// The next chunk, of any length; `None` at the end.
    fn next(&mut self) -> Result<Option<Bytes>, StreamError>;
}

/// A source of blocks, as they travel between stages. After `Ok(None)` the stream is complete; after an error it never
/// becomes so.
pub trait Blocks {
    /// The next block; `None` at the end.
    fn next_block(&mut self) -> Result<Option<Block>, StreamError>;
}

/// Blocks for those who want chunks.
pub struct BlockChunks<B>(pub B);

impl<B: Blocks> Chunks for BlockChunks<B> {
    fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        Ok(self.0.next_block()?.map(Bytes::from_owner))
    }
}

/// What travels in a queue between stages: a block, or the word that the stream is complete. A queue that closes
/// without that word was cut off.
pub type Item = Option<Block>;

/// Blocks from a queue.
pub struct QueueSource {
    queue: mpsc::Receiver<Item>,
    complete: bool,
    cancel: CancellationToken,
}

impl QueueSource {
    /// Reads `queue` until it is complete or `cancel` fires.
    #[must_use]
    pub fn new(queue: mpsc::Receiver<Item>, cancel: CancellationToken) -> Self {
        Self { queue, complete: false, cancel }
    }
}

impl Blocks for QueueSource {
    fn next_block(&mut self) -> Result<Option<Block>, StreamError> {
        if self.complete {
            return Ok(None);
        }
        if self.cancel.is_cancelled() {
            return Err(StreamError::Cancelled);
        }
        match self.queue.blocking_recv() {
            Some(Some(block)) => Ok(Some(block)),
            Some(None) => {
                self.complete = true;
                Ok(None)
            }
            None => Err(StreamError::Stopped),
        }
    }
}

/// Reads chunks as a byte stream, with a look ahead.
pub struct ChunkReader<S> {
    source: S,
    current: Bytes,
    complete: bool,
    /// Kept for the stage; the [`BufRead`] interface can only carry that there was one.
    error: Option<StreamError>,
}

impl<S: Chunks> ChunkReader<S> {
    /// Reads `source`.
    pub fn new(source: S) -> Self {
        Self { source, current: Bytes::new(), complete: false, error: None }
    }

    /// The next bytes without taking them: `length`, fewer only at the end of the stream.
    pub fn peek(&mut self, length: usize) -> Result<&[u8], StreamError> {
        while self.current.len() < length && !self.complete {
            match self.source.next()? {
                Some(chunk) if self.current.is_empty() => self.current = chunk,
                Some(chunk) => {
                    let mut joined = BytesMut::with_capacity(self.current.len() + chunk.len());
                    joined.extend_from_slice(&self.current);
                    joined.extend_from_slice(&chunk);
                    self.current = joined.freeze();
                }
                None => self.complete = true,
            }
        }
        Ok(self.current.get(..length).unwrap_or(&self.current))
    }

    /// The source's error behind an I/O error that a decoder passed on.
    pub fn take_error(&mut self) -> Option<StreamError> {
        self.error.take()
    }
}

impl<S: Chunks> BufRead for ChunkReader<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Err(error) = self.peek(1) {
            self.error = Some(error);
            return Err(io::Error::other("the source of the stream failed"));
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount);
    }
}

impl<S: Chunks> Read for ChunkReader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        let (Some(into), Some(from)) = (buffer.get_mut(..count), available.get(..count)) else {
            return Ok(0);
        };
        into.copy_from_slice(from);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Chunks from memory, cut at the given lengths; then an error if `cut_off`.
    pub(crate) struct Pieces {
        pub(crate) rest: Bytes,
        pub(crate) lengths: Vec<usize>,
        pub(crate) cut_off: bool,
    }

    impl Pieces {
        pub(crate) fn new(bytes: &[u8], lengths: &[usize]) -> Self {
            let mut lengths = lengths.to_vec();
            lengths.reverse();
            Self { rest: Bytes::copy_from_slice(bytes), lengths, cut_off: false }
        }
    }

    impl Chunks for Pieces {
        fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
            if self.rest.is_empty() {
                return if self.cut_off { Err(StreamError::Stopped) } else { Ok(None) };
            }
            let length = self.lengths.pop().unwrap_or(usize::MAX).min(self.rest.len());
            Ok(Some(self.rest.split_to(length)))
        }
    }

    impl Blocks for Pieces {
        fn next_block(&mut self) -> Result<Option<Block>, StreamError> {
            let Some(chunk) = self.next()? else { return Ok(None) };
            let mut block = crate::disk::buffer::Ring::new(1, chunk.len()).blocking_take();
            block.append(&chunk);
            Ok(Some(block))
        }
    }

    #[test]
    fn a_queue_that_closes_without_the_end_was_cut_off() {
        let (sender, receiver) = mpsc::channel::<Item>(4);
        let mut block = crate::disk::buffer::Ring::new(1, 4096).blocking_take();
        block.append(b"abc");
        sender.try_send(Some(block)).unwrap();
        drop(sender);
        let mut source = QueueSource::new(receiver, CancellationToken::new());
        assert_eq!(source.next_block().unwrap().unwrap().as_ref(), b"abc");
        assert!(matches!(source.next_block(), Err(StreamError::Stopped)));
        assert!(matches!(source.next_block(), Err(StreamError::Stopped)));
    }

    #[test]
    fn peeking_joins_small_chunks_and_takes_nothing() {
        let mut reader = ChunkReader::new(Pieces::new(b"abcdef", &[1, 0, 2, 1]));
        assert_eq!(reader.peek(4).unwrap(), b"abcd");
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcdef");
        assert_eq!(reader.peek(4).unwrap(), b"");
    }
}
