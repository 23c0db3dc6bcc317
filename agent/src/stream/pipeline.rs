//! Puts the stages together: fetch (task) → digest → decode → write, each on a thread of its own, bounded queues
//! between them. Peak memory is what the queues hold, whatever the size of the image.

use std::{
    sync::{Arc, atomic::Ordering, mpsc::sync_channel},
    time::Instant,
};

use bessemer_proto::{
    digest::Digest,
    step::{ImageFormat, StageWork, WriteWork},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{
    StreamError,
    chunks::{Blocks, Item, QueueSource},
    digest::{Digesting, Verified},
    fetch::{
        Body, Object,
        in_order::{self, Sink},
    },
    held_back::HeldBack,
    place::{self, Decoded},
    progress::{self, Progress},
    work::{self, StageClock},
    write::{BodyWritten, Filled, compare_boot_area, write_body},
};
use crate::{
    disk::{
        Target,
        buffer::Ring,
        gpt::{self, BackupPlace, GptError, TableKind},
    },
    steps::StepReport,
};

/// Length of a buffer.
pub(super) const BUFFER_BYTES: usize = 1 << 20;
/// Buffers between server and decoder, and for raw images disk.
const WIRE_BUFFERS: usize = 8;
/// Buffers between decoder and disk.
pub(super) const DISK_BUFFERS: usize = 8;

/// What to write.
pub struct Image {
    /// The opened source.
    pub object: Arc<Object>,
    /// Its body.
    pub body: Body,
    /// How it is packed.
    pub format: ImageFormat,
    /// What its bytes, as served, must hash to.
    pub expected: Digest,
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Most range connections.
    pub connections: u8,
    /// Whether to read the disk back and compare.
    pub verify_readback: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { connections: in_order::DEFAULT_CONNECTIONS, verify_readback: false }
    }
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The proof.
    pub verified: Verified,
    /// What the content was.
    pub format: ImageFormat,
    /// Bytes of the unpacked image.
    pub bytes_written: u64,
    /// When the first byte went to the disk.
    pub started: Instant,
    /// How it went.
    pub work: WriteWork,
}

/// Writes the image to the disk. A stream that is not what it was declared to be, or does not fit by its own word, is
/// refused with the disk untouched. After any other failure the disk has neither partition table nor boot sector. Dropping the future stops the threads.
pub async fn run(
    image: Image,
    options: WriteOptions,
    target: Arc<Target>,
    report: Arc<dyn StepReport>,
    cancel: &CancellationToken,
) -> Result<Written, StreamError> {
    let stop = cancel.child_token();
    let _stop_on_drop = stop.clone().drop_guard();
    let Image { object, body, format, expected } = image;
    let length = object.length();
    let (fetched, from_network) = mpsc::channel::<Item>(WIRE_BUFFERS);
    let (digested, to_decode) = mpsc::channel::<Item>(WIRE_BUFFERS);
    let (filled, to_write) = sync_channel::<Filled>(DISK_BUFFERS);

    let sink = Sink::new(Ring::new(WIRE_BUFFERS, BUFFER_BYTES), fetched);
    let fetch = tokio::spawn(fetch(object.clone(), body, options.connections, sink, stop.clone()));
    let digest = stage("digest", {
        let source = QueueSource::new(from_network, stop.clone());
        move || digest(Digesting::new(source, expected), &digested)
    });
    let decode = stage("decode", {
        let source = QueueSource::new(to_decode, stop.clone());
        let source = Progress::new(source, report.clone(), length.unwrap_or(0));
        let (target, stop) = (target.clone(), stop.clone());
        let (object, network) = (object.clone(), Handle::current());
        move || {
            place::run(source, format, (&object, &network, &stop), &filled, &target)
                .inspect_err(|_| stop.cancel())
        }
    });
    let write = stage("write", {
        let (target, stop) = (target.clone(), stop.clone());
        move || write_body(&to_write, &target, options.verify_readback, &stop).inspect_err(|_| stop.cancel())
    });

    let fetch = fetch.await.unwrap_or(Err(StreamError::Died("fetch")));
    let digest = digest.await.unwrap_or(Err(StreamError::Died("digest")));
    let decode = decode.await.unwrap_or(Err(StreamError::Died("decode")));
    let write = write.await.unwrap_or(Err(StreamError::Died("write")));
    let (fetched, (verified, digested), decoded, body) = outcome(fetch, digest, decode, write, cancel)?;
    let mut work = account(&object, [fetched, digested, decoded.work], &body);
    let started = body.started;
    let bytes = decoded.bytes;
    let boot_area = BootArea { target, report, bytes, verify_readback: options.verify_readback };
    let last = stage("boot area", move || {
        boot_area.finish(&verified, &body.held_back).map(|read_back| (verified, read_back))
    });
    let (verified, read_back) = last.await.unwrap_or(Err(StreamError::Died("boot area")))?;
    work.bytes_read_back += read_back;
    Ok(Written { verified, format: decoded.format, bytes_written: bytes, started, work })
}

fn account(object: &Object, before: [StageWork; 3], body: &BodyWritten) -> WriteWork {
    let stages: Vec<StageWork> = before.into_iter().chain(body.work.iter().cloned()).collect();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    WriteWork {
        bottleneck: work::bottleneck(&stages),
        stages,
        retries: count(&object.counts.retries),
        connections: count(&object.counts.connections),
        bytes_fetched: count(&object.counts.bytes),
        bytes_zeroed: body.zeroed,
        bytes_kept: 0,
        bytes_read_back: body.read_back,
        writer: body.method.to_owned(),
    }
}

/// Runs `work` on a thread of its own. When it fails, the stages after it end when they have worked off their
/// queues; stages that fail for their own reasons fire the token to stop those before them.
fn stage<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> oneshot::Receiver<Result<T, StreamError>> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody listens when the future was dropped.
        let _ = sender.send(work());
    });
    if let Err(error) = thread {
        // The sender was dropped with the closure, so the stage counts as died.
        tracing::error!(stage = name, %error, "no thread could be started");
    }
    receiver
}

type Stages = (StageWork, (Verified, StageWork), Decoded, BodyWritten);

/// All results, or the error that came first in the order of the stages. `Stopped` and `Cancelled` of a stage only
/// follow from another's.
fn outcome(
    fetch: Result<StageWork, StreamError>,
    digest: Result<(Verified, StageWork), StreamError>,
    decode: Result<Decoded, StreamError>,
    write: Result<BodyWritten, StreamError>,
    cancel: &CancellationToken,
) -> Result<Stages, StreamError> {
    if cancel.is_cancelled() {
        return Err(StreamError::Cancelled);
    }
    match (fetch, digest, decode, write) {
        (Ok(fetched), Ok(digested), Ok(decoded), Ok(body)) => Ok((fetched, digested, decoded, body)),
        (fetch, digest, decode, write) => {
            let errors = [fetch.err(), digest.err(), decode.err(), write.err()];
            let consequence =
                |error: &StreamError| matches!(error, StreamError::Stopped | StreamError::Cancelled);
            let cause = errors.into_iter().flatten().min_by_key(|error| consequence(error));
            Err(cause.unwrap_or(StreamError::Stopped))
        }
    }
}

async fn fetch(
    object: Arc<Object>,
    body: Body,
    connections: u8,
    mut sink: Sink,
    stop: CancellationToken,
) -> Result<StageWork, StreamError> {
    let fetched = stop.run_until_cancelled(in_order::fetch(object, body, connections, &mut sink)).await;
    fetched.unwrap_or(Err(StreamError::Cancelled))?;
    Ok(sink.clock.finish())
}

fn digest(
    mut source: Digesting<impl Blocks>,
    next: &mpsc::Sender<Item>,
) -> Result<(Verified, StageWork), StreamError> {
    let mut clock = StageClock::new("digest");
    while let Some(block) = source.next_block_timed(&mut clock)? {
        clock.bytes += block.as_ref().len() as u64;
        clock.wait(|| next.blocking_send(Some(block))).map_err(|_| StreamError::Stopped)?;
    }
    clock.wait(|| next.blocking_send(None)).map_err(|_| StreamError::Stopped)?;
    let work = clock.finish();
    Ok((source.finish()?, work))
}

/// The last stage, after all others.
struct BootArea {
    target: Arc<Target>,
    report: Arc<dyn StepReport>,
    /// Bytes of the image.
    bytes: u64,
    verify_readback: bool,
}

impl BootArea {
    /// Writes the boot area of a proved image and makes the disk consistent with it. Says how many bytes were read
    /// back.
    fn finish(&self, verified: &Verified, held_back: &HeldBack) -> Result<u64, StreamError> {
        self.report.progress(progress::RELEASING, verified.bytes(), verified.bytes());
        let target = &self.target;
        match gpt::table_kind(held_back.head(), target.sector()) {
            TableKind::Gpt | TableKind::Mbr => {}
            TableKind::GptOfOtherSectorSize(image) => {
                let device = target.path().display().to_string();
                return Err(StreamError::SectorSize { image, disk: target.sector(), device });
            }
            TableKind::None => return Err(StreamError::NoPartitionTable),
        }
        let settled = self
            .release(verified, held_back)
            .and_then(|read_back| settle(target, &*self.report).map(|()| read_back));
        if settled.is_err() {
            // What failed must not boot, though its bytes were right.
            HeldBack::clear(target).ok();
        }
        settled
    }

    fn release(&self, verified: &Verified, held_back: &HeldBack) -> Result<u64, StreamError> {
        held_back.release(verified, &self.target)?;
        let read_back = match self.verify_readback {
            true => compare_boot_area(&held_back.areas(), &self.target)?,
            false => 0,
        };
        self.target.end_at(self.bytes)?;
        Ok(read_back)
    }
}

/// Makes a released disk consistent with its own size, and durable.
fn settle(target: &Target, report: &dyn StepReport) -> Result<(), StreamError> {
    match gpt::move_backup_to_end(target.file(), target.sector(), target.size()) {
        Ok(BackupPlace::Moved) => tracing::info!("backup partition table moved to the end of the disk"),
        Ok(BackupPlace::AtEnd | BackupPlace::NoGpt) => {}
        Err(GptError::Io(source)) => {
            return Err(crate::disk::TargetError::Flush { path: target.path().to_owned(), source }.into());
        }
        // The image is what was asked for, so this is its maker's business.
        Err(error) => {
            report.warning(format!("the backup partition table stays where the image has it: {error}"))
        }
    }
    target.flush()?;
    if let Err(error) = target.reread_partitions() {
        report.warning(format!(
            "the kernel did not read the new partition table of {}: {error}",
            target.path().display()
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
