//! What is known about connected agents, in memory only: everything here may be lost.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bessemer_proto::{
    ids::{BootId, NodeId},
    v1::StepProgress,
};
use chrono::Utc;
use tokio::sync::oneshot;

use super::{CommandSender, LiveProgress, SessionInfo};

/// Why a session is ended from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndReason {
    /// Another connection of the same boot.
    Replaced,
    /// The node gets another boot.
    NewBoot,
    /// The deploy is over.
    Closed,
}

/// Nodes with something live about them. Locks are held for a moment, never across an await.
#[derive(Default)]
pub(super) struct LiveNodes(Mutex<State>);

#[derive(Default)]
struct State {
    nodes: HashMap<NodeId, Live>,
    last_serial: u64,
}

#[derive(Default)]
struct Live {
    open: Option<Open>,
    progress: Option<LiveProgress>,
    last_log: Option<String>,
}

struct Open {
    serial: u64,
    info: SessionInfo,
    commands: CommandSender,
    end: oneshot::Sender<EndReason>,
}

/// A session's place among the live ones.
pub(super) struct Registration {
    pub(super) serial: u64,
    /// Says when and why the session must end.
    pub(super) ended: oneshot::Receiver<EndReason>,
}

impl LiveNodes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this the node's session; an older one ends.
    pub(super) fn register(&self, node: NodeId, info: SessionInfo, commands: CommandSender) -> Registration {
        let (end, ended) = oneshot::channel();
        let mut state = self.lock();
        state.last_serial += 1;
        let serial = state.last_serial;
        let live = state.nodes.entry(node).or_default();
        if let Some(older) = live.open.replace(Open { serial, info, commands, end }) {
            older.end.send(EndReason::Replaced).ok();
        }
        Registration { serial, ended }
    }

    /// Takes a session away, unless another took its place. Progress stays: the step goes on without us.
    pub(super) fn unregister(&self, node: NodeId, serial: u64) {
        if let Some(live) = self.lock().nodes.get_mut(&node)
            && live.open.as_ref().is_some_and(|open| open.serial == serial)
        {
            live.open = None;
        }
    }

    /// Drops all that is live about a node and ends its session.
    pub(super) fn forget(&self, node: NodeId, reason: EndReason) {
        let live = self.lock().nodes.remove(&node);
        if let Some(open) = live.and_then(|live| live.open) {
            open.end.send(reason).ok();
        }
    }

    /// Where to send commands, when a session (of that boot) is open.
    pub(super) fn commands(&self, node: NodeId, boot: Option<BootId>) -> Option<CommandSender> {
        let state = self.lock();
        let open = state.nodes.get(&node)?.open.as_ref()?;
        boot.is_none_or(|boot| boot == open.info.boot).then(|| open.commands.clone())
    }

    pub(super) fn session(&self, node: NodeId) -> Option<SessionInfo> {
        Some(self.lock().nodes.get(&node)?.open.as_ref()?.info.clone())
    }

    pub(super) fn progress(&self, node: NodeId) -> Option<LiveProgress> {
        self.lock().nodes.get(&node)?.progress.clone()
    }

    pub(super) fn last_log(&self, node: NodeId) -> Option<String> {
        self.lock().nodes.get(&node)?.last_log.clone()
    }

    /// A sign of life.
    pub(super) fn seen(&self, node: NodeId) {
        self.with_open(node, |live| {
            if let Some(open) = &mut live.open {
                open.info.last_seen = Utc::now();
            }
        });
    }

    pub(super) fn set_progress(&self, node: NodeId, progress: StepProgress) {
        self.with_open(node, |live| live.progress = Some(LiveProgress { progress, at: Utc::now() }));
    }

    /// The step ended: its progress with it.
    pub(super) fn clear_progress(&self, node: NodeId, step: &str) {
        self.with_open(node, |live| {
            if live.progress.as_ref().is_some_and(|live| live.progress.step_id == step) {
                live.progress = None;
            }
        });
    }

    pub(super) fn set_last_log(&self, node: NodeId, message: String) {
        self.with_open(node, |live| live.last_log = Some(message));
    }

    /// Only nodes with a session get news: what arrives after [`Self::forget`] is late.
    fn with_open(&self, node: NodeId, change: impl FnOnce(&mut Live)) {
        if let Some(live) = self.lock().nodes.get_mut(&node).filter(|live| live.open.is_some()) {
            change(live);
        }
    }
}
