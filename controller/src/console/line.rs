//! One console: the line to the BMC, who watches, who types.

use std::{
    collections::VecDeque,
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bessemer_proto::ids::NodeId;
use bytes::Bytes;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{Notify, broadcast, mpsc},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{ConsoleError, Pace, Record};
use crate::{
    bmc::{BmcError, Claim, SerialLine, Taken},
    reconcile::{OpenBmc, sentence},
    store::{Store, StoreError},
};

/// Pieces that a slow watcher may be behind.
const BEHIND: usize = 256;
/// Bytes of one piece.
const PIECE: usize = 4096;
/// What who comes sees at once.
const TAIL: usize = 32 * 1024;
/// Pieces that were typed and not sent yet.
const TYPED: usize = 64;
/// For a BMC to open its console, with a session of somebody else that is to be ended.
const OPEN_WITHIN: Duration = Duration::from_secs(90);
/// For the BMC to say where its graphical console is, perhaps by another protocol than the serial one.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// For the BMC to be told that a console ends.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// For the BMC to take what was typed.
const TAKE_WITHIN: Duration = Duration::from_secs(30);

/// How a console is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum State {
    /// The line is being opened.
    Connecting,
    /// What the machine says is shown.
    Connected,
    /// It broke and will be opened again.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// It is closed.
    Closed,
}

/// What a watcher sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The machine's own bytes.
    Shown(Bytes),
    /// The console is otherwise now.
    State(State),
    /// The watcher was too slow for so many pieces.
    Skipped(u64),
    /// What this watcher typed was dropped, and why.
    Refused(String),
}

/// One console.
pub(super) struct Line {
    node: NodeId,
    stop: CancellationToken,
    /// It is to be opened anew.
    again: Notify,
    /// Its task has ended.
    pub(super) done: CancellationToken,
    most_watchers: u32,
    watched: broadcast::Sender<Seen>,
    typed: mpsc::Sender<Bytes>,
    inside: Mutex<Inside>,
}

struct Inside {
    state: State,
    tail: VecDeque<u8>,
    watchers: u32,
    is_typed_on: bool,
    graphical: Option<Url>,
    /// Until the task takes it.
    typing: Option<mpsc::Receiver<Bytes>>,
}

/// Why something that was typed is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// One at a time.
    #[error("somebody else types on this console: it can only be watched until they leave")]
    SomebodyElse,
    /// Nobody would read it.
    #[error("the console is not connected")]
    NotConnected,
    /// Faster than the line.
    #[error("the machine does not take so much at once: some of it is lost")]
    TooMuch,
}

/// Somebody who looks at a console; the first one who types is the only one who may.
pub struct Watcher {
    line: Arc<Line>,
    seen: broadcast::Receiver<Seen>,
    types: bool,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("node", &self.line.node).field("types", &self.types).finish()
    }
}

/// Keeps the line open until it is closed.
pub(super) async fn keep(line: &Line, from: (Store, OpenBmc), mut record: Record, pace: Pace) {
    let Some(mut typing) = line.inside().typing.take() else { return };
    let (mut pause, mut claim) = (pace.first, Claim::Take);
    loop {
        line.set_state(State::Connecting);
        let began = Instant::now();
        let (reason, wait) = match hold(line, &from, &mut claim, &mut record, &mut typing).await {
            Ended::Closed => break,
            Ended::Asked => {
                (pause, claim) = (pace.first, Claim::Take);
                continue;
            }
            Ended::Never(reason) => (reason, Duration::MAX),
            Ended::Broken(reason) => {
                if began.elapsed() > pace.good {
                    pause = pace.first;
                }
                tracing::info!(node = %line.node, reason, "a console broke; it is opened again");
                // Not all at once after a switch between them and the controller was away.
                (reason, pause.mul_f64(rand::random_range(0.75..1.25)))
            }
        };
        line.set_state(State::Disconnected { reason });
        tokio::select! {
            () = line.stop.cancelled() => break,
            () = line.again.notified() => (pause, claim) = (pace.first, Claim::Take),
            () = tokio::time::sleep(wait) => pause = (pause * 2).min(pace.longest),
        }
        // What was typed meanwhile was typed at nobody.
        while typing.try_recv().is_ok() {}
    }
    line.set_state(State::Closed);
}

enum Ended {
    /// It is closed, or there is no such node any more.
    Closed,
    /// It is to be opened anew.
    Asked,
    /// There is none, now or later.
    Never(String),
    Broken(String),
}

async fn hold(
    line: &Line,
    (store, open_bmc): &(Store, OpenBmc),
    claim: &mut Claim,
    record: &mut Record,
    typing: &mut mpsc::Receiver<Bytes>,
) -> Ended {
    // Read each time: address and password may have been corrected.
    let node = match store.node(&line.node.to_string()).await {
        Ok(node) => node,
        Err(StoreError::NotFound { .. }) => return Ended::Closed,
        Err(error) => return Ended::Broken(sentence(&error)),
    };
    let opened = async {
        let console = open_bmc(&node)?.console.ok_or_else(|| BmcError::Unsupported {
            address: node.label().to_string(),
            what: "serve a console".to_owned(),
        })?;
        let graphical = timeout(LOOK_WITHIN, console.graphical()).await;
        line.inside().graphical = graphical.ok().and_then(Result::ok).flatten();
        let has_serial = console.has_serial().await?;
        match console.serial(*claim).await {
            // Says what there is instead.
            Err(error) if !has_serial => Ok(Err(sentence(&error))),
            opened => opened.map(Ok),
        }
    };
    let opened = tokio::select! {
        () = line.stop.cancelled() => return Ended::Closed,
        () = line.again.notified() => return Ended::Asked,
        opened = timeout(OPEN_WITHIN, opened) => opened,
    };
    let serial = match opened {
        Ok(Ok(Ok(serial))) => serial,
        Ok(Ok(Err(reason))) => return Ended::Never(reason),
        Ok(Err(error)) => return Ended::Broken(sentence(&error)),
        Err(_) => {
            return Ended::Broken(format!("the BMC did not open it within {} s", OPEN_WITHIN.as_secs()));
        }
    };
    line.set_state(State::Connected);
    tracing::info!(node = %line.node, "a console is open");
    *claim = Claim::Take;
    match carry(line, serial, record, typing).await {
        Ok(ended) => ended,
        Err(error) => {
            // Whoever opened it would otherwise lose it again and again.
            if error.get_ref().is_some_and(|source| source.is::<Taken>()) {
                *claim = Claim::Wait;
            }
            Ended::Broken(error.to_string())
        }
    }
}

/// Carries bytes both ways until the line ends, or is to end; then its end was told to the BMC.
async fn carry(
    line: &Line,
    serial: Box<dyn SerialLine>,
    record: &mut Record,
    typing: &mut mpsc::Receiver<Bytes>,
) -> io::Result<Ended> {
    let (mut from, mut to) = tokio::io::split(serial);
    let ended = {
        // Neither way waits for the other: a machine that takes no keys may still have something to say.
        let mut take = pin!(take(line, &mut to, typing));
        let mut piece = vec![0; PIECE];
        loop {
            tokio::select! {
                () = line.stop.cancelled() => break Ok(Ended::Closed),
                () = line.again.notified() => break Ok(Ended::Asked),
                ended = &mut take => break ended,
                read = from.read(&mut piece) => match read {
                    Ok(0) => break Ok(Ended::Broken("the BMC closed it".to_owned())),
                    Ok(length) => {
                        // Not cut off by the end of the line: nothing is written after that.
                        record.add(&piece[..length]).await;
                        line.show(Bytes::copy_from_slice(&piece[..length]));
                    }
                    Err(error) => break Err(error),
                },
            }
        }
    };
    timeout(TELL_WITHIN, to.shutdown()).await.ok();
    ended
}

/// Types what was typed.
async fn take(
    line: &Line,
    to: &mut (impl AsyncWrite + Unpin),
    typing: &mut mpsc::Receiver<Bytes>,
) -> io::Result<Ended> {
    while let Some(typed) = typing.recv().await {
        match timeout(TAKE_WITHIN, to.write_all(&typed)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::ResourceBusy => {
                line.watched.send(Seen::Refused(error.to_string())).ok();
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::Error::other("the BMC does not take what is typed")),
        }
    }
    std::future::pending().await
}

// === impl Line ===

impl Line {
    pub(super) fn new(node: NodeId, stop: CancellationToken, most_watchers: u32) -> Self {
        let (watched, _) = broadcast::channel(BEHIND);
        let (typed, typing) = mpsc::channel(TYPED);
        let inside = Inside {
            state: State::Connecting,
            tail: VecDeque::new(),
            watchers: 0,
            is_typed_on: false,
            graphical: None,
            typing: Some(typing),
        };
        let (again, done) = (Notify::new(), CancellationToken::new());
        Self { node, stop, again, done, most_watchers, watched, typed, inside: Mutex::new(inside) }
    }

    pub(super) fn reopen(&self) {
        self.again.notify_one();
    }

    pub(super) fn close(&self) {
        self.stop.cancel();
    }

    pub(super) fn state(&self) -> State {
        self.inside().state.clone()
    }

    pub(super) fn graphical(&self) -> Option<Url> {
        self.inside().graphical.clone()
    }

    fn set_state(&self, state: State) {
        let mut inside = self.inside();
        inside.state = state.clone();
        // Under the lock, so that who comes sees each thing once. Nobody may be there.
        self.watched.send(Seen::State(state)).ok();
    }

    fn show(&self, bytes: Bytes) {
        let mut inside = self.inside();
        inside.tail.extend(&bytes);
        let over = inside.tail.len().saturating_sub(TAIL);
        inside.tail.drain(..over);
        self.watched.send(Seen::Shown(bytes)).ok();
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Watcher ===

impl Watcher {
    pub(super) fn new(line: Arc<Line>) -> Result<Self, ConsoleError> {
        let mut inside = line.inside();
        if inside.watchers >= line.most_watchers {
            return Err(ConsoleError::TooManyWatchers(line.most_watchers));
        }
        inside.watchers += 1;
        let seen = line.watched.subscribe();
        drop(inside);
        Ok(Self { line, seen, types: false })
    }

    /// What was shown last, and how the console is. To be called first, and once.
    pub fn greet(&mut self) -> (Bytes, State) {
        let inside = self.line.inside();
        // What came since this watcher was made is in the tail.
        self.seen = self.line.watched.subscribe();
        (inside.tail.iter().copied().collect::<Vec<_>>().into(), inside.state.clone())
    }

    /// What comes next. After [`State::Closed`] nothing comes.
    pub async fn next(&mut self) -> Option<Seen> {
        loop {
            match self.seen.recv().await {
                // Others' keys are no business of this one.
                Ok(Seen::Refused(_)) if !self.types => {}
                Ok(seen) => return Some(seen),
                Err(broadcast::error::RecvError::Lagged(pieces)) => return Some(Seen::Skipped(pieces)),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Becomes the one who types, unless somebody else is.
    fn may_type(&mut self) -> bool {
        if !self.types {
            let mut inside = self.line.inside();
            self.types = !std::mem::replace(&mut inside.is_typed_on, true);
        }
        self.types
    }

    /// Types. What does not fit is dropped, as on a serial line without a handshake.
    pub fn type_in(&mut self, bytes: Bytes) -> Result<(), Refusal> {
        if !self.may_type() {
            return Err(Refusal::SomebodyElse);
        }
        if self.line.state() != State::Connected {
            return Err(Refusal::NotConnected);
        }
        self.line.typed.try_send(bytes).map_err(|_| Refusal::TooMuch)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut inside = self.line.inside();
        inside.watchers -= 1;
        if self.types {
            inside.is_typed_on = false;
        }
    }
}
