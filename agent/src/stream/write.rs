//! The last stage: filled buffers to the disk.

use std::{
    sync::mpsc::{Receiver, SyncSender},
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use super::{StreamError, buffer::AlignedBuffer, held_back::HeldBack};
use crate::disk::Target;

/// What the decoding stage sends.
pub enum Filled {
    /// The image is what it was declared to be and fits: from here on the disk is written.
    Begin,
    /// Bytes of the image.
    Data {
        /// The first `length` bytes of it count.
        buffer: AlignedBuffer,
        /// Bytes that count.
        length: usize,
        /// Their place on the disk.
        offset: u64,
    },
    /// The image is complete.
    End,
}

/// The body of the image is on the disk, durably; the boot area is not.
pub struct BodyWritten {
    /// What is left to write.
    pub held_back: HeldBack,
    /// When the first byte of the image went to the disk.
    pub started: Instant,
}

/// Writes buffers as they come. The disk is not touched before [`Filled::Begin`].
pub fn write_body(
    filled: &Receiver<Filled>,
    emptied: &SyncSender<AlignedBuffer>,
    target: &Target,
    cancel: &CancellationToken,
) -> Result<BodyWritten, StreamError> {
    let Ok(Filled::Begin) = filled.recv() else { return Err(StreamError::Stopped) };
    let mut held_back = HeldBack::clear(target)?;
    let mut started = None;
    loop {
        if cancel.is_cancelled() {
            return Err(StreamError::Cancelled);
        }
        match filled.recv() {
            Ok(Filled::Data { buffer, length, offset }) => {
                started.get_or_insert_with(Instant::now);
                held_back.write(buffer.get(..length).unwrap_or(&buffer), offset, target)?;
                // The decoder is gone after the last buffer; the queue holds all buffers there are.
                let _ = emptied.try_send(buffer);
            }
            Ok(Filled::End) => {
                target.flush()?;
                return Ok(BodyWritten { held_back, started: started.ok_or(StreamError::Empty)? });
            }
            Ok(Filled::Begin) | Err(_) => return Err(StreamError::Stopped),
        }
    }
}
