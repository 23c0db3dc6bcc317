//! Writes under way in an io_uring (io_uring(7)). The queue owns the memory of each write until the kernel is done
//! with it.

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use io_uring::{IoUring, opcode, types::Fd};

use crate::disk::buffer::Block;

/// A write: which bytes of a block go where.
#[derive(Clone, Debug)]
pub struct Write {
    /// Holds the bytes. A block in an `Arc` neither moves nor changes.
    pub block: Arc<Block>,
    /// Which of its bytes.
    pub bytes: Range<usize>,
    /// Where on the device.
    pub offset: u64,
}

/// Before the kernel is asked again.
const PAUSE: Duration = Duration::from_millis(1);

/// Writes that the kernel has not finished.
pub struct WriteQueue {
    ring: IoUring,
    file: OwnedFd,
    slots: Vec<Option<Slot>>,
}

/// A write and how much of it is done.
struct Slot {
    write: Write,
    done: usize,
}

impl WriteQueue {
    /// A queue for at most `depth` writes to `file`; an error where the kernel has no io_uring.
    pub fn new(file: &File, depth: u32) -> io::Result<Self> {
        let ring = IoUring::new(depth.max(1))?;
        let slots = (0..depth.max(1)).map(|_| None).collect();
        Ok(Self { ring, file: file.try_clone()?.into(), slots })
    }

    /// The writes that are under way.
    pub fn under_way(&self) -> impl Iterator<Item = &Write> {
        self.slots.iter().flatten().map(|slot| &slot.write)
    }

    /// True when one must finish before another can begin.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.slots.iter().all(Option::is_some)
    }

    /// Begins a write; the queue must not be full.
    pub fn begin(&mut self, write: Write) -> io::Result<()> {
        let free = self.slots.iter().position(Option::is_none);
        let free = free.ok_or_else(|| io::Error::from(io::ErrorKind::WouldBlock))?;
        self.submit(free, Slot { write, done: 0 })
    }

    /// Begins what is left of a write.
    fn submit(&mut self, number: usize, slot: Slot) -> io::Result<()> {
        let Slot { write, done } = &slot;
        let bytes = write.block.as_ref().as_ref().get(write.bytes.start + done..write.bytes.end);
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let entry = opcode::Write::new(Fd(self.file.as_raw_fd()), bytes.as_ptr(), length)
            .offset(write.offset + *done as u64)
            .build()
            .user_data(number as u64);
        let Some(place) = self.slots.get_mut(number) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        *place = Some(slot);
        // SAFETY: the bytes are in the heap buffer of a block that the slot keeps alive and unchanged until the
        // completion of this entry is taken; the descriptor is owned by the queue, which waits for all completions
        // before it goes.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            *place = None;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.ring.submit() {
            Ok(_) => Ok(()),
            // The entry stays in the ring and goes out with the next call.
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until a write is finished and hands it back with its result; `None` when none is under way. The rest of
    /// a short write is begun again.
    pub fn finish_one(&mut self) -> io::Result<Option<(Write, io::Result<()>)>> {
        while self.under_way().next().is_some() {
            let Some((number, result)) = self.completion()? else { continue };
            let Some(slot) = self.slots.get_mut(number).and_then(Option::take) else { continue };
            let done = match usize::try_from(result) {
                Err(_) => return Ok(Some((slot.write, Err(io::Error::from_raw_os_error(-result))))),
                Ok(count) => slot.done + count,
            };
            if done >= slot.write.bytes.len() {
                return Ok(Some((slot.write, Ok(()))));
            }
            if done == slot.done {
                return Ok(Some((slot.write, Err(io::ErrorKind::WriteZero.into()))));
            }
            self.submit(number, Slot { done, ..slot })?;
        }
        Ok(None)
    }

    /// The next completion: slot and result.
    fn completion(&mut self) -> io::Result<Option<(usize, i32)>> {
        if self.ring.completion().is_empty() {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if is_passing(&error) => {
                    std::thread::sleep(PAUSE);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let entry = self.ring.completion().next();
        Ok(entry.and_then(|entry| Some((usize::try_from(entry.user_data()).ok()?, entry.result()))))
    }
}

/// Interrupted, or no memory for the request just now (io_uring_enter(2), EAGAIN and EBUSY).
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, ResourceBusy, WouldBlock};
    matches!(error.kind(), Interrupted | ResourceBusy | WouldBlock)
}

impl Drop for WriteQueue {
    fn drop(&mut self) {
        while self.under_way().next().is_some() {
            if self.finish_one().is_err() {
                // The kernel may still read the memory: it must never be used for anything else.
                for slot in &mut self.slots {
                    std::mem::forget(slot.take());
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
