//! The search: rounds over all media until the best source is found. USB and optical drives appear late, some
//! drives never answer.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bessemer_proto::boot_parameters::{BootParameters, MAX_BYTES, Parsed};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    FindError, Found, ReadError, Source,
    block::{Candidate, candidates},
    fat, iso, medium,
};
use crate::steps::Roots;

/// How long to wait for what.
#[derive(Clone, Debug)]
pub struct Patience {
    /// The search ends without parameters.
    pub deadline: Duration,
    /// What the deploy ISO says is taken when no medium has appeared by then.
    pub iso_grace: Duration,
    /// What the kernel command line says is taken when nothing better has appeared by then.
    pub command_line_grace: Duration,
    /// Pause between two rounds.
    pub round: Duration,
    /// A device that does not answer holds up the choice of a lesser source by this much.
    pub device: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            iso_grace: Duration::from_secs(2),
            command_line_grace: Duration::from_secs(5),
            round: Duration::from_millis(250),
            device: Duration::from_secs(10),
        }
    }
}

/// Times a medium is read when reading fails.
const ATTEMPTS: u32 = 3;
/// Pause before a medium is read again and before an empty drive is looked at again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a round waits for one device; its answer is taken in a later round.
const ANSWER: Duration = Duration::from_millis(300);

/// Searches until the best source is found or patience ends.
pub async fn find(roots: &Roots, patience: &Patience) -> Result<Found, FindError> {
    let started = Instant::now();
    let mut search = Search::new(roots, patience);
    search.read_command_line();
    loop {
        search.round().await;
        let elapsed = started.elapsed();
        if let Some(found) = search.decide(elapsed) {
            return Ok(found);
        }
        if elapsed >= patience.deadline {
            let nothing = FindError::Nothing { seconds: patience.deadline.as_secs() };
            return Err(search.trouble.unwrap_or(nothing));
        }
        tokio::time::sleep(patience.round).await;
    }
}

struct Search<'a> {
    roots: &'a Roots,
    patience: &'a Patience,
    seen: HashMap<PathBuf, Seen>,
    medium: Option<Found>,
    iso: Option<Found>,
    command_line: Option<Found>,
    /// The most trusted source that was there and could not be used.
    trouble: Option<FindError>,
}

/// What is known of one device.
struct Seen {
    generation: String,
    attempts: u32,
    not_before: Instant,
    /// A read that has not come back: the device is left alone until it does.
    pending: Option<JoinHandle<io::Result<Content>>>,
}

/// What a device holds.
enum Content {
    /// A drive without a medium.
    Empty,
    /// Something that is not for us.
    Foreign,
    /// The parameters file of a FAT medium.
    Medium(Vec<u8>),
    /// The text of an ISO's region.
    Iso(Vec<u8>),
}

impl<'a> Search<'a> {
    fn new(roots: &'a Roots, patience: &'a Patience) -> Self {
        Self {
            roots,
            patience,
            seen: HashMap::new(),
            medium: None,
            iso: None,
            command_line: None,
            trouble: None,
        }
    }

    fn read_command_line(&mut self) {
        let line = File::open(self.roots.proc.join("cmdline"))
            .and_then(|file| medium::read_bounded(file, MAX_BYTES + 1))
            .unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if !BootParameters::on_command_line(&line) {
            return;
        }
        match BootParameters::parse_command_line(&line) {
            Ok(parsed) => self.command_line = Some(Found { source: Source::CommandLine, parsed }),
            Err(error) => self.unusable(Source::CommandLine, error.into()),
        }
    }

    async fn round(&mut self) {
        for candidate in candidates(self.roots) {
            if self.medium.is_some() {
                return;
            }
            let node = &candidate.node;
            match self.read(&candidate).await {
                Ok(None | Some(Content::Empty | Content::Foreign)) => {}
                Ok(Some(Content::Medium(bytes))) => self.take(Source::Medium(node.clone()), &bytes),
                Ok(Some(Content::Iso(bytes))) => self.take(Source::Iso(node.clone()), &bytes),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(device = %node.display(), error, "a medium cannot be read");
                }
            }
        }
    }

    /// Reads a device that is due, in a thread: a bad drive can block for minutes. `None` when it is not due or
    /// has not answered yet.
    async fn read(&mut self, candidate: &Candidate) -> Result<Option<Content>, ReadError> {
        let now = Instant::now();
        let seen = self.seen.entry(candidate.node.clone()).or_insert_with(|| Seen {
            generation: String::new(),
            attempts: 0,
            not_before: now,
            pending: None,
        });
        if seen.generation != candidate.generation {
            (seen.generation, seen.attempts) = (candidate.generation.clone(), 0);
        }
        let mut task = match seen.pending.take() {
            Some(task) => task,
            None if seen.attempts >= ATTEMPTS || now < seen.not_before => return Ok(None),
            None => {
                let node = candidate.node.clone();
                tokio::task::spawn_blocking(move || read_device(&node))
            }
        };
        let Ok(read) = timeout(ANSWER, &mut task).await else {
            seen.pending = Some(task);
            return Ok(None);
        };
        seen.not_before = Instant::now() + RETRY;
        match read {
            Ok(Ok(Content::Empty)) => Ok(Some(Content::Empty)),
            Ok(Ok(content)) => {
                seen.attempts = ATTEMPTS;
                Ok(Some(content))
            }
            Ok(Err(error)) => {
                seen.attempts += 1;
                Err(error.into())
            }
            // The reader panicked: fatfs is not proven against every damaged medium.
            Err(_) => {
                seen.attempts = ATTEMPTS;
                Err(ReadError::Damaged)
            }
        }
    }

    fn take(&mut self, source: Source, bytes: &[u8]) {
        match BootParameters::parse(bytes) {
            Ok(parsed) => self.keep(source, parsed),
            Err(error) => self.unusable(source, error.into()),
        }
    }

    fn keep(&mut self, source: Source, parsed: Parsed) {
        tracing::info!(%source, "boot parameters found");
        let place = if matches!(source, Source::Iso(_)) { &mut self.iso } else { &mut self.medium };
        place.get_or_insert(Found { source, parsed });
    }

    fn unusable(&mut self, source_name: Source, source: ReadError) {
        let error = FindError::Unusable { source_name, source };
        tracing::error!(error = &error as &dyn std::error::Error, "boot parameters");
        self.trouble = Some(error);
    }

    fn decide(&mut self, elapsed: Duration) -> Option<Found> {
        if self.medium.is_some() {
            return self.medium.take();
        }
        // A slow drive may hold the better source.
        let reading = self.seen.values().any(|seen| seen.pending.is_some());
        let slow = if reading { self.patience.device } else { Duration::ZERO };
        if self.iso.is_some() {
            return self.iso.take_if(|_| elapsed >= self.patience.iso_grace + slow);
        }
        self.command_line.take_if(|_| elapsed >= self.patience.command_line_grace + slow)
    }
}

/// What a device holds for us.
fn read_device(node: &Path) -> io::Result<Content> {
    let file = match File::open(node) {
        Ok(file) => file,
        Err(error) if is_empty_drive(&error) => return Ok(Content::Empty),
        Err(error) => return Err(error),
    };
    if let Some(bytes) = fat::read(&file)? {
        return Ok(Content::Medium(bytes));
    }
    Ok(iso::read(&file)?.map_or(Content::Foreign, Content::Iso))
}

fn is_empty_drive(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [nix::libc::ENOMEDIUM, nix::libc::ENXIO, nix::libc::ENODEV].iter().any(|known| code == Some(*known))
}
