//! A machine's life: one task owns QEMU, the boot override and the media; all others ask it and watch.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    LabError,
    boot::{BootMode, BootOverride},
    definition::{Body, DiskFormat, Firmware, MachineDefinition, SecondMedium},
    flash,
    hollow::{self, BootEvent},
    process::{Occurrence, Process},
    qemu,
    qmp::QmpEvent,
};

/// Boot events that wait for a slow reader.
const BOOTS_KEPT: usize = 64;

/// A change of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// On; nothing when it is on.
    On,
    /// Off at once, as when the plug is pulled.
    ForceOff,
    /// Asks the guest to shut down by ACPI; it may take its time, or not listen.
    GracefulShutdown,
    /// Off and on again.
    ForceRestart,
    /// Off, by the guest.
    GuestOff,
    /// Off and on again, by the guest.
    GuestReset,
}

/// A slot for virtual media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The CD drive.
    Cd,
    /// The floppy drive or USB stick.
    Second,
}

/// An inserted medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// Where it came from.
    pub image: String,
    /// The file in the machine's folder.
    pub file: PathBuf,
}

/// How far the firmware is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Post {
    /// The machine is off.
    Off,
    /// It tests the machine.
    Running,
    /// It has handed over to what it booted.
    Finished,
}

/// What a machine is like at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it is on.
    pub on: bool,
    /// The power state that an accepted action leads to, while it is under way.
    pub changing_to: Option<bool>,
    /// How far the firmware is.
    pub post: Post,
    /// How often it was started, resets by the guest included.
    pub starts: u64,
    /// The override for the next start.
    pub boot: BootOverride,
    /// The mode of the next start.
    pub mode: BootMode,
    /// The mode of the last start.
    pub mode_at_start: BootMode,
    /// Whether Secure Boot is on from the next start; `None` for firmware without it.
    pub secure_boot: Option<bool>,
    /// Whether it was on at the last start.
    pub secure_boot_at_start: bool,
    /// The medium in the CD drive.
    pub cd: Option<Medium>,
    /// The medium in the second slot.
    pub second: Option<Medium>,
}

pub(super) enum Order {
    Power(Power),
    Boot(Option<BootOverride>, Option<BootMode>),
    SecureBoot(bool),
    Insert(Slot, Medium),
    Eject(Slot),
}

pub(super) type Reply = oneshot::Sender<Result<(), LabError>>;

/// A handle to a machine's task. Cheap to clone.
#[derive(Clone)]
pub(super) struct Handle {
    orders: mpsc::Sender<(Order, Reply)>,
    status: watch::Receiver<Status>,
    ignore_boot_override: Arc<AtomicBool>,
    boots: broadcast::Sender<BootEvent>,
}

impl Handle {
    /// What a hollow machine boots from now on.
    pub(super) fn boots(&self) -> broadcast::Receiver<BootEvent> {
        self.boots.subscribe()
    }

    /// The present state.
    pub(super) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// To wait for changes.
    pub(super) fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Whether starts ignore the boot override, as firmware with that bug does.
    pub(super) fn ignore_boot_override(&self, ignore: bool) {
        self.ignore_boot_override.store(ignore, Ordering::Relaxed);
    }

    pub(super) async fn power(&self, change: Power) -> Result<(), LabError> {
        self.order(Order::Power(change)).await
    }

    /// Sets the override, the mode, or both, for the next start.
    pub(super) async fn boot(
        &self,
        wanted: Option<BootOverride>,
        mode: Option<BootMode>,
    ) -> Result<(), LabError> {
        self.order(Order::Boot(wanted, mode)).await
    }

    pub(super) async fn secure_boot(&self, enabled: bool) -> Result<(), LabError> {
        self.order(Order::SecureBoot(enabled)).await
    }

    pub(super) async fn insert(&self, slot: Slot, medium: Medium) -> Result<(), LabError> {
        self.order(Order::Insert(slot, medium)).await
    }

    pub(super) async fn eject(&self, slot: Slot) -> Result<(), LabError> {
        self.order(Order::Eject(slot)).await
    }

    async fn order(&self, order: Order) -> Result<(), LabError> {
        let (reply, answer) = oneshot::channel();
        self.orders.send((order, reply)).await.map_err(|_| LabError::Stopped)?;
        answer.await.map_err(|_| LabError::Stopped)?
    }
}

struct Machine {
    definition: MachineDefinition,
    folder: PathBuf,
    disks: Vec<PathBuf>,
    process: Option<Process>,
    status: watch::Sender<Status>,
    ignore_boot_override: Arc<AtomicBool>,
}

/// Makes the machine's files in `folder` and starts its task. The machine is off.
pub(super) fn spawn(
    definition: MachineDefinition,
    folder: &Path,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> Result<(Handle, Vec<PathBuf>), LabError> {
    let disks = make_disks(&definition, folder)?;
    let mode = if definition.firmware == Firmware::SeaBios { BootMode::Legacy } else { BootMode::Uefi };
    let secure_boot = (definition.firmware == Firmware::OvmfSecureBoot).then_some(definition.secure_boot);
    let status = Status {
        on: false,
        changing_to: None,
        post: Post::Off,
        starts: 0,
        boot: BootOverride::DISABLED,
        mode,
        mode_at_start: mode,
        secure_boot,
        secure_boot_at_start: false,
        cd: None,
        second: None,
    };
    let (status, watch) = watch::channel(status);
    let (orders, inbox) = mpsc::channel(16);
    let ignore_boot_override = Arc::new(AtomicBool::new(false));
    let boots = broadcast::Sender::new(BOOTS_KEPT);
    let handle = Handle {
        orders,
        status: watch,
        ignore_boot_override: ignore_boot_override.clone(),
        boots: boots.clone(),
    };
    if let Body::Hollow(body) = &definition.body {
        let machine = hollow::Hollow::new(
            definition.name.clone(),
            body.clone(),
            disks.first().cloned(),
            hollow::Links { status, ignore_boot_override, boots },
        );
        tasks.spawn(machine.live(inbox, stop));
        return Ok((handle, disks));
    }
    let folder = folder.to_owned();
    let machine =
        Machine { definition, folder, disks: disks.clone(), process: None, status, ignore_boot_override };
    tasks.spawn(machine.live(inbox, stop));
    Ok((handle, disks))
}

fn make_disks(definition: &MachineDefinition, folder: &Path) -> Result<Vec<PathBuf>, LabError> {
    let mut paths = Vec::new();
    for (number, disk) in definition.disks.iter().enumerate() {
        let path = disk.path.clone().unwrap_or_else(|| folder.join(format!("disk-{number}.img")));
        if !path.exists() && disk.format == DiskFormat::Raw {
            let file = fs::File::create(&path).map_err(LabError::file("create", &path))?;
            file.set_len(disk.size_bytes).map_err(LabError::file("size", &path))?;
        } else if !path.exists() {
            let output = Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2"])
                .arg(&path)
                .arg(disk.size_bytes.to_string())
                .output()
                .map_err(|source| LabError::Spawn { program: "qemu-img", source })?;
            if !output.status.success() {
                return Err(LabError::Qemu { messages: String::from_utf8_lossy(&output.stderr).into() });
            }
        }
        paths.push(path.canonicalize().map_err(LabError::file("find", &path))?);
    }
    Ok(paths)
}

impl Machine {
    async fn live(mut self, mut inbox: mpsc::Receiver<(Order, Reply)>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                order = inbox.recv() => {
                    let Some((order, reply)) = order else { break };
                    let result = self.obey(order).await;
                    // The one who asked may be gone.
                    let _ = reply.send(result);
                }
                occurrence = next(&mut self.process) => self.react(occurrence).await,
            }
        }
        self.cut_power().await;
    }

    async fn obey(&mut self, order: Order) -> Result<(), LabError> {
        match order {
            Order::Power(change) => self.power(change).await,
            Order::Boot(wanted, mode) => {
                self.status.send_modify(|status| {
                    status.boot = wanted.unwrap_or(status.boot);
                    status.mode = mode.unwrap_or(status.mode);
                });
                Ok(())
            }
            Order::SecureBoot(enabled) => {
                self.status.send_modify(|status| status.secure_boot = status.secure_boot.map(|_| enabled));
                Ok(())
            }
            Order::Insert(slot, medium) => self.insert(slot, medium).await,
            Order::Eject(slot) => self.eject(slot).await,
        }
    }

    async fn power(&mut self, change: Power) -> Result<(), LabError> {
        tracing::info!(machine = %self.definition.name, ?change, on = self.process.is_some(), "power");
        match (change, self.process.as_mut()) {
            (Power::On, None) => self.start().await,
            (Power::On, Some(_)) | (Power::GracefulShutdown, None) => Ok(()),
            (Power::GracefulShutdown, Some(process)) => {
                process.execute("system_powerdown", json!({})).await?;
                Ok(())
            }
            (Power::ForceOff | Power::GuestOff, _) => {
                self.cut_power().await;
                Ok(())
            }
            (Power::ForceRestart | Power::GuestReset, _) => {
                self.cut_power().await;
                self.start().await
            }
        }
    }

    /// The guest or QEMU ended. A reset is a start like any other.
    async fn react(&mut self, occurrence: Occurrence) {
        let what = match occurrence {
            Occurrence::Guest(QmpEvent::Reset) => "reset by the guest",
            Occurrence::Guest(QmpEvent::Shutdown) => "shut down by the guest",
            Occurrence::Died => "QEMU died; see qemu.log",
        };
        tracing::info!(machine = %self.definition.name, what, "machine ended");
        self.cut_power().await;
        if matches!(occurrence, Occurrence::Guest(QmpEvent::Reset)) {
            self.start_again().await;
        }
    }

    async fn start_again(&mut self) {
        if let Err(error) = self.start().await {
            tracing::error!(machine = %self.definition.name, %error, "machine does not start again");
        }
    }

    /// One start: uses up the boot override.
    async fn start(&mut self) -> Result<(), LabError> {
        let before = self.status.borrow().clone();
        let firmware = qemu::firmware(self.definition.firmware, before.mode);
        let secure = firmware == Firmware::OvmfSecureBoot && before.secure_boot == Some(true);
        let (mut first, left) = before.boot.start();
        if self.ignore_boot_override.load(Ordering::Relaxed) {
            first = None;
        }
        let variables = flash::prepare(&self.definition, &self.folder, firmware, first, secure)?;
        let start = qemu::Start {
            firmware,
            variables: variables.as_deref(),
            first,
            cd: before.cd.as_ref().map(|medium| medium.file.as_path()),
            second: before.second.as_ref().map(|medium| medium.file.as_path()),
            disks: &self.disks,
        };
        let arguments = qemu::arguments(&self.definition, &start);
        self.process = Some(Process::start(&self.folder, &arguments).await?);
        tracing::info!(machine = %self.definition.name, ?firmware, ?first, secure, "started");
        self.status.send_modify(|status| {
            status.on = true;
            status.post = Post::Finished;
            status.starts += 1;
            status.mode_at_start = status.mode;
            status.boot = left;
            status.secure_boot_at_start = secure;
        });
        Ok(())
    }

    async fn cut_power(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
        self.status.send_modify(|status| {
            status.on = false;
            status.post = Post::Off;
        });
    }

    async fn insert(&mut self, slot: Slot, medium: Medium) -> Result<(), LabError> {
        self.eject(slot).await?;
        if let Some(process) = self.process.as_mut() {
            match device(&self.definition, slot) {
                Some(device) => {
                    let change = json!({
                        "device": device, "filename": medium.file, "format": "raw",
                        "read-only-mode": "read-only", "force": true,
                    });
                    process.execute("blockdev-change-medium", change).await?;
                }
                None => plug_in(process, &medium.file).await?,
            }
        }
        self.set_medium(slot, Some(medium));
        Ok(())
    }

    async fn eject(&mut self, slot: Slot) -> Result<(), LabError> {
        let old = {
            let status = self.status.borrow();
            if slot == Slot::Cd { status.cd.clone() } else { status.second.clone() }
        };
        let Some(old) = old else { return Ok(()) };
        if let Some(process) = self.process.as_mut() {
            match device(&self.definition, slot) {
                Some(device) => {
                    process.execute("eject", json!({ "device": device, "force": true })).await?;
                }
                None => plug_out(process).await?,
            }
        }
        self.set_medium(slot, None);
        fs::remove_file(&old.file).map_err(LabError::file("remove", &old.file))
    }

    fn set_medium(&self, slot: Slot, medium: Option<Medium>) {
        self.status.send_modify(|status| match slot {
            Slot::Cd => status.cd = medium,
            Slot::Second => status.second = medium,
        });
    }
}

/// QEMU's name of the drive behind a slot; `None` for a stick, which is a device of its own.
fn device(definition: &MachineDefinition, slot: Slot) -> Option<&'static str> {
    match (slot, definition.second_medium) {
        (Slot::Cd, _) => Some("cd"),
        (Slot::Second, Some(SecondMedium::UsbStick)) => None,
        (Slot::Second, _) => Some("floppy"),
    }
}

async fn plug_in(process: &mut Process, file: &Path) -> Result<(), LabError> {
    process.execute("blockdev-add", qemu::stick_node(file)).await?;
    let stick = json!({
        "driver": "usb-storage", "id": "stick", "bus": "usb.0", "drive": "stick-node", "removable": true,
    });
    process.execute("device_add", stick).await?;
    Ok(())
}

async fn plug_out(process: &mut Process) -> Result<(), LabError> {
    process.execute("device_del", json!({ "id": "stick" })).await?;
    // The node is free only when QEMU has let go of the device, a moment after the answer.
    let mut tries = 0;
    loop {
        match process.execute("blockdev-del", json!({ "node-name": "stick-node" })).await {
            Err(_) if tries < 40 => tries += 1,
            result => return result.map(drop).map_err(LabError::from),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn next(process: &mut Option<Process>) -> Occurrence {
    match process {
        Some(process) => process.next().await,
        None => std::future::pending().await,
    }
}
