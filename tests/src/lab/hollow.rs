//! A machine without a machine: power, boot override, media and Secure Boot behave as those of a machine that runs,
//! but nothing runs. What it would boot is told to whoever listens, who may play the guest.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bessemer_proto::boot_parameters::region::{
    self, DESCRIPTOR_BYTES, DESCRIPTOR_OFFSET, REGION_BYTES, Region,
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    LabError,
    boot::BootTarget,
    definition::HollowBody,
    machine::{Handle, Order, Post, Power, Reply, Slot, Status},
};

/// Where a machine booted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootSource {
    /// The medium in the CD drive: its URL.
    Cd(String),
    /// The first disk, which has a boot sector.
    Disk,
    /// The network.
    Network,
}

/// One boot of a hollow machine: its self-test is over.
#[derive(Clone, Debug)]
pub struct BootEvent {
    /// The number of the start, counted from 1.
    pub start: u64,
    /// What it boots.
    pub source: BootSource,
    /// The medium in the second slot: its URL.
    pub second: Option<String>,
    /// Fires when this boot ends: the power is cut, or the machine restarts.
    pub ended: CancellationToken,
}

/// What a guest can do to its machine. Cheap to clone.
#[derive(Clone)]
pub struct Guest {
    handle: Handle,
    disk: Option<PathBuf>,
}

impl Guest {
    pub(super) fn new(handle: Handle, disk: Option<PathBuf>) -> Self {
        Self { handle, disk }
    }

    /// Turns the machine off.
    pub async fn power_off(&self) -> Result<(), LabError> {
        self.handle.power(Power::GuestOff).await
    }

    /// Restarts it.
    pub async fn reboot(&self) -> Result<(), LabError> {
        self.handle.power(Power::GuestReset).await
    }

    /// Overwrites the beginning of the first disk.
    pub fn write_disk(&self, bytes: &[u8]) -> Result<(), LabError> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut file =
            std::fs::OpenOptions::new().write(true).open(disk).map_err(LabError::file("open", disk))?;
        file.write_all(bytes).map_err(LabError::file("write", disk))
    }

    /// The first disk.
    #[must_use]
    pub fn disk(&self) -> Option<&Path> {
        self.disk.as_deref()
    }
}

/// What happens at the end of a delay.
#[derive(Clone, Copy)]
enum Due {
    On,
    Off,
    Restart,
    PostEnds,
}

/// What ties a machine's task to its handle.
pub(super) struct Links {
    pub(super) status: watch::Sender<Status>,
    pub(super) ignore_boot_override: Arc<AtomicBool>,
    pub(super) boots: broadcast::Sender<BootEvent>,
}

/// The task of a hollow machine.
pub(super) struct Hollow {
    name: String,
    body: HollowBody,
    disk: Option<PathBuf>,
    status: watch::Sender<Status>,
    ignore_boot_override: Arc<AtomicBool>,
    boots: broadcast::Sender<BootEvent>,
    due: Option<(Instant, Due)>,
    /// What the override said at this start.
    first: Option<BootTarget>,
    ended: CancellationToken,
}

impl Hollow {
    pub(super) fn new(name: String, body: HollowBody, disk: Option<PathBuf>, links: Links) -> Self {
        let Links { status, ignore_boot_override, boots } = links;
        let ended = CancellationToken::new();
        Self { name, body, disk, status, ignore_boot_override, boots, due: None, first: None, ended }
    }

    pub(super) async fn live(mut self, mut inbox: mpsc::Receiver<(Order, Reply)>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                order = inbox.recv() => {
                    let Some((order, reply)) = order else { break };
                    self.obey(order);
                    // The one who asked may be gone.
                    let _ = reply.send(Ok(()));
                }
                due = elapsed(self.due) => {
                    self.due = None;
                    self.happen(due);
                }
            }
        }
        self.off();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Power(change) => self.power(change),
            Order::Boot(wanted, mode) => self.status.send_modify(|status| {
                status.boot = wanted.unwrap_or(status.boot);
                status.mode = mode.unwrap_or(status.mode);
            }),
            Order::SecureBoot(enabled) => {
                self.status.send_modify(|status| status.secure_boot = status.secure_boot.map(|_| enabled))
            }
            Order::Insert(Slot::Cd, medium) => self.status.send_modify(|status| status.cd = Some(medium)),
            Order::Insert(Slot::Second, medium) => {
                self.status.send_modify(|status| status.second = Some(medium));
            }
            Order::Eject(slot) => self.status.send_modify(|status| {
                let medium = if slot == Slot::Cd { status.cd.take() } else { status.second.take() };
                if let Some(medium) = medium {
                    let _ = std::fs::remove_file(medium.file);
                }
            }),
        }
    }

    fn power(&mut self, change: Power) {
        let on = self.status.borrow().on;
        tracing::info!(machine = %self.name, ?change, on, "power");
        let (delay, due) = match change {
            Power::On if on => return,
            Power::On => (self.body.power_delay, Due::On),
            Power::ForceOff if !on => (Duration::ZERO, Due::Off),
            Power::ForceOff => (self.body.power_delay, Due::Off),
            Power::GracefulShutdown if !on || !self.body.obeys_button => return,
            Power::GracefulShutdown => (self.body.shutdown_time, Due::Off),
            Power::ForceRestart => (self.body.power_delay, Due::Restart),
            Power::GuestOff => (Duration::ZERO, Due::Off),
            Power::GuestReset => (Duration::ZERO, Due::Restart),
        };
        if delay.is_zero() {
            self.due = None;
            return self.happen(due);
        }
        let target = !matches!(due, Due::Off);
        self.status.send_modify(|status| status.changing_to = Some(target));
        self.due = Some((Instant::now() + delay, due));
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::On => self.start(),
            Due::Off => self.off(),
            Due::Restart => {
                self.off();
                self.start();
            }
            Due::PostEnds => self.boot(),
        }
    }

    fn off(&mut self) {
        self.ended.cancel();
        self.status.send_modify(|status| {
            status.on = false;
            status.changing_to = None;
            status.post = Post::Off;
        });
    }

    /// One start: uses up the boot override.
    fn start(&mut self) {
        self.ended = CancellationToken::new();
        let (mut first, left) = self.status.borrow().boot.start();
        if self.ignore_boot_override.load(Ordering::Relaxed) {
            first = None;
        }
        self.first = first;
        self.status.send_modify(|status| {
            status.on = true;
            status.changing_to = None;
            status.post = Post::Running;
            status.starts += 1;
            status.boot = left;
            status.mode_at_start = status.mode;
            status.secure_boot_at_start = status.secure_boot == Some(true);
        });
        if self.body.post_time.is_zero() {
            self.boot();
        } else {
            self.due = Some((Instant::now() + self.body.post_time, Due::PostEnds));
        }
    }

    /// The firmware's own order is disk, CD, network.
    fn boot(&mut self) {
        let status = self.status.borrow().clone();
        let cd = status.cd.map(|medium| BootSource::Cd(medium.image));
        let disk = || self.disk.as_deref().is_some_and(has_boot_sector).then_some(BootSource::Disk);
        let source = match self.first {
            Some(BootTarget::Cd) => cd.or_else(disk),
            Some(BootTarget::Network) => None,
            Some(BootTarget::Disk) | None => disk().or(cd),
        };
        let source = source.unwrap_or(BootSource::Network);
        tracing::info!(machine = %self.name, ?source, "boots");
        self.status.send_modify(|status| status.post = Post::Finished);
        let event = BootEvent {
            start: status.starts,
            source,
            second: status.second.map(|medium| medium.image),
            ended: self.ended.clone(),
        };
        // Nobody has to listen.
        let _ = self.boots.send(event);
    }
}

async fn elapsed(due: Option<(Instant, Due)>) -> Due {
    match due {
        Some((at, due)) => {
            sleep_until(at).await;
            due
        }
        None => std::future::pending().await,
    }
}

fn has_boot_sector(disk: &Path) -> bool {
    let signature = || {
        let mut file = std::fs::File::open(disk)?;
        file.seek(SeekFrom::Start(510))?;
        let mut bytes = [0; 2];
        file.read_exact(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    signature().is_ok_and(|bytes| bytes == [0x55, 0xaa])
}

/// The least ISO that a controller takes as its deploy ISO: a volume descriptor and a region for boot parameters.
pub fn deploy_iso() -> Result<Vec<u8>, region::RegionError> {
    let offset = DESCRIPTOR_OFFSET + 2 * DESCRIPTOR_BYTES as u64;
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    descriptor[0] = 1;
    descriptor[1..6].copy_from_slice(b"CD001");
    Region { offset, length: REGION_BYTES as u64 }.write_pointer(&mut descriptor);
    let mut iso = vec![0; usize::try_from(DESCRIPTOR_OFFSET).unwrap_or_default()];
    iso.extend(descriptor);
    iso.extend([0; DESCRIPTOR_BYTES]);
    iso.extend(region::fill("")?);
    Ok(iso)
}
