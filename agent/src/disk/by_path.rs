//! The names that udev gives a disk below `/dev/disk/by-path`, computed from sysfs: the ramdisk has no udev.
//!
//! udev walks from the disk to the root of the device tree and prepends one part for each bus it knows.

use std::path::{Path, PathBuf};

use super::{
    discover::{is_hctl, numbered},
    sysfs,
};
use crate::steps::Roots;

/// The links of the disk whose canonical sysfs folder is `block`, the current spelling first.
pub(super) fn names(roots: &Roots, block: &Path) -> Vec<String> {
    let Some(walk) = Walk::new(roots, block) else { return Vec::new() };
    walk.run()
}

struct Walk<'a> {
    class: PathBuf,
    block: &'a Path,
    devices: PathBuf,
    /// Parts so far, the one nearest to the root last.
    parts: Vec<String>,
    /// The part of ATA disks before systemd 243, which is still linked.
    old_ata: Option<(usize, String)>,
    /// Virtio disks have a second link, from before systemd 220.
    virtio: bool,
}

impl<'a> Walk<'a> {
    fn new(roots: &Roots, block: &'a Path) -> Option<Self> {
        let sys = roots.sys.canonicalize().ok()?;
        Some(Self {
            class: sys.join("class"),
            block,
            devices: sys.join("devices"),
            parts: Vec::new(),
            old_ata: None,
            virtio: false,
        })
    }

    fn run(mut self) -> Vec<String> {
        let (mut parent_known, mut transport_known) = (false, false);
        let mut folder = self.block.to_owned();
        while let Some(parent) = folder.parent().map(Path::to_owned) {
            if parent == self.devices || !parent.starts_with(&self.devices) {
                break;
            }
            folder = parent;
            let Some(subsystem) = sysfs::link_name(&folder.join("subsystem")) else { continue };
            match self.step(&subsystem, &folder) {
                Step::None => {}
                Step::Skip(next, known) => {
                    parent_known |= known != Known::Transport;
                    transport_known |= known != Known::Parent;
                    folder = next;
                }
                Step::Unknown => return Vec::new(),
            }
        }
        if parent_known && transport_known { self.finish() } else { Vec::new() }
    }

    fn finish(mut self) -> Vec<String> {
        self.parts.reverse();
        let current = self.parts.join("-");
        let mut names = vec![current];
        if self.virtio {
            names.extend(names.first().map(|name| format!("virtio-{name}")));
        }
        if let Some((from_disk, part)) = self.old_ata {
            let index = self.parts.len() - 1 - from_disk;
            if let Some(place) = self.parts.get_mut(index) {
                *place = part;
                names.push(self.parts.join("-"));
            }
        }
        names
    }

    fn step(&mut self, subsystem: &str, folder: &Path) -> Step {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        match subsystem {
            "pci" | "acpi" => self.bus(format!("{subsystem}-{name}"), folder, subsystem, Known::Parent),
            "platform" => self.bus(format!("platform-{name}"), folder, subsystem, Known::Both),
            "virtio" => {
                self.virtio = self.parts.is_empty();
                Step::Skip(skip_subsystem(folder, "virtio"), Known::Transport)
            }
            "usb" => match name.split_once('-') {
                Some((_, port)) => self.bus(format!("usb-0:{port}"), folder, subsystem, Known::Transport),
                None => Step::None,
            },
            "nvme" | "nvme-subsystem" => match sysfs::text(&self.block.join("nsid")) {
                Some(nsid) => self.bus(format!("nvme-{nsid}"), folder, subsystem, Known::Both),
                None => Step::Unknown,
            },
            "scsi" if is_hctl(&name) => self.scsi(&name, folder),
            _ => Step::None,
        }
    }

    fn bus(&mut self, part: String, folder: &Path, subsystem: &str, known: Known) -> Step {
        self.parts.push(part);
        Step::Skip(skip_subsystem(folder, subsystem), known)
    }

    fn scsi(&mut self, hctl: &str, folder: &Path) -> Step {
        let parts: Vec<&str> = folder.iter().filter_map(|part| part.to_str()).collect();
        let has = |prefix: &str| parts.iter().any(|part| part.starts_with(prefix));
        let done = if has("rport-") {
            self.fibre_channel(hctl, folder)
        } else if has("end_device-") {
            self.sas(hctl, folder)
        } else if parts.iter().any(|part| numbered(part, "session")) {
            // Disks of a software initiator are not there when the ramdisk starts; their names need the target's.
            None
        } else if parts.iter().any(|part| numbered(part, "ata")) {
            self.ata(hctl, folder)
        } else {
            self.parallel(hctl, folder)
        };
        done.unwrap_or(Step::Unknown)
    }

    fn fibre_channel(&mut self, hctl: &str, folder: &Path) -> Option<Step> {
        let target = folder.parent()?.file_name()?;
        let port = sysfs::text(&self.class.join("fc_transport").join(target).join("port_name"))?;
        self.parts.push(format!("fc-{port}-{}", lun(hctl)?));
        Some(Step::Skip(folder.to_owned(), Known::Both))
    }

    fn sas(&mut self, hctl: &str, folder: &Path) -> Option<Step> {
        let end_device = folder.parent()?.parent()?;
        let port = end_device.parent()?;
        let devices = self.class.join("sas_device");
        let device = devices.join(end_device.file_name()?);
        let wide = sysfs::text(&self.class.join("sas_port").join(port.file_name()?).join("num_phys"))? != "1";
        let lun = lun(hctl)?;
        let part = if wide {
            format!("sas-{}-{lun}", sysfs::text(&device.join("sas_address"))?)
        } else {
            let phy = sysfs::text(&device.join("phy_identifier"))?;
            let expander = devices.join(port.parent()?.file_name()?);
            match sysfs::text(&expander.join("sas_address")) {
                Some(address) => format!("sas-exp{address}-phy{phy}-{lun}"),
                None => format!("sas-phy{phy}-{lun}"),
            }
        };
        self.parts.push(part);
        Some(Step::Skip(folder.to_owned(), Known::Both))
    }

    fn ata(&mut self, hctl: &str, folder: &Path) -> Option<Step> {
        let host = folder.ancestors().find(|folder| is_host(folder))?;
        let port = host.parent()?;
        let number = sysfs::text(&self.class.join("ata_port").join(port.file_name()?).join("port_no"))?;
        let mut address = hctl.split(':').skip(1);
        let (bus, target) = (address.next()?, address.next()?);
        // Disks behind a port multiplier differ by bus, master and slave by target.
        let part =
            if bus == "0" { format!("ata-{number}.{target}") } else { format!("ata-{number}.{bus}.0") };
        self.old_ata = Some((self.parts.len(), format!("ata-{number}")));
        self.parts.push(part);
        Some(Step::Skip(folder.to_owned(), Known::Transport))
    }

    fn parallel(&mut self, hctl: &str, folder: &Path) -> Option<Step> {
        let host = folder.ancestors().find(|folder| is_host(folder))?;
        let (number, rest) = hctl.split_once(':')?;
        let number: u32 = number.parse().ok()?;
        // Host numbers depend on probe order, so udev counts from the lowest host of the same controller.
        let lowest = sysfs::names(host.parent()?)
            .iter()
            .filter_map(|name| name.strip_prefix("host")?.parse::<u32>().ok())
            .min()?;
        self.parts.push(format!("scsi-{}:{rest}", number.checked_sub(lowest)?));
        Some(Step::Skip(host.to_owned(), Known::Transport))
    }
}

enum Step {
    /// The folder adds nothing.
    None,
    /// Go on above this folder.
    Skip(PathBuf, Known),
    /// udev makes no link for this.
    Unknown,
}

/// What a part of the path tells: a link is made when both the controller's place and the transport are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Parent,
    Transport,
    Both,
}

fn is_host(folder: &Path) -> bool {
    folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| numbered(name, "host"))
}

/// The uppermost ancestor that is of the same subsystem without a gap.
fn skip_subsystem(folder: &Path, subsystem: &str) -> PathBuf {
    folder
        .ancestors()
        .take_while(|folder| sysfs::link_name(&folder.join("subsystem")).as_deref() == Some(subsystem))
        .last()
        .unwrap_or(folder)
        .to_owned()
}

/// `lun-N`, or the eight-byte form above 255.
fn lun(hctl: &str) -> Option<String> {
    let lun: u32 = hctl.rsplit(':').next()?.parse().ok()?;
    Some(if lun < 256 {
        format!("lun-{lun}")
    } else {
        format!("lun-0x{:04x}{:04x}00000000", lun & 0xffff, lun >> 16)
    })
}
