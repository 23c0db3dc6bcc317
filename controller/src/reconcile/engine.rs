//! The handle to the engine, and its scheduler: which node is looked at when.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bessemer_proto::ids::NodeId;
use chrono::Utc;
use futures_util::FutureExt as _;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};
use uuid::Uuid;

pub use super::error::{RequestError, Validation};
use super::{
    Config, OpenBmc, Pokes,
    context::{Context, Memory},
    error::sentence,
    locks::NodeLocks,
    power::SoftOffs,
    process, watch,
};
use crate::{
    agents::Fleet,
    boot::MediaShelf,
    config_drive::ConfigDrives,
    console::Consoles,
    drivers::IloConfig,
    image::Images,
    node::ProvisionState,
    notify::Announcer,
    sensors,
    store::{HistoryEvent, NodeFilter, Store, StoreError},
};

/// What an engine is made of.
pub struct Deps {
    /// Nodes and all that hangs on them.
    pub store: Store,
    /// The agents.
    pub fleet: Fleet,
    /// Boot media.
    pub shelf: MediaShelf,
    /// Images.
    pub images: Images,
    /// Config drives.
    pub config_drives: ConfigDrives,
    /// Serial consoles.
    pub consoles: Consoles,
    /// How to reach BMCs.
    pub open_bmc: OpenBmc,
    /// `[sensor_data]`.
    pub sensor_data: sensors::Config,
    /// Whom notifications go to.
    pub announcer: Announcer,
    /// `[conductor]`.
    pub config: Config,
    /// `[ilo]`.
    pub ilo: IloConfig,
    /// This controller's name, shown in `reservation`.
    pub hostname: String,
    /// How long a join token may be used.
    pub token_lifetime: Duration,
    /// Where others poke.
    pub pokes: Pokes,
}

/// Handle to the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: Arc<Inner>,
    /// For whom it is held.
    asker: Arc<Asker>,
}

/// Who asks for something, as the history tells it. Empty: the controller itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The user's id, else its name.
    pub user: Option<String>,
    /// The project's id.
    pub project: Option<String>,
}

pub(super) struct Inner {
    pub(super) cx: Context,
    pub(super) pokes: Pokes,
    pub(super) locks: NodeLocks,
    /// Machines that are shut down softly: a hard power off need not wait.
    pub(super) soft: SoftOffs,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Work that did not end in time is dropped; the next start resumes it.
    pub(super) abandon: CancellationToken,
}

// === impl Engine ===

impl Engine {
    /// Settles what another life of the controller left, and starts to work.
    pub async fn start(deps: Deps) -> Result<Self, StoreError> {
        let cx = Context {
            store: deps.store,
            fleet: deps.fleet,
            shelf: deps.shelf,
            images: deps.images,
            config_drives: deps.config_drives,
            consoles: deps.consoles,
            open_bmc: deps.open_bmc,
            config: deps.config,
            sensor_data: deps.sensor_data,
            announcer: deps.announcer,
            sensors: sensors::Board::default(),
            ilo: deps.ilo,
            hostname: deps.hostname,
            token_lifetime: deps.token_lifetime,
            started: Utc::now(),
            life: Uuid::new_v4(),
            memory: Memory::default(),
            pokes: deps.pokes.clone(),
        };
        settle(&cx).await?;
        let inner = Arc::new(Inner {
            cx,
            pokes: deps.pokes,
            locks: NodeLocks::default(),
            soft: SoftOffs::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
        });
        inner.tasks.spawn(schedule(Arc::clone(&inner)));
        watch::start(&inner);
        let engine = Self { inner, asker: Arc::default() };
        engine.resume_allocations().await?;
        engine.resume_changes().await?;
        engine.resume_consoles();
        Ok(engine)
    }

    /// Sensors of machines and the traffic with BMCs, as Prometheus scrapes them.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        let cx = &self.inner.cx;
        sensors::exposition(&cx.sensors, cx.sensor_data.interval())
    }

    /// A handle whose requests are of that one.
    #[must_use]
    pub fn on_behalf_of(&self, asker: Asker) -> Self {
        Self { inner: Arc::clone(&self.inner), asker: Arc::new(asker) }
    }

    /// Says which controller writes a line of history, and who asked for what it tells.
    pub(super) fn signed(&self, mut event: HistoryEvent) -> HistoryEvent {
        event.details.user.clone_from(&self.asker.user);
        event.details.project.clone_from(&self.asker.project);
        event.by(&self.inner.cx.hostname)
    }

    /// Whether nodes are cleaned that do not say themselves.
    #[must_use]
    pub fn automated_clean(&self) -> bool {
        self.inner.cx.config.automated_clean
    }

    /// The conductor group that this controller works for.
    #[must_use]
    pub fn conductor_group(&self) -> &str {
        &self.inner.cx.config.conductor_group
    }

    /// Takes no new work and waits for what runs, as long as `graceful_shutdown_timeout`.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.cx.consoles.stop_all().await;
        self.inner.tasks.close();
        if timeout(self.inner.cx.config.shutdown_timeout(), self.inner.tasks.wait()).await.is_err() {
            warn!("work on some nodes did not end in time: it is resumed at the next start");
            self.inner.abandon.cancel();
            self.inner.tasks.wait().await;
        }
    }

    /// Drops all work at once: another controller has the machines.
    pub async fn abandon(&self) {
        self.inner.stop.cancel();
        self.inner.abandon.cancel();
        self.inner.cx.consoles.stop_all().await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Looks at the node soon.
    pub fn poke(&self, node: NodeId) {
        self.inner.pokes.poke(node);
    }
}

/// Whoever reserved nodes or changed their power is gone.
async fn settle(cx: &Context) -> Result<(), StoreError> {
    for id in cx.store.unsettled_nodes().await? {
        let mut node = cx.store.node(&id.to_string()).await?;
        node.reservation = None;
        if let Some(target) = node.target_power_state.take() {
            node.last_error = Some(format!(
                "The controller was restarted while it changed the power state to \"{target}\": look at \
                 power_state and ask again"
            ));
        }
        cx.store.update_node(&mut node, None).await?;
        info!(node = %id, "settled after a restart");
    }
    Ok(())
}

async fn schedule(inner: Arc<Inner>) {
    let slots = Arc::new(Semaphore::new(inner.cx.config.workers_pool_size as usize));
    let mut period = tokio::time::interval(inner.cx.config.interval());
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = JoinSet::new();
    let (mut busy, mut again) = (HashSet::new(), HashSet::new());
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => break,
            _ = period.tick() => tokio::select! {
                () = inner.abandon.cancelled() => break,
                () = poke_moving(&inner) => {}
            },
            nodes = inner.pokes.take() => for node in nodes {
                if busy.insert(node) {
                    looks.spawn(look(Arc::clone(&inner), Arc::clone(&slots), node));
                } else {
                    again.insert(node);
                }
            },
            Some(ended) = looks.join_next() => match ended {
                Ok(node) => {
                    busy.remove(&node);
                    if again.remove(&node) {
                        inner.pokes.poke(node);
                    }
                }
                Err(error) => error!(%error, "a look at a node was lost"),
            },
        }
    }
    tokio::select! {
        () = inner.abandon.cancelled() => looks.shutdown().await,
        () = async { while looks.join_next().await.is_some() {} } => {}
    }
}

async fn poke_moving(inner: &Inner) {
    let moving = ProvisionState::ALL.iter().copied().filter(|state| state.is_moving()).collect();
    match inner.cx.store.node_ids(&NodeFilter { provision_states: moving, ..NodeFilter::default() }).await {
        Ok(nodes) => inner.pokes.add(nodes),
        Err(error) => error!(error = sentence(&error), "nodes that wait cannot be listed"),
    }
}

/// One look at one node. Never panics; says which node it was.
async fn look(inner: Arc<Inner>, slots: Arc<Semaphore>, node: NodeId) -> NodeId {
    let work = async {
        let Ok(_slot) = slots.acquire().await else { return Ok(()) };
        // Somebody else works on it: whoever that is pokes at the end.
        let Some(_guard) = inner.locks.acquire(node, Duration::ZERO).await else { return Ok(()) };
        process::look(&inner.cx, node, || inner.stop.is_cancelled()).await
    };
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => error!(%node, error = sentence(&error), "the node could not be worked on"),
        Err(panic) => error!(%node, panic = process::panic_text(&*panic), "work on a node panicked"),
    }
    node
}
