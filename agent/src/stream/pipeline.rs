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
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    StreamError,
    boot_area::BootArea,
    chunks::{Blocks as _, Item, QueueSource},
    content_check::{self, ContentRight},
    decode_stage::{self, Declared, Decoded},
    digest::Hasher,
    fetch::{
        Body, Object,
        in_order::{self, Sink},
    },
    progress::Progress,
    proof::{KnownManifest, Verified},
    stage::{cause, stage},
    work::{self, StageClock},
    write::{BodyWritten, Filled, write_body},
};
use crate::{
    disk::{Target, buffer::Ring},
    steps::StepReport,
};

/// Length of a buffer.
pub(super) const BUFFER_BYTES: usize = 1 << 20;
/// Buffers between server and decoder, and for raw images disk.
const WIRE_BUFFERS: usize = 7;
/// Buffers between decoder and disk.
pub(super) const DISK_BUFFERS: usize = 7;

/// What to write.
pub struct Image {
    /// The opened source.
    pub object: Arc<Object>,
    /// Its body.
    pub body: Body,
    /// How it is packed.
    pub format: ImageFormat,
    /// What proves it.
    pub proof: Proof,
}

/// What an image must be: at least one of both.
pub struct Proof {
    /// What its bytes, as served, must hash to.
    pub expected: Option<Digest>,
    /// What its content must be.
    pub manifest: Option<KnownManifest>,
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Most range connections.
    pub connections: u8,
    /// Whether to read the disk back and compare.
    pub verify_readback: bool,
    /// Whether an image of undeclared format may be qcow2.
    pub allow_qcow2: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { connections: in_order::DEFAULT_CONNECTIONS, verify_readback: false, allow_qcow2: true }
    }
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The proof.
    pub verified: Verified,
    /// What the content was.
    pub format: ImageFormat,
    /// SHA-256 of the manifest that was used.
    pub manifest_digest: Option<Digest>,
    /// Bytes as served that came, repeated ones once.
    pub bytes_received: u64,
    /// Bytes of the unpacked image.
    pub bytes_written: u64,
    /// When the first byte went to the disk.
    pub started: Instant,
    /// How it went.
    pub work: WriteWork,
}

/// Writes the image to the disk. A stream that is not what it was declared to be, or does not fit by its own word, is
/// refused with the disk untouched. After any other failure the disk has neither partition table nor boot sector.
/// Dropping the future stops the threads.
pub async fn run(
    image: Image,
    options: WriteOptions,
    target: Arc<Target>,
    report: Arc<dyn StepReport>,
    cancel: &CancellationToken,
) -> Result<Written, StreamError> {
    let stop = cancel.child_token();
    let _stop_on_drop = stop.clone().drop_guard();
    let (object, manifest) = (image.object.clone(), image.proof.manifest.clone());
    let manifest_digest = manifest.as_ref().map(|known| known.digest.clone());
    let ranges = manifest.as_ref().map_or(0, |known| known.manifest.ranges.len() as u64);
    let outcomes = Stages::start(image, options, &target, &report, &stop).outcomes().await;
    if cancel.is_cancelled() {
        return Err(StreamError::Cancelled);
    }
    let Results { fetched, digested: (verified, digested), decoded, content, body } = outcomes.all()?;
    let verified = match (verified, manifest) {
        (Some(verified), _) => verified,
        (None, Some(known)) => match &content {
            Some((right, _)) => Verified::of_content(&known, right),
            None => return Err(StreamError::NoProof),
        },
        (None, None) => return Err(StreamError::NoProof),
    };
    let bytes_received = digested.bytes;
    let before = [Some(fetched), Some(digested), Some(decoded.work), content.map(|(_, work)| work)];
    let mut work = account(&object, before.into_iter().flatten(), &body);
    work.ranges = ranges;
    let (started, bytes) = (body.started, decoded.bytes);
    let boot_area = BootArea { target, report, bytes, verify_readback: options.verify_readback };
    let last = stage("boot area", move || {
        boot_area.finish(&verified, &body.held_back).map(|read_back| (verified, read_back))
    });
    let (verified, read_back) = last.await.unwrap_or(Err(StreamError::Died("boot area")))?;
    work.bytes_read_back += read_back;
    Ok(Written {
        verified,
        format: decoded.format,
        manifest_digest,
        bytes_received,
        bytes_written: bytes,
        started,
        work,
    })
}

/// A stage on its thread.
type Running<T> = oneshot::Receiver<Result<T, StreamError>>;

/// What the stage that checks the content found.
type Checked = (ContentRight, StageWork);

/// The stages at work.
struct Stages {
    fetch: JoinHandle<Result<StageWork, StreamError>>,
    digest: Running<(Option<Verified>, StageWork)>,
    decode: Running<Decoded>,
    /// Only with a manifest.
    content: Option<Running<Checked>>,
    write: Running<BodyWritten>,
}

impl Stages {
    fn start(
        image: Image,
        options: WriteOptions,
        target: &Arc<Target>,
        report: &Arc<dyn StepReport>,
        stop: &CancellationToken,
    ) -> Self {
        let Image { object, body, format, proof } = image;
        let Proof { expected, manifest } = proof;
        let (fetched, from_network) = mpsc::channel::<Item>(WIRE_BUFFERS);
        let (digested, to_decode) = mpsc::channel::<Item>(WIRE_BUFFERS);
        let (mut filled, to_write) = sync_channel::<Filled>(DISK_BUFFERS);
        let declared = Declared { format, allow_qcow2: options.allow_qcow2, in_order: manifest.is_some() };

        let sink = Sink::new(Ring::new(WIRE_BUFFERS, BUFFER_BYTES), fetched);
        let fetch = tokio::spawn(fetch(object.clone(), body, options.connections, sink, stop.clone()));
        let source = QueueSource::new(from_network, stop.clone());
        let digest = stage("digest", move || digest(source, expected, &digested));
        let content = manifest.map(|known| {
            let (to_check, from_decoder) = sync_channel(1);
            let checked = std::mem::replace(&mut filled, to_check);
            let stop = stop.clone();
            let check = move || content_check::check(&from_decoder, known.manifest, &checked);
            stage("content digest", move || check().inspect_err(|_| stop.cancel()))
        });
        let source = QueueSource::new(to_decode, stop.clone());
        let source = Progress::new(source, report.clone(), object.length().unwrap_or(0));
        let (disk, network, halt) = (target.clone(), Handle::current(), stop.clone());
        let decode = stage("decode", move || {
            decode_stage::run(source, declared, (&object, &network, &halt), &filled, &disk)
                .inspect_err(|_| halt.cancel())
        });
        let (disk, report, halt) = (target.clone(), report.clone(), stop.clone());
        let write = stage("write", move || {
            write_body(&to_write, &disk, options.verify_readback, &report, &halt)
                .inspect_err(|_| halt.cancel())
        });
        Self { fetch, digest, decode, content, write }
    }

    async fn outcomes(self) -> Outcomes {
        async fn ended<T>(name: &'static str, stage: Running<T>) -> Result<T, StreamError> {
            stage.await.unwrap_or(Err(StreamError::Died(name)))
        }
        Outcomes {
            fetched: self.fetch.await.unwrap_or(Err(StreamError::Died("fetch"))),
            digested: ended("digest", self.digest).await,
            decoded: ended("decode", self.decode).await,
            content: match self.content {
                Some(content) => ended("content digest", content).await.map(Some),
                None => Ok(None),
            },
            body: ended("write", self.write).await,
        }
    }
}

/// How the stages ended.
struct Outcomes {
    fetched: Result<StageWork, StreamError>,
    digested: Result<(Option<Verified>, StageWork), StreamError>,
    decoded: Result<Decoded, StreamError>,
    content: Result<Option<Checked>, StreamError>,
    body: Result<BodyWritten, StreamError>,
}

struct Results {
    fetched: StageWork,
    digested: (Option<Verified>, StageWork),
    decoded: Decoded,
    content: Option<Checked>,
    body: BodyWritten,
}

impl Outcomes {
    /// All results, or the error that is to blame.
    fn all(self) -> Result<Results, StreamError> {
        match (self.fetched, self.digested, self.decoded, self.content, self.body) {
            (Ok(fetched), Ok(digested), Ok(decoded), Ok(content), Ok(body)) => {
                Ok(Results { fetched, digested, decoded, content, body })
            }
            (fetched, digested, decoded, content, body) => {
                let errors = [fetched.err(), digested.err(), decoded.err(), content.err(), body.err()];
                Err(cause(errors.into_iter().flatten()))
            }
        }
    }
}

pub(super) fn account(
    object: &Object,
    before: impl Iterator<Item = StageWork>,
    body: &BodyWritten,
) -> WriteWork {
    let stages: Vec<StageWork> = before.chain(body.work.iter().cloned()).collect();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    WriteWork {
        bottleneck: work::bottleneck(&stages),
        stages,
        retries: count(&object.counts.retries),
        connections: count(&object.counts.connections),
        bytes_fetched: count(&object.counts.bytes),
        bytes_zeroed: body.zeroed,
        bytes_kept: 0,
        ranges: 0,
        ranges_kept: 0,
        bytes_read_back: body.read_back,
        writer: body.method.to_owned(),
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

/// Digests what passes, when there is something to compare it with.
fn digest(
    mut source: QueueSource,
    expected: Option<Digest>,
    next: &mpsc::Sender<Item>,
) -> Result<(Option<Verified>, StageWork), StreamError> {
    let mut clock = StageClock::new("digest");
    let mut hasher = expected.as_ref().map(|expected| Hasher::new(expected.algorithm()));
    while let Some(block) = clock.wait(|| source.next_block())? {
        if let Some(hasher) = &mut hasher {
            hasher.update(block.as_ref());
        }
        clock.bytes += block.as_ref().len() as u64;
        clock.wait(|| next.blocking_send(Some(block))).map_err(|_| StreamError::Stopped)?;
    }
    clock.wait(|| next.blocking_send(None)).map_err(|_| StreamError::Stopped)?;
    // The source has said that this is all.
    let verified = match (hasher, expected) {
        (Some(hasher), Some(expected)) => Some(Verified::of_stream(hasher, expected, clock.bytes)?),
        _ => None,
    };
    Ok((verified, clock.finish()))
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
