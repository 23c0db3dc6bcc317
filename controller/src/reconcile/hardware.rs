//! What the API may ask of a machine through its BMC, besides power. Short questions are answered at once, within a
//! deadline; what may take longer happens in the background and shows in the node's fields and `last_error`.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bessemer_proto::ids::NodeId;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

use super::{
    engine::Engine,
    error::{RequestError, sentence},
    locks::NodeGuard,
    persist::Insistence,
    process::panic_text,
    requests::invalid,
};
use crate::{
    bmc::{Bmc, BmcError, BootSource, Indicator, Light, MediaKind, MediaSlot, PowerAction},
    drivers,
    node::{BootMode, Node, PowerState},
    store::{Resource, StoreError},
};

/// How long a question of the API may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);
/// How long a change in the background may take.
const CHANGE_WITHIN: Duration = Duration::from_secs(600);
/// IPMI 2.0, section 20.3.
const WARM_RESET: [u8; 2] = [0x06, 0x03];

/// How long a machine may take to be off, or on, before and after it boots an image.
const BOOT_ISO_WITHIN: Duration = Duration::from_secs(60);

/// A change of a machine that is made in the background.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// UEFI or BIOS.
    BootMode(BootMode),
    /// Secure Boot on or off.
    SecureBoot(bool),
    /// A virtual medium is inserted.
    Attach(MediaKind, Url),
    /// Virtual media are ejected.
    Detach(Vec<MediaKind>),
    /// The machine is restarted into an ISO image, once.
    BootIso(Url),
    /// The console is made available or not.
    Console(bool),
    /// The BMC is restarted.
    ResetBmc {
        /// Only its software.
        warm: bool,
    },
}

/// A change that was accepted and is not made yet: another life of the controller makes it.
#[derive(Clone, Serialize, Deserialize)]
struct Pending {
    node: NodeId,
    change: Change,
}

impl Resource for Pending {
    const KIND: &'static str = "hardware_change";
    const WHAT: &'static str = "Hardware change";

    fn uuid(&self) -> Uuid {
        self.node.0
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.node)
    }
}

// === impl Engine ===

impl Engine {
    /// What boots next, and whether it stays so; `None` when the BMC does not say.
    pub async fn boot_device(&self, node: &Node) -> Result<Option<(BootSource, bool)>, RequestError> {
        let bmc = self.managed(node)?;
        let device = bmc.boot_device.ok_or_else(|| unsupported(node, "get_boot_device"))?;
        answer(device.current()).await
    }

    /// What may be chosen to boot.
    pub async fn boot_devices(&self, node: &Node) -> Result<Vec<BootSource>, RequestError> {
        let bmc = self.managed(node)?;
        let device = bmc.boot_device.ok_or_else(|| unsupported(node, "get_supported_boot_devices"))?;
        answer(device.supported()).await
    }

    /// Chooses what boots next; `device` is Ironic's word.
    pub async fn set_boot_device(
        &self,
        node: NodeId,
        device: &str,
        persistent: bool,
    ) -> Result<(), RequestError> {
        let (_guard, node) = self.locked(node).await?;
        let chooser =
            self.managed(&node)?.boot_device.ok_or_else(|| unsupported(&node, "set_boot_device"))?;
        let supported = answer(chooser.supported()).await?;
        let source = device.parse().ok().filter(|source| supported.contains(source)).ok_or_else(|| {
            let device: String = device.chars().take(64).collect();
            RequestError::Invalid(format!("Invalid boot device {device} specified."))
        })?;
        answer(async {
            if persistent { chooser.boot_always(source).await } else { chooser.boot_once(source).await }
        })
        .await?;
        Ok(())
    }

    /// Interrupts the running operating system.
    pub async fn inject_nmi(&self, node: NodeId) -> Result<(), RequestError> {
        let (_guard, node) = self.locked(node).await?;
        let nmi = self.managed(&node)?.nmi.ok_or_else(|| unsupported(&node, "inject_nmi"))?;
        answer(nmi.inject()).await
    }

    /// Sends a command in the BMC's own bytes, and answers with its own.
    pub(super) async fn send_raw(&self, node: NodeId, bytes: &[u8]) -> Result<Vec<u8>, RequestError> {
        let (_guard, node) = self.locked(node).await?;
        let raw = self.managed(&node)?.raw.ok_or_else(|| unsupported(&node, "send_raw"))?;
        answer(raw.send(bytes)).await
    }

    /// The lights of a machine.
    pub async fn indicators(&self, node: &Node) -> Result<Vec<Indicator>, RequestError> {
        let lights = self.managed(node)?.indicators;
        let lights = lights.ok_or_else(|| unsupported(node, "get_supported_indicators"))?;
        answer(lights.lights()).await
    }

    /// What one light shows.
    pub async fn indicator(&self, node: &Node, component: &str, id: &str) -> Result<Light, RequestError> {
        let lights = self.managed(node)?.indicators;
        let lights = lights.ok_or_else(|| unsupported(node, "get_indicator_state"))?;
        known_light(answer(lights.lights()).await?, node, component, id)?;
        answer(lights.light(component, id)).await
    }

    /// Changes one light.
    pub async fn set_indicator(
        &self,
        node: NodeId,
        component: &str,
        id: &str,
        light: Light,
    ) -> Result<(), RequestError> {
        let (_guard, node) = self.locked(node).await?;
        let lights = self.managed(&node)?.indicators;
        let lights = lights.ok_or_else(|| unsupported(&node, "set_indicator_state"))?;
        let found = known_light(answer(lights.lights()).await?, &node, component, id)?;
        if found.read_only || !found.states.contains(&light) {
            return Err(RequestError::Invalid(format!(
                "Indicator {id} of component {component} of node {} can not be made to show {light}.",
                node.uuid
            )));
        }
        answer(lights.set_light(component, id, light)).await
    }

    /// The virtual drives of a machine and what is in them.
    pub async fn media(&self, node: &Node) -> Result<Vec<MediaSlot>, RequestError> {
        let media = self.managed(node)?.virtual_media;
        answer(media.ok_or_else(|| unsupported(node, "get_virtual_media"))?.slots()).await
    }

    /// Accepts a change that is made in the background.
    pub async fn change(&self, node: NodeId, change: Change) -> Result<(), RequestError> {
        let (guard, mut node) = self.locked(node).await?;
        if matches!(change, Change::BootMode(_) | Change::SecureBoot(_)) && node.provision_state.is_moving() {
            return Err(RequestError::InUse(format!(
                "Node is in {} state. Since node is transitioning, the boot mode will not be set as this may \
                 interfere with ongoing changes and result in erroneous modification. Try again later.",
                node.provision_state
            )));
        }
        if let Change::Console(enabled) = change {
            return self.switch_console(&mut node, enabled).await;
        }
        let bmc = self.managed(&node)?;
        let missing = match &change {
            Change::BootMode(_) => bmc.boot_mode.is_none().then_some("set_boot_mode"),
            Change::SecureBoot(_) => bmc.secure_boot.is_none().then_some("set_secure_boot_state"),
            Change::Attach(..) => bmc.virtual_media.is_none().then_some("attach_virtual_media"),
            Change::Detach(_) => bmc.virtual_media.is_none().then_some("detach_virtual_media"),
            Change::ResetBmc { warm: true } => bmc.raw.is_none().then_some("bmc_reset"),
            Change::ResetBmc { warm: false } => bmc.manager.is_none().then_some("bmc_reset"),
            Change::BootIso(_) => {
                (bmc.virtual_media.is_none() || bmc.boot_device.is_none()).then_some("boot_into_iso")
            }
            Change::Console(_) => None,
        };
        if let Some(missing) = missing {
            return Err(unsupported(&node, missing));
        }
        let store = &self.inner.cx.store;
        self.settle_change(node.uuid).await?;
        store.create_resource(&Pending { node: node.uuid, change: change.clone() }).await?;
        node.last_error = None;
        node.reservation = Some(self.inner.cx.hostname.clone());
        store.update_node(&mut node, None).await?;
        tracing::info!(node = %node.uuid, change = change.name(), "hardware change requested");
        self.in_background(|engine| async move { engine.carry_out(guard, node, bmc, change).await });
        Ok(())
    }

    fn in_background<W: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Self) -> W) {
        let (abandon, work) = (self.inner.abandon.clone(), work(self.clone()));
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = abandon.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Makes the changes that another life of the controller accepted.
    pub(super) async fn resume_changes(&self) -> Result<(), StoreError> {
        for pending in self.inner.cx.store.resources::<Pending>(None).await? {
            let Pending { node, change } = pending.value;
            self.in_background(move |engine| async move {
                if let Err(error) = engine.resume_change(node, change).await {
                    tracing::error!(%node, error = sentence(&error), "a hardware change is not resumed");
                }
            });
        }
        Ok(())
    }

    async fn resume_change(&self, node: NodeId, change: Change) -> Result<(), RequestError> {
        let (guard, mut node) = self.locked(node).await?;
        let bmc = self.managed(&node)?;
        node.reservation = Some(self.inner.cx.hostname.clone());
        self.inner.cx.store.update_node(&mut node, None).await?;
        tracing::info!(node = %node.uuid, change = change.name(), "hardware change resumed");
        self.carry_out(guard, node, bmc, change).await;
        Ok(())
    }

    async fn settle_change(&self, node: NodeId) -> Result<(), StoreError> {
        match self.inner.cx.store.delete_resource::<Pending>(node.0).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    async fn settle_end(&self, node: NodeId) {
        let mut insistence = Insistence::new();
        while let Err(error) = self.settle_change(node).await {
            if !insistence.waits(self, &error).await {
                tracing::error!(%node, error = sentence(&error), "the change is made again at a restart");
                return;
            }
        }
    }

    async fn carry_out(&self, guard: NodeGuard, mut node: Node, bmc: Bmc, change: Change) {
        let work = AssertUnwindSafe(timeout(CHANGE_WITHIN, apply(&bmc, &change))).catch_unwind().await;
        let problem = match work {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(sentence(&error)),
            Ok(Err(_)) => Some(format!("it took longer than {} s", CHANGE_WITHIN.as_secs())),
            Err(panic) => {
                tracing::error!(node = %node.uuid, panic = panic_text(&*panic), "a hardware change panicked");
                Some("internal error of the controller: please report it with its log".to_owned())
            }
        };
        let last_error = problem.map(|problem| format!("Failed to {}. Error: {problem}", change.sentence()));
        tracing::info!(node = %node.uuid, change = change.name(), error = last_error, "hardware change ended");
        let end = self.write_end(&mut node, None, |node| {
            match (&last_error, &change) {
                (None, Change::BootMode(mode)) => node.boot_mode = Some(*mode),
                (None, Change::SecureBoot(enabled)) => node.secure_boot = Some(*enabled),
                _ => {}
            }
            node.last_error.clone_from(&last_error);
            node.reservation = None;
        });
        if end.await {
            self.settle_end(node.uuid).await;
        }
        drop(guard);
        self.poke(node.uuid);
    }

    /// Stores what the machine's disks shall become.
    pub async fn set_target_raid_config(
        &self,
        node: NodeId,
        config: serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), RequestError> {
        let (_guard, mut node) = self.locked(node).await?;
        if !config.is_empty() {
            supports(&node, "raid")?;
            crate::node::raid::check(&config).map_err(|problem| {
                RequestError::Invalid(format!("RAID config validation error: {problem}"))
            })?;
        }
        node.target_raid_config = config;
        Ok(self.inner.cx.store.update_node(&mut node, None).await?)
    }

    pub(super) async fn locked(&self, node: NodeId) -> Result<(NodeGuard, Node), RequestError> {
        let guard = self.lock(node).await?;
        let node = self.inner.cx.store.node(&node.to_string()).await?;
        Ok((guard, node))
    }

    /// The BMC, if the node's management interface is one.
    pub(super) fn managed(&self, node: &Node) -> Result<Bmc, RequestError> {
        supports(node, "management")?;
        (self.inner.cx.open_bmc)(node).map_err(|error| invalid(&error))
    }
}

/// Refuses what the node's driver or interface does not have.
pub(crate) fn supports(node: &Node, kind: &'static str) -> Result<(), RequestError> {
    match node.interfaces.get(kind) {
        Some(name) if !drivers::is_absent(name) => Ok(()),
        _ => Err(unsupported(node, kind)),
    }
}

pub(super) fn unsupported(node: &Node, extension: &'static str) -> RequestError {
    RequestError::Unsupported { driver: node.driver.clone(), what: extension.to_owned() }
}

fn known_light(
    lights: Vec<Indicator>,
    node: &Node,
    component: &str,
    id: &str,
) -> Result<Indicator, RequestError> {
    lights.into_iter().find(|light| light.component == component && light.id == id).ok_or_else(|| {
        RequestError::Invalid(format!(
            "Unknown indicator {id} for component {component} of node {}.",
            node.uuid
        ))
    })
}

pub(super) async fn answer<T>(work: impl Future<Output = Result<T, BmcError>>) -> Result<T, RequestError> {
    match timeout(ANSWER_WITHIN, work).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error @ (BmcError::DriverInfo(_) | BmcError::Unsupported { .. }))) => Err(invalid(&error)),
        Ok(Err(error)) => Err(RequestError::Hardware(sentence(&error))),
        Err(_) => {
            let seconds = ANSWER_WITHIN.as_secs();
            Err(RequestError::Hardware(format!("the BMC did not answer within {seconds} s")))
        }
    }
}

async fn apply(bmc: &Bmc, change: &Change) -> Result<(), BmcError> {
    match change {
        Change::BootMode(mode) => match &bmc.boot_mode {
            Some(control) => control.set_mode(*mode).await.map(drop),
            None => Ok(()),
        },
        Change::SecureBoot(enabled) => match &bmc.secure_boot {
            Some(control) => control.set_enabled(*enabled).await.map(drop),
            None => Ok(()),
        },
        Change::Attach(kind, url) => match &bmc.virtual_media {
            Some(media) => media.insert(*kind, url).await.map(drop),
            None => Ok(()),
        },
        Change::BootIso(url) => boot_iso(bmc, url).await,
        Change::Detach(kinds) => {
            let Some(media) = &bmc.virtual_media else { return Ok(()) };
            for kind in kinds {
                media.eject(*kind).await?;
            }
            Ok(())
        }
        Change::ResetBmc { warm: true } => match &bmc.raw {
            Some(raw) => {
                // One that is not there is not restarted; one that is there restarts perhaps before it has answered.
                bmc.power.state().await?;
                match raw.send(&WARM_RESET).await {
                    Ok(_) | Err(BmcError::Timeout { .. } | BmcError::Unreachable { .. }) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            None => Ok(()),
        },
        Change::ResetBmc { warm: false } => match &bmc.manager {
            Some(manager) => manager.reset().await,
            None => Ok(()),
        },
        Change::Console(_) => Ok(()),
    }
}

/// Idempotent: another life of the controller may begin again.
async fn boot_iso(bmc: &Bmc, url: &Url) -> Result<(), BmcError> {
    let (Some(media), Some(device)) = (&bmc.virtual_media, &bmc.boot_device) else { return Ok(()) };
    media.ready().await?;
    // What cannot be booted must not cost a running machine.
    media.insert(MediaKind::Cd, url).await?;
    if let Err(error) = device.boot_once(BootSource::Cd).await {
        media.eject(MediaKind::Cd).await.ok();
        return Err(error);
    }
    let power = &bmc.power;
    let was_off = AtomicBool::new(false);
    let restart = async {
        power.set(PowerAction::ForceOff).await?;
        power.wait_for(PowerState::Off, BOOT_ISO_WITHIN).await?;
        was_off.store(true, Ordering::Relaxed);
        power.set(PowerAction::On).await?;
        power.wait_for(PowerState::On, BOOT_ISO_WITHIN).await
    };
    let done = restart.await;
    if done.is_err() && !was_off.load(Ordering::Relaxed) {
        // It runs on: its next restart, weeks later perhaps, must not boot the image.
        let undone = async {
            media.eject(MediaKind::Cd).await?;
            device.boot_once(BootSource::Disk).await
        };
        if let Err(error) = undone.await {
            tracing::warn!(%error, "the image stays attached: the machine boots it at its next restart");
        }
    }
    if done.is_err()
        && let Err(error) = power.set(PowerAction::On).await
    {
        tracing::warn!(%error, "the machine could not be switched on again");
    }
    done
}

// === impl Change ===

/// Without the URL: it may hold secrets.
impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Change {
    fn name(&self) -> &'static str {
        match self {
            Self::BootMode(_) => "boot mode",
            Self::SecureBoot(_) => "secure boot",
            Self::Attach(..) => "attach virtual media",
            Self::Detach(_) => "detach virtual media",
            Self::BootIso(_) => "boot into ISO",
            Self::Console(_) => "console",
            Self::ResetBmc { .. } => "BMC reset",
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::BootMode(mode) => format!("change the boot mode to \"{mode}\""),
            Self::SecureBoot(enabled) => format!("change Secure Boot to {enabled}"),
            Self::Attach(..) => "attach the virtual medium".to_owned(),
            Self::Detach(_) => "detach the virtual media".to_owned(),
            Self::BootIso(_) => "boot into the ISO image".to_owned(),
            Self::Console(enabled) => format!("change the console to {enabled}"),
            Self::ResetBmc { .. } => "restart the BMC".to_owned(),
        }
    }
}
