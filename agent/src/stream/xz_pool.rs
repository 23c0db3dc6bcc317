//! The threads that unpack blocks of .xz streams. Each has a decoder of the library, which it feeds with the stream's
//! header and then with blocks: the decoder verifies their checks and declared sizes.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender},
    },
    time::Duration,
};

use liblzma::stream::Stream;

use super::{
    StreamError,
    placed::Scatter,
    unpack::Failure,
    work::StageClock,
    xz_header::StreamHeader,
    xz_streams::{decoder_within, run},
};
use crate::disk::buffer::Block;

/// What stands around a decoder's dictionary.
const BESIDE_DICTIONARY: u64 = 1 << 20;

/// A block to unpack.
pub(super) struct Job {
    /// Its number in the image.
    pub(super) number: u64,
    /// Where its content belongs.
    pub(super) offset: u64,
    /// Length of its content.
    pub(super) content: u64,
    /// Whether its dictionary is small: there is another decoder for those.
    pub(super) small: bool,
    /// The block as it comes.
    pub(super) packed: Receiver<Piece>,
    /// Told when the first of its content was put out.
    pub(super) begun: Option<Sender<()>>,
}

/// Part of a packed block.
pub(super) enum Piece {
    Packed(Block),
    /// That was all.
    End,
    /// The image ends here.
    Cut,
}

/// Why unpacking failed, and where.
pub(super) struct Failed {
    /// Number of the block.
    pub(super) number: u64,
    /// Bytes of the content before that.
    pub(super) at: u64,
    pub(super) failure: Failure,
}

impl Failed {
    /// The least is the one that counts: what only follows from others comes last, then the order of the blocks decides.
    fn rank(&self) -> (bool, u64) {
        (self.follows(), self.number)
    }

    fn follows(&self) -> bool {
        matches!(self.failure, Failure::Stream(StreamError::Stopped | StreamError::Cancelled))
    }
}

/// What the threads share.
pub(super) struct Shared<'a, O> {
    pub(super) out: &'a O,
    pub(super) header: StreamHeader,
    /// What one decoder may take.
    memory: u64,
    /// This block and those after it need not be unpacked any more.
    end: AtomicU64,
    failed: Mutex<Option<Failed>>,
}

impl<'a, O: Scatter> Shared<'a, O> {
    pub(super) fn new(out: &'a O, header: StreamHeader, dictionary: u64) -> Self {
        let memory = dictionary + BESIDE_DICTIONARY;
        Self { out, header, memory, end: AtomicU64::new(u64::MAX), failed: Mutex::new(None) }
    }

    /// What went wrong first, in the order of the blocks.
    pub(super) fn failed(&self) -> Option<Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// No block need be unpacked any more.
    pub(super) fn give_up(&self) {
        self.end.store(0, Ordering::Relaxed);
    }

    /// Something is wrong with a block, or with what follows those before it. When it is the image, earlier blocks are
    /// unpacked as far as their content is still taken: they may have errors that come first.
    pub(super) fn fail(&self, new: Failed) {
        match &new.failure {
            Failure::Stream(_) if new.follows() => {}
            Failure::Stream(_) => self.give_up(),
            _ => {
                self.end.fetch_min(new.number, Ordering::Relaxed);
            }
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.as_ref().is_none_or(|other| new.rank() < other.rank()) {
            *failed = Some(new);
        }
    }

    fn is_over(&self, number: u64) -> bool {
        number >= self.end.load(Ordering::Relaxed)
    }

    /// Unpacks blocks until no more come; says how long it waited.
    pub(super) fn work(&self, jobs: &Mutex<Receiver<Job>>) -> Duration {
        let _watch = Watch(self);
        let mut clock = StageClock::new("decode");
        let (mut usual, mut small) = (None, None);
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        while let Ok(job) = clock.wait(next) {
            let (number, at, left) = (job.number, job.offset, job.content);
            let (clock, begun) = (&mut clock, job.begun);
            let decoder = if job.small { &mut small } else { &mut usual };
            let mut content = Content { shared: self, clock, buffer: None, filled: 0, at, left, begun };
            if let Err(failure) = content.unpack(number, &job.packed, decoder) {
                let at = content.at;
                *decoder = None;
                self.fail(Failed { number, at, failure });
                self.out.stop();
            }
        }
        clock.waited()
    }
}

/// Says so when its thread panics.
struct Watch<'a, 'b, O: Scatter>(&'a Shared<'b, O>);

impl<O: Scatter> Drop for Watch<'_, '_, O> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Failed { number: 0, at: 0, failure: StreamError::Died("decode").into() });
            self.0.out.stop();
        }
    }
}

/// The content of one block.
struct Content<'a, 'b, O> {
    shared: &'a Shared<'b, O>,
    clock: &'a mut StageClock,
    buffer: Option<Block>,
    /// Bytes in the buffer.
    filled: usize,
    /// Where the buffer belongs.
    at: u64,
    /// Bytes of the content that are not put out.
    left: u64,
    begun: Option<Sender<()>>,
}

impl<O: Scatter> Content<'_, '_, O> {
    fn unpack(
        &mut self,
        number: u64,
        packed: &Receiver<Piece>,
        decoder: &mut Option<Stream>,
    ) -> Result<(), Failure> {
        let decoder = match decoder {
            Some(decoder) => decoder,
            none => none.insert(decoder_within(self.shared.header, self.shared.memory)?),
        };
        loop {
            if self.shared.is_over(number) {
                return Err(StreamError::Stopped.into());
            }
            match self.clock.wait(|| packed.recv()) {
                Ok(Piece::Packed(piece)) => self.feed(decoder, piece.as_ref(), number)?,
                Ok(Piece::End) => break,
                Ok(Piece::Cut) => return Err(Failure::Truncated),
                Err(_) => return Err(StreamError::Stopped.into()),
            }
        }
        if self.filled > 0 {
            self.put()?;
        }
        // Every byte of the block, its check included, was taken, and nothing was wrong with it.
        if self.left > 0 { Err(Failure::corrupt("a block ends in its middle")) } else { Ok(()) }
    }

    /// Unpacks all of `input`.
    fn feed(&mut self, decoder: &mut Stream, mut input: &[u8], number: u64) -> Result<(), Failure> {
        loop {
            let buffer = match &mut self.buffer {
                Some(buffer) => buffer,
                none => none.insert(self.clock.wait(|| self.shared.out.buffer())),
            };
            let room = buffer.space().get_mut(self.filled..).unwrap_or_default();
            let length = room.len();
            let ran = run(decoder, input, room)?;
            input = input.get(ran.read..).unwrap_or_default();
            self.filled += ran.written;
            if ran.written == length {
                self.put()?;
                if self.shared.is_over(number) {
                    return Err(StreamError::Stopped.into());
                }
            } else if input.is_empty() {
                return Ok(());
            } else if ran.read + ran.written == 0 || ran.ended {
                return Err(Failure::corrupt("the decoder makes no progress"));
            }
        }
    }

    fn put(&mut self) -> Result<(), Failure> {
        let Some(mut buffer) = self.buffer.take() else { return Ok(()) };
        let length = std::mem::take(&mut self.filled);
        let more = || Failure::corrupt("a block has more content than its header says");
        self.left = self.left.checked_sub(length as u64).ok_or_else(more)?;
        buffer.set_length(length);
        let (out, at) = (self.shared.out, self.at);
        self.clock.wait(|| out.put(buffer, at))?;
        self.at += length as u64;
        if let Some(begun) = self.begun.take() {
            // Without one who waits the write has failed.
            begun.send(()).ok();
        }
        Ok(())
    }
}
