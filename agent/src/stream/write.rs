//! The last stage: blocks to the disk, wherever they belong on it.

use std::{
    ops::Range,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::Instant,
};

use bessemer_proto::step::StageWork;
use tokio_util::sync::CancellationToken;

use super::{
    StreamError,
    held_back::HeldBack,
    pending_zeros::{self, PendingZeros},
    progress::{self, Meter},
    readback::Readback,
    work::StageClock,
    zeroing::Zeroing,
    zeros::{Run, runs},
};
use crate::{
    disk::{Target, buffer::Block, writer::Writer},
    steps::StepReport,
};

/// What the stages before send.
pub enum Filled {
    /// The image is what it was declared to be and fits: from here on the disk is written.
    Begin,
    /// Bytes of the image.
    Data {
        /// The bytes.
        block: Block,
        /// Their place on the disk.
        offset: u64,
    },
    /// Zeros of the image.
    Zeros(Range<u64>),
    /// The image is complete.
    End,
}

/// The body of the image is on the disk, durably; the boot area is not.
pub struct BodyWritten {
    /// What is left to write.
    pub held_back: HeldBack,
    /// When the first byte of the image went to the disk.
    pub started: Instant,
    /// Bytes that the device made zero.
    pub zeroed: u64,
    /// How bytes reached the device.
    pub method: &'static str,
    /// The accounts of this stage and of reading back.
    pub work: Vec<StageWork>,
    /// Bytes read back and compared.
    pub read_back: u64,
}

/// Zeros are made in pieces, so that the write can be cancelled: by a device that makes them itself, which begins while
/// more come, and by writing them.
const WRITTEN_ZEROS_AT_ONCE: u64 = 32 << 20;

/// Writes blocks as they come. The disk is not touched before [`Filled::Begin`].
pub fn write_body(
    filled: &Receiver<Filled>,
    target: &Arc<Target>,
    verify: bool,
    report: &Arc<dyn StepReport>,
    cancel: &CancellationToken,
) -> Result<BodyWritten, StreamError> {
    let Ok(Filled::Begin) = filled.recv() else { return Err(StreamError::Stopped) };
    let mut disk = DiskWrites::begin(target.clone(), verify, report.clone(), cancel)?;
    loop {
        if cancel.is_cancelled() {
            return Err(StreamError::Cancelled);
        }
        match disk.next(filled)? {
            Filled::Data { block, offset } => disk.data(block, offset)?,
            Filled::Zeros(range) => disk.zeros(range)?,
            Filled::End => return disk.finish(),
            Filled::Begin => return Err(StreamError::Stopped),
        }
    }
}

struct DiskWrites {
    target: Arc<Target>,
    held_back: HeldBack,
    writer: Writer,
    readback: Option<Readback>,
    zeros: PendingZeros,
    /// Once there are some.
    zeroing: Option<Zeroing>,
    started: Option<Instant>,
    zeroed: u64,
    clock: StageClock,
    report: Arc<dyn StepReport>,
    cancel: CancellationToken,
}

impl DiskWrites {
    fn begin(
        target: Arc<Target>,
        verify: bool,
        report: Arc<dyn StepReport>,
        cancel: &CancellationToken,
    ) -> Result<Self, StreamError> {
        Ok(Self {
            report,
            cancel: cancel.clone(),
            held_back: HeldBack::clear(&target)?,
            writer: Writer::new(target.clone(), verify),
            readback: verify.then(|| Readback::start(target.clone(), cancel.clone())).transpose()?,
            target,
            zeros: PendingZeros::default(),
            zeroing: None,
            started: None,
            zeroed: 0,
            clock: StageClock::new("write"),
        })
    }

    /// What comes next. While nothing comes, writes are finished: the stages before may wait for their buffers.
    fn next(&mut self, filled: &Receiver<Filled>) -> Result<Filled, StreamError> {
        loop {
            match filled.try_recv() {
                Ok(next) => return Ok(next),
                Err(TryRecvError::Disconnected) => return Err(StreamError::Stopped),
                Err(TryRecvError::Empty) if self.writer.is_busy() => {
                    self.writer.finish_one()?;
                    self.hand_over()?;
                }
                Err(TryRecvError::Empty) => {
                    return self.clock.wait(|| filled.recv()).map_err(|_| StreamError::Stopped);
                }
            }
        }
    }

    fn data(&mut self, block: Block, offset: u64) -> Result<(), StreamError> {
        self.started.get_or_insert_with(Instant::now);
        let length = block.as_ref().len();
        self.clock.bytes += length as u64;
        // A range that is fetched again replaces zeros that are still to be made.
        let place = offset..offset + length as u64;
        for zeros in self.zeros.overlapping(&place) {
            self.make_zero(zeros)?;
        }
        if let Some(zeroing) = &mut self.zeroing {
            zeroing.finish_overlapping(&place)?;
        }
        let body = self.held_back.keep(block.as_ref(), offset);
        let block = Arc::new(block);
        let bytes = block.as_ref().as_ref().get(body.clone()).unwrap_or_default();
        let runs = if self.target.makes_zeros() { runs(bytes) } else { vec![Run::Data(0..bytes.len())] };
        for run in runs {
            match run {
                Run::Data(place) if place.is_empty() => {}
                Run::Data(place) => {
                    let place = body.start + place.start..body.start + place.end;
                    let to = offset + place.start as u64;
                    self.writer.write(&block, place, to)?;
                }
                Run::Zeros(place) => {
                    let start = offset + (body.start + place.start) as u64;
                    self.zeros(start..start + place.len() as u64)?;
                }
            }
        }
        self.hand_over()
    }

    /// Collects neighbouring ranges: one command makes them zero.
    fn zeros(&mut self, range: Range<u64>) -> Result<(), StreamError> {
        for zeros in self.zeros.add(range) {
            self.make_zero(zeros)?;
        }
        Ok(())
    }

    fn make_zero(&mut self, range: Range<u64>) -> Result<(), StreamError> {
        let range = self.held_back.outside(range);
        if range.is_empty() {
            return Ok(());
        }
        // And zeros of a range that is fetched again replace what is still being written.
        self.writer.finish_overlapping(&range)?;
        if !self.target.makes_zeros() {
            return self.write_zeros(range);
        }
        let zeroing = match &mut self.zeroing {
            Some(zeroing) => zeroing,
            none => {
                let keep_zero = self.readback.is_some();
                none.insert(Zeroing::start(
                    self.target.clone(),
                    keep_zero,
                    self.report.clone(),
                    &self.cancel,
                )?)
            }
        };
        for piece in pieces(range, pending_zeros::AT_ONCE) {
            zeroing.begin(piece)?;
        }
        Ok(())
    }

    /// Not beside other writes: on a disk that turns they would only be in each other's way.
    fn write_zeros(&mut self, range: Range<u64>) -> Result<(), StreamError> {
        let meter = Meter::new(progress::ZEROING, range.end - range.start, self.report.clone());
        let is_long = range.end - range.start > WRITTEN_ZEROS_AT_ONCE;
        for piece in pieces(range.clone(), WRITTEN_ZEROS_AT_ONCE) {
            if self.cancel.is_cancelled() {
                return Err(StreamError::Cancelled);
            }
            let length = piece.end - piece.start;
            if self.target.zero(piece)? {
                self.zeroed += length;
            }
            if is_long {
                meter.add(length);
            }
        }
        match &mut self.readback {
            Some(readback) => readback.zeros(range),
            None => Ok(()),
        }
    }

    /// Gives what is on the disk to those who read it back.
    fn hand_over(&mut self) -> Result<(), StreamError> {
        let Some(readback) = &mut self.readback else { return Ok(()) };
        for write in self.writer.take_finished() {
            self.clock.wait(|| readback.data(write))?;
        }
        for range in self.zeroing.as_mut().map(Zeroing::take_zero).unwrap_or_default() {
            self.clock.wait(|| readback.zeros(range))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<BodyWritten, StreamError> {
        for zeros in self.zeros.take() {
            self.make_zero(zeros)?;
        }
        self.writer.drain()?;
        if let Some(zeroing) = &mut self.zeroing {
            self.zeroed += zeroing.finish()?;
        }
        self.target.flush()?;
        self.hand_over()?;
        let mut work = vec![self.clock.finish()];
        let mut read_back = 0;
        if let Some(readback) = self.readback {
            let account = readback.finish()?;
            read_back = account.bytes;
            work.push(account);
        }
        Ok(BodyWritten {
            held_back: self.held_back,
            started: self.started.unwrap_or_else(Instant::now),
            zeroed: self.zeroed,
            method: self.writer.method(),
            work,
            read_back,
        })
    }
}

fn pieces(range: Range<u64>, at_once: u64) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    let mut start = range.start;
    std::iter::from_fn(move || {
        let piece = start..end.min(start + at_once);
        start = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Compares what the disk holds with what the boot area must be, after its release.
pub fn compare_boot_area(areas: &[(u64, &[u8]); 2], target: &Target) -> Result<u64, StreamError> {
    let mut compared = 0;
    for (offset, bytes) in areas {
        super::readback::compare(target, *offset, bytes)?;
        compared += bytes.len() as u64;
    }
    Ok(compared)
}
