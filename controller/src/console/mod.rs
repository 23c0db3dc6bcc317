//! Serial consoles of machines: one line to each BMC whose node has its console enabled, recorded, shown to several
//! watchers, typed on by one. Knows nodes only as what it opens the line of; serves nothing itself.

mod line;
mod record;
#[cfg(test)]
mod tests;
mod tickets;

use std::{
    collections::HashMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bessemer_proto::ids::NodeId;
use serde::{Deserialize, Serialize};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

pub use self::line::{Refusal, Seen, State, Watcher};
use self::{line::Line, record::Record, tickets::Tickets};
use crate::{reconcile::OpenBmc, store::Store};

/// For a line to end.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// `[console]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most nodes with an open console; more are refused. Default 256.
    pub max_sessions: NonZeroU32,
    /// Most watchers of one console. Default 8.
    pub max_watchers: NonZeroU32,
    /// Bytes of a console that are kept, in two files `consoles/UUID.log` and `UUID.log.1` in `state_dir`; 0 for none.
    /// Default 2097152 (2 MiB).
    pub log_bytes: u64,
    /// Seconds within which the URL of `console_info` has to be used. Default 600.
    pub ticket_lifetime: NonZeroU32,
}

/// Why a console is not opened or watched.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConsoleError {
    /// There are too many.
    #[error(
        "{0} consoles are open, which is the most: disable one, or raise max_sessions in section [console] of the \
         configuration"
    )]
    TooMany(u32),
    /// Too many look at this one.
    #[error(
        "{0} watchers look at this console, which is the most: see max_watchers in section [console] of the configuration"
    )]
    TooManyWatchers(u32),
    /// Nothing to watch.
    #[error("the console is not enabled")]
    NotEnabled,
    /// Once used, or too old, or made up.
    #[error("the URL of the console was used before or is too old: ask for a new one")]
    Ticket,
}

/// Handle to all consoles; cheap to clone.
#[derive(Clone)]
pub struct Consoles {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    folder: PathBuf,
    store: Store,
    open_bmc: OpenBmc,
    lines: Mutex<HashMap<NodeId, Arc<Line>>>,
    tickets: Tickets,
    tasks: TaskTracker,
    stop: CancellationToken,
    pace: Pace,
}

/// How long to wait before a line is opened again.
#[derive(Clone, Copy, Debug)]
struct Pace {
    first: Duration,
    longest: Duration,
    /// A line that held for so long was a good one.
    good: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            good: Duration::from_secs(60),
        }
    }
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            max_sessions: NonZeroU32::MIN.saturating_add(255),
            max_watchers: NonZeroU32::MIN.saturating_add(7),
            log_bytes: 2 * 1024 * 1024,
            ticket_lifetime: NonZeroU32::MIN.saturating_add(599),
        }
    }
}

// === impl Consoles ===

impl Consoles {
    /// No console yet; logs go into `folder`.
    #[must_use]
    pub fn new(config: Config, folder: &Path, store: Store, open_bmc: OpenBmc) -> Self {
        Self::with(config, folder, (store, open_bmc), Pace::default())
    }

    fn with(config: Config, folder: &Path, (store, open_bmc): (Store, OpenBmc), pace: Pace) -> Self {
        let tickets = Tickets::new(Duration::from_secs(config.ticket_lifetime.get().into()));
        let (lines, folder) = (Mutex::default(), folder.to_owned());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let inner = Inner { config, folder, store, open_bmc, lines, tickets, tasks, stop, pace };
        Self { inner: Arc::new(inner) }
    }

    /// Opens the console of a node, and opens it again whenever it breaks. One that is open stays.
    pub fn start(&self, node: NodeId) -> Result<(), ConsoleError> {
        let inner = &self.inner;
        let mut lines = inner.lines();
        if lines.contains_key(&node) || inner.stop.is_cancelled() {
            return Ok(());
        }
        let most = inner.config.max_sessions.get();
        if lines.len() >= most as usize {
            return Err(ConsoleError::TooMany(most));
        }
        let record = Record::new(&inner.folder, node, inner.config.log_bytes);
        let line = Arc::new(Line::new(node, inner.stop.child_token(), inner.config.max_watchers.get()));
        lines.insert(node, Arc::clone(&line));
        let inner = Arc::clone(inner);
        self.inner.tasks.spawn(async move {
            let from = (inner.store.clone(), Arc::clone(&inner.open_bmc));
            line::keep(&line, from, record, inner.pace).await;
            let mut lines = inner.lines();
            if lines.get(&node).is_some_and(|now| Arc::ptr_eq(now, &line)) {
                lines.remove(&node);
            }
            line.done.cancel();
        });
        Ok(())
    }

    /// Opens it anew: the BMC is another one, or has another password.
    pub fn reopen(&self, node: NodeId) {
        if let Some(line) = self.inner.lines().get(&node) {
            line.reopen();
        }
    }

    /// Closes it; its watchers are told, and so is the BMC. Its log stays.
    pub async fn stop(&self, node: NodeId) {
        let line = self.inner.lines().remove(&node);
        if let Some(line) = line {
            line.close();
            // One that is opened next would be ended by what this one still tells the BMC.
            tokio::time::timeout(STOP_WITHIN, line.done.cancelled()).await.ok();
        }
    }

    /// Closes it and forgets what it showed: the node is no more.
    pub async fn forget(&self, node: NodeId) {
        self.stop(node).await;
        Record::remove(&self.inner.folder, node).await;
    }

    /// Closes all, and waits until the BMCs were told.
    pub async fn stop_all(&self) {
        self.inner.stop.cancel();
        self.inner.lines().clear();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// How the console of a node is; `None` where there is none.
    #[must_use]
    pub fn state(&self, node: NodeId) -> Option<State> {
        self.inner.lines().get(&node).map(|line| line.state())
    }

    /// The graphical console of a node, if its BMC told of one.
    #[must_use]
    pub fn graphical(&self, node: NodeId) -> Option<Url> {
        self.inner.lines().get(&node).and_then(|line| line.graphical())
    }

    /// A secret that opens the console of that node once.
    #[must_use]
    pub fn ticket(&self, node: NodeId) -> String {
        self.inner.tickets.issue(node)
    }

    /// Uses a ticket up; whoever has it may watch.
    pub fn admit(&self, node: NodeId, ticket: &str) -> Result<Watcher, ConsoleError> {
        if !self.inner.tickets.take(node, ticket) {
            return Err(ConsoleError::Ticket);
        }
        let line = self.inner.lines().get(&node).cloned().ok_or(ConsoleError::NotEnabled)?;
        Watcher::new(line)
    }
}

impl Inner {
    fn lines(&self) -> MutexGuard<'_, HashMap<NodeId, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
