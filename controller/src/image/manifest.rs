//! Making manifests: a raw image file is read once; its holes are not read. One thread reads, one hashes the
//! whole, the others hash ranges. Memory is what is on the way between them.

mod extents;
mod hash;
mod keep;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use bessemer_proto::{
    digest::{Digest, DigestAlgorithm},
    manifest::{Manifest, ManifestError, Range},
};

use super::content::Content;
use extents::Extents;
use hash::{Piece, RangeHasher, Whole, hash_ranges, hash_whole};

/// Read at once. Every range size is a multiple of it.
const CHUNK: usize = 1024 * 1024;
/// Blocks of zeros of this size are left out.
const BLOCK: usize = 64 * 1024;
/// Chunks that may wait for each thread.
const QUEUE: usize = 4;
const MAX_HASHERS: usize = 16;

/// How many ranges a manifest may get. Together they keep our JSON below 8 MiB.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Windows (as long as the longest range) with data in them.
    windows: u64,
    /// More ranges than windows, because of zeros inside windows.
    splits: u64,
}

const LIMITS: Limits = Limits { windows: 40_000, splits: 40_000 };

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error("could not read {path}", path = path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} is {content}, and a manifest is of the raw image: unpack it (gunzip, xz -d, zstd -d, \
         `qemu-img convert -O raw`) and give the result",
        path = path.display()
    )]
    Packed { path: PathBuf, content: &'static str },
    #[error("{path} is no image: give a raw image that is a file", path = path.display())]
    NoFile { path: PathBuf },
    #[error("no manifest can be made of {path}", path = path.display())]
    Unfit {
        path: PathBuf,
        #[source]
        source: ManifestError,
    },
    #[error("making the manifest of {path} was stopped", path = path.display())]
    Stopped { path: PathBuf },
}

/// What the one who waits sees, and how it stops the work.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    /// Told the bytes that are done.
    pub(crate) progress: &'a dyn Fn(u64),
    /// Ends the work when true.
    pub(crate) stop: &'a AtomicBool,
}

/// Makes the manifest of a raw image; `algorithm` is that of the digest of the whole.
pub(crate) fn make(path: &Path, algorithm: DigestAlgorithm, watch: Watch<'_>) -> Result<Manifest, MakeError> {
    make_within(path, algorithm, watch, LIMITS)
}

fn make_within(
    path: &Path,
    algorithm: DigestAlgorithm,
    watch: Watch<'_>,
    limits: Limits,
) -> Result<Manifest, MakeError> {
    let unreadable = |source| MakeError::Read { path: path.to_owned(), source };
    // Before it is opened: opening a pipe would wait for its writer.
    let found = fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() || found.len() == 0 {
        return Err(MakeError::NoFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(unreadable)?;
    match Content::of(&file).map_err(unreadable)? {
        Content::Raw => {}
        other => return Err(MakeError::Packed { path: path.to_owned(), content: other.name() }),
    }
    let extents = Extents::new(&file, found.len());
    let window = extents.window(limits.windows).map_err(unreadable)?;
    let read = in_threads(algorithm, |sinks| {
        Reader { extents, window, splits: limits.splits, sinks, watch, run: None }.read()
    });
    let (ranges, digest) =
        read.map_err(unreadable)?.ok_or_else(|| MakeError::Stopped { path: path.to_owned() })?;
    let manifest = Manifest { image_bytes: found.len(), image_digest: Some(digest), ranges };
    manifest.check().map_err(|source| MakeError::Unfit { path: path.to_owned(), source })?;
    Ok(manifest)
}

/// Where the reader sends what it reads.
struct Sinks {
    whole: Whole,
    hashers: Vec<RangeHasher>,
}

/// Starts the hashers, runs `read`, collects what they found: `None` when it stopped.
fn in_threads(
    algorithm: DigestAlgorithm,
    read: impl FnOnce(Sinks) -> io::Result<bool>,
) -> io::Result<Option<(Vec<Range>, Digest)>> {
    let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_HASHERS);
    thread::scope(|scope| {
        let (whole, arriving) = Whole::channel();
        let whole_thread = scope.spawn(move || hash_whole(algorithm, arriving));
        let mut hashers = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..count {
            let (hasher, arriving) = RangeHasher::channel();
            hashers.push(hasher);
            threads.push(scope.spawn(move || hash_ranges(arriving)));
        }
        let is_whole = read(Sinks { whole, hashers })?;
        let died = |_| io::Error::other("a hashing thread died");
        let mut ranges = Vec::new();
        for thread in threads {
            ranges.extend(thread.join().map_err(died)?);
        }
        let digest = whole_thread.join().map_err(died)??;
        ranges.sort_unstable_by_key(|range| range.offset);
        Ok(is_whole.then_some((ranges, digest)))
    })
}

/// Walks over the file.
struct Reader<'a> {
    extents: Extents<'a>,
    /// No range crosses a multiple of it.
    window: u64,
    /// How many ranges may still begin inside a window that has one.
    splits: u64,
    sinks: Sinks,
    watch: Watch<'a>,
    run: Option<Run>,
}

/// The range that is being read, or the last one.
#[derive(Clone, Copy)]
struct Run {
    number: usize,
    window: u64,
    end: u64,
}

impl Reader<'_> {
    /// False when it was stopped.
    fn read(mut self) -> io::Result<bool> {
        let length = self.extents.length;
        let mut at = 0;
        while at < length {
            if self.watch.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let to = match self.may_skip(at) {
                true => self.extents.next_data(at)?.unwrap_or(length) / CHUNK as u64 * CHUNK as u64,
                false => at,
            };
            if to > at {
                self.sinks.whole.zeros(to - at);
                at = to;
            } else {
                at = self.read_chunk(at)?;
            }
            (self.watch.progress)(at);
        }
        Ok(true)
    }

    fn read_chunk(&mut self, at: u64) -> io::Result<u64> {
        let size = usize::try_from(self.extents.length - at).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; size];
        self.extents.file.read_exact_at(&mut chunk, at)?;
        let chunk = Arc::new(chunk);
        let mut piece: Option<Piece> = None;
        for (index, block) in chunk.chunks(BLOCK).enumerate() {
            let part = index * BLOCK..index * BLOCK + block.len();
            let offset = at + part.start as u64;
            if is_zero(block) && self.may_skip(offset) {
                continue;
            }
            let number = self.number_of(offset, block.len() as u64);
            match &mut piece {
                Some(piece) if piece.number == number => piece.part.end = part.end,
                _ => {
                    let next = Piece { number, offset, chunk: Arc::clone(&chunk), part };
                    self.send(piece.replace(next));
                }
            }
        }
        self.send(piece);
        self.sinks.whole.data(chunk);
        Ok(at + size as u64)
    }

    /// All pieces of a range go to one thread, neighbouring ranges to different ones.
    fn send(&self, piece: Option<Piece>) {
        let Some(piece) = piece else { return };
        let hashers = self.sinks.hashers.len().max(1);
        if let Some(hasher) = self.sinks.hashers.get(piece.number % hashers) {
            hasher.send(piece);
        }
    }

    /// Whether zeros at `offset` may be left out: no more when that could make too many ranges.
    fn may_skip(&self, offset: u64) -> bool {
        self.splits > 0 || self.run.is_none_or(|run| run.window != offset / self.window)
    }

    /// The number of the range that the bytes belong to: the last one goes on, or a new one begins.
    fn number_of(&mut self, offset: u64, length: u64) -> usize {
        let window = offset / self.window;
        let end = offset + length;
        let number = match self.run {
            Some(run) if run.window == window && run.end == offset => run.number,
            Some(run) => {
                if run.window == window {
                    self.splits = self.splits.saturating_sub(1);
                }
                run.number + 1
            }
            None => 0,
        };
        self.run = Some(Run { number, window, end });
        number
    }
}

/// By comparing the block with itself, a byte later: that is as fast as memory.
fn is_zero(block: &[u8]) -> bool {
    match block {
        [first, rest @ ..] => *first == 0 && block.get(..rest.len()) == Some(rest),
        [] => true,
    }
}
