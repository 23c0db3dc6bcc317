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

/// A single chunk.
pub struct One(Option<Bytes>);

impl One {
    /// A copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(Some(Bytes::copy_from_slice(bytes)))
    }
}

impl Chunks for One {
    fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        Ok(self.0.take())
    }
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
        while self.current.is_empty() && length > 0 && !self.complete {
            self.pull()?;
        }
        if self.current.len() < length && !self.complete {
            self.join(length)?;
        }
        Ok(self.current.get(..length).unwrap_or(&self.current))
    }

    /// Copies what comes until there is enough, each byte once.
    fn join(&mut self, length: usize) -> Result<(), StreamError> {
        let mut joined = BytesMut::with_capacity(length);
        joined.extend_from_slice(&self.current);
        let pulled = loop {
            if joined.len() >= length || self.complete {
                break Ok(());
            }
            match self.pull() {
                Ok(()) => joined.extend_from_slice(&self.current),
                Err(error) => break Err(error),
            }
        };
        self.current = joined.freeze();
        pulled
    }

    /// Replaces the current chunk by the next, or by nothing at the end.
    fn pull(&mut self) -> Result<(), StreamError> {
        match self.source.next()? {
            Some(chunk) => self.current = chunk,
            None => {
                self.current = Bytes::new();
                self.complete = true;
            }
        }
        Ok(())
    }

    /// What can be read at once, at least one byte; nothing at the end of the stream.
    pub fn available(&mut self) -> Result<&[u8], StreamError> {
        self.peek(1)?;
        Ok(&self.current)
    }

    /// Fills `buffer`; less only at the end of the stream.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let available = self.available()?;
            let count = available.len().min(rest.len());
            let (Some(into), Some(from)) = (rest.get_mut(..count), available.get(..count)) else { break };
            if count == 0 {
                break;
            }
            into.copy_from_slice(from);
            self.consume(count);
            filled += count;
        }
        Ok(filled)
    }

    /// Takes up to `length` bytes away; how many it were. Fewer than asked for says nothing, none is the end.
    pub fn skip(&mut self, length: u64) -> Result<u64, StreamError> {
        let available = self.available()?.len();
        let count = usize::try_from(length).unwrap_or(usize::MAX).min(available);
        self.consume(count);
        Ok(count as u64)
    }

    /// Takes `length` bytes away that were looked at.
    pub fn skip_all(&mut self, length: u64) -> Result<(), StreamError> {
        let mut left = length;
        while left > 0 {
            match self.skip(left)? {
                0 => break,
                count => left -= count,
            }
        }
        Ok(())
    }

    /// Puts bytes back: they are read next.
    pub fn unread(&mut self, bytes: &[u8]) {
        let mut joined = BytesMut::with_capacity(bytes.len() + self.current.len());
        joined.extend_from_slice(bytes);
        joined.extend_from_slice(&self.current);
        self.current = joined.freeze();
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

    #[test]
    fn what_is_put_back_is_read_again() {
        let mut reader = ChunkReader::new(Pieces::new(b"abcdef", &[1, 0, 2, 1]));
        let mut taken = [0; 3];
        assert_eq!(reader.fill(&mut taken).unwrap(), 3);
        reader.unread(&taken);
        assert_eq!(reader.skip(1).unwrap(), 1);
        let mut rest = [0; 9];
        assert_eq!(reader.fill(&mut rest).unwrap(), 5);
        assert_eq!(&rest[..5], b"bcdef");
        assert_eq!((reader.skip(1).unwrap(), reader.available().unwrap()), (0, &b""[..]));
    }

    #[test]
    fn a_source_that_fails_while_peeking_loses_nothing_and_never_completes() {
        let mut reader = ChunkReader::new(Pieces { cut_off: true, ..Pieces::new(b"abc", &[1, 1]) });
        assert!(matches!(reader.peek(9), Err(StreamError::Stopped)));
        assert_eq!(reader.peek(3).unwrap(), b"abc");
        assert!(matches!(reader.peek(4), Err(StreamError::Stopped)));
    }
}
