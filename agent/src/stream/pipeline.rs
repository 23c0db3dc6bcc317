//! Puts the stages together: fetch (task) → digest → decode → write, each on a thread of its own, bounded queues
//! between them. Peak memory is what the queues hold, whatever the size of the image.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Instant,
};

use bessemer_proto::{digest::Digest, step::ImageFormat};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    StreamError,
    buffer::AlignedBuffer,
    chunks::{Chunks, Item, QueueSource},
    decode::Decoder,
    digest::{Digesting, Verified},
    fetch::Body,
    held_back::HeldBack,
    progress::{self, Progress},
    write::{BodyWritten, Filled, write_body},
};
use crate::{
    disk::{
        Target,
        gpt::{self, BackupPlace, GptError, TableKind},
    },
    steps::StepReport,
};

/// Length of a write.
const BUFFER_BYTES: usize = 1 << 20;
/// Buffers between decoder and disk.
const BUFFERS: usize = 8;
/// Chunks in each queue before the decoder. A chunk is at most what the HTTP client reads at once, 408 KiB.
const QUEUED_CHUNKS: usize = 16;

/// What to write.
pub struct Image {
    /// The opened source.
    pub body: Body,
    /// How it is packed.
    pub format: ImageFormat,
    /// What its bytes, as served, must hash to.
    pub expected: Digest,
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
}

/// What the decoding stage found out.
struct Decoded {
    format: ImageFormat,
    bytes: u64,
}

/// Writes the image to the disk. A stream that is not what it was declared to be, or does not fit by its own word, is
/// refused with the disk untouched. After any other failure the disk has neither partition table nor boot sector. Dropping the future stops the threads.
pub async fn run(
    image: Image,
    target: Arc<Target>,
    report: Arc<dyn StepReport>,
    cancel: &CancellationToken,
) -> Result<Written, StreamError> {
    let stop = cancel.child_token();
    let _stop_on_drop = stop.clone().drop_guard();
    let length = image.body.length();
    let (fetched, from_network) = mpsc::channel::<Item>(QUEUED_CHUNKS);
    let (digested, to_decode) = sync_channel::<Item>(QUEUED_CHUNKS);
    let (filled, to_write) = sync_channel::<Filled>(BUFFERS);
    let (emptied, empty) = sync_channel::<AlignedBuffer>(BUFFERS);
    for _ in 0..BUFFERS {
        // The queue has room for all of them.
        let _ = emptied.try_send(AlignedBuffer::new(BUFFER_BYTES));
    }

    let fetch = tokio::spawn(fetch(image.body, fetched, stop.clone()));
    let digest = stage("digest", {
        let source = QueueSource::new(from_network, stop.clone());
        move || digest(Digesting::new(source, image.expected), &digested)
    });
    let decode = stage("decode", {
        let source = QueueSource::new(to_decode, stop.clone());
        let source = Progress::new(source, report.clone(), length.unwrap_or(0));
        let (target, declared, stop) = (target.clone(), image.format, stop.clone());
        move || {
            let admitted =
                Decoder::open(source, declared).and_then(|decoder| admit(decoder, length, &target));
            admitted
                .and_then(|decoder| decode(decoder, &empty, &filled, &target))
                .inspect_err(|_| stop.cancel())
        }
    });
    let write = stage("write", {
        let (target, stop) = (target.clone(), stop.clone());
        move || write_body(&to_write, &emptied, &target, &stop).inspect_err(|_| stop.cancel())
    });

    let fetch = fetch.await.unwrap_or(Err(StreamError::Died("fetch")));
    let digest = digest.await.unwrap_or(Err(StreamError::Died("digest")));
    let decode = decode.await.unwrap_or(Err(StreamError::Died("decode")));
    let write = write.await.unwrap_or(Err(StreamError::Died("write")));
    let (verified, decoded, body) = outcome(fetch, digest, decode, write, cancel)?;
    let started = body.started;
    let last = stage("boot area", move || finish(&verified, body, &target, &*report).map(|()| verified));
    let verified = last.await.unwrap_or(Err(StreamError::Died("boot area")))?;
    Ok(Written { verified, format: decoded.format, bytes_written: decoded.bytes, started })
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

/// All results, or the error that came first in the order of the stages. `Stopped` and `Cancelled` of a stage only
/// follow from another's.
fn outcome(
    fetch: Result<(), StreamError>,
    digest: Result<Verified, StreamError>,
    decode: Result<Decoded, StreamError>,
    write: Result<BodyWritten, StreamError>,
    cancel: &CancellationToken,
) -> Result<(Verified, Decoded, BodyWritten), StreamError> {
    if cancel.is_cancelled() {
        return Err(StreamError::Cancelled);
    }
    match (fetch, digest, decode, write) {
        (Ok(()), Ok(verified), Ok(decoded), Ok(body)) => Ok((verified, decoded, body)),
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
    mut body: Body,
    queue: mpsc::Sender<Item>,
    stop: CancellationToken,
) -> Result<(), StreamError> {
    loop {
        let item = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(StreamError::Cancelled),
            chunk = body.next() => chunk?,
        };
        let complete = item.is_none();
        if queue.send(item).await.is_err() {
            return Err(StreamError::Stopped);
        }
        if complete {
            return Ok(());
        }
    }
}

fn digest(mut source: Digesting<impl Chunks>, next: &SyncSender<Item>) -> Result<Verified, StreamError> {
    while let Some(chunk) = source.next()? {
        next.send(Some(chunk)).map_err(|_| StreamError::Stopped)?;
    }
    next.send(None).map_err(|_| StreamError::Stopped)?;
    source.finish()
}

/// Refuses before anything is written, when the sizes tell.
fn admit<S: Chunks>(
    decoder: Decoder<S>,
    length: Option<u64>,
    target: &Target,
) -> Result<Decoder<S>, StreamError> {
    let known = match decoder.format() {
        ImageFormat::Raw => length,
        _ => decoder.known_content(),
    };
    known.map_or(Ok(()), |image| check_size(image, target))?;
    Ok(decoder)
}

fn check_size(image: u64, target: &Target) -> Result<(), StreamError> {
    if image <= target.size() {
        return Ok(());
    }
    Err(StreamError::TooLarge { image, disk: target.size(), device: target.path().display().to_string() })
}

fn decode(
    mut decoder: Decoder<impl Chunks>,
    empty: &Receiver<AlignedBuffer>,
    filled: &SyncSender<Filled>,
    target: &Target,
) -> Result<Decoded, StreamError> {
    filled.send(Filled::Begin).map_err(|_| StreamError::Stopped)?;
    let mut offset = 0;
    loop {
        let mut buffer = empty.recv().map_err(|_| StreamError::Stopped)?;
        let length = decoder.fill(&mut buffer)?;
        let last = length < buffer.len();
        if length > 0 {
            check_size(offset + length as u64, target)?;
            filled.send(Filled::Data { buffer, length, offset }).map_err(|_| StreamError::Stopped)?;
            offset += length as u64;
        }
        if last {
            break;
        }
    }
    if offset == 0 {
        return Err(StreamError::Empty);
    }
    filled.send(Filled::End).map_err(|_| StreamError::Stopped)?;
    Ok(Decoded { format: decoder.format(), bytes: offset })
}

/// Writes the boot area of a proved image and makes the disk consistent with it.
fn finish(
    verified: &Verified,
    body: BodyWritten,
    target: &Target,
    report: &dyn StepReport,
) -> Result<(), StreamError> {
    report.progress(progress::RELEASING, verified.bytes(), verified.bytes());
    match gpt::table_kind(body.held_back.head(), target.sector()) {
        TableKind::Gpt | TableKind::Mbr => {}
        TableKind::GptOfOtherSectorSize(image) => {
            let device = target.path().display().to_string();
            return Err(StreamError::SectorSize { image, disk: target.sector(), device });
        }
        TableKind::None => return Err(StreamError::NoPartitionTable),
    }
    let released = body.held_back.release(verified, target).map_err(StreamError::from);
    let settled = released.and_then(|()| settle(target, report));
    if settled.is_err() {
        // What failed must not boot, though its bytes were right.
        HeldBack::clear(target).ok();
    }
    settled
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
