//! What a virtual machine is made of. Plain data, chosen before the machine exists.

use std::{path::PathBuf, time::Duration};

use bessemer_proto::secret::Secret;
use rand::Rng;
use uuid::Uuid;

use super::{LabError, bmc::Profile};

/// The firmware a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// Legacy BIOS.
    SeaBios,
    /// UEFI without Secure Boot.
    Ovmf,
    /// UEFI with SMM and Microsoft's keys enrolled, so Secure Boot can be turned on and off.
    OvmfSecureBoot,
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBus {
    /// virtio-blk: `/dev/vdX`.
    Virtio,
    /// AHCI: `/dev/sdX`.
    Sata,
    /// NVMe: `/dev/nvmeXn1`.
    Nvme,
    /// A USB stick or disk: `/dev/sdX`.
    Usb,
    /// virtio-scsi: `/dev/sdX`.
    Scsi,
}

/// How a disk's file is laid out on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// The bytes as they are.
    Raw,
    /// QEMU's own format.
    Qcow2,
}

/// One disk. Its file is made (sparse, all zeros) when it does not exist.
#[derive(Clone, Debug)]
pub struct DiskDefinition {
    /// The file; `None`: `disk-N.img` in the machine's folder.
    pub path: Option<PathBuf>,
    /// The file's format.
    pub format: DiskFormat,
    /// The size a new file gets.
    pub size_bytes: u64,
    /// How it is attached.
    pub bus: DiskBus,
    /// Serial number, at most 20 characters.
    pub serial: Option<String>,
    /// World wide name; `Sata` and `Scsi` only, the other buses have none.
    pub wwn: Option<u64>,
    /// Writes that touch this byte fail with `EIO`. Raw disks only.
    pub write_error_at: Option<u64>,
}

impl DiskDefinition {
    /// An empty raw disk of `size_bytes`.
    #[must_use]
    pub fn new(bus: DiskBus, size_bytes: u64) -> Self {
        Self {
            path: None,
            format: DiskFormat::Raw,
            size_bytes,
            bus,
            serial: None,
            wwn: None,
            write_error_at: None,
        }
    }
}

/// What the second slot for virtual media is. The first is always a CD drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondMedium {
    /// A floppy drive: `/dev/fd0`.
    Floppy,
    /// A USB stick that is plugged in and out.
    UsbStick,
}

/// What certificate a BMC has. All are self-signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// For the loopback addresses, valid.
    #[default]
    Plain,
    /// As old BMCs have it: without alternative names.
    Old,
    /// Its time is over.
    Expired,
}

/// The one account of a BMC.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Secret,
}

impl Credentials {
    /// User `admin` with a password made up now.
    #[must_use]
    pub fn random() -> Self {
        let password: String = hex::encode(rand::rng().random::<[u8; 12]>());
        Self { user: "admin".into(), password: Secret::new(password) }
    }
}

/// A machine's BMC.
#[derive(Clone, Debug)]
pub struct BmcDefinition {
    /// TCP port on 127.0.0.1; 0: any free one.
    pub port: u16,
    /// HTTPS with a self-signed certificate instead of HTTP.
    pub tls: bool,
    /// Who may log in.
    pub credentials: Credentials,
    /// What its certificate is like.
    pub certificate: Certificate,
    /// How it differs from the plain one.
    pub profile: Profile,
    /// How long a session lives without requests.
    pub session_timeout: Duration,
    /// How many sessions may be open at once.
    pub session_limit: usize,
}

impl Default for BmcDefinition {
    fn default() -> Self {
        Self {
            port: 0,
            tls: false,
            credentials: Credentials::random(),
            certificate: Certificate::Plain,
            profile: Profile::default(),
            session_timeout: Duration::from_secs(1800),
            session_limit: 16,
        }
    }
}

/// What stands behind the BMC.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// A virtual machine that really runs.
    #[default]
    Qemu,
    /// Only the machine's state: nothing runs, so a boot takes no time. See [`super::hollow`].
    Hollow(HollowBody),
}

/// How quick a hollow machine is. The default takes no time at all.
#[derive(Clone, Debug)]
pub struct HollowBody {
    /// From an accepted power action until the power has changed.
    pub power_delay: Duration,
    /// How long its firmware tests the machine before it boots something.
    pub post_time: Duration,
    /// How long its operating system takes to shut down.
    pub shutdown_time: Duration,
    /// Whether its operating system listens to the power button.
    pub obeys_button: bool,
}

impl Default for HollowBody {
    fn default() -> Self {
        let none = Duration::ZERO;
        Self { power_delay: none, post_time: none, shutdown_time: none, obeys_button: true }
    }
}

/// A virtual machine with its BMC. Take [`MachineDefinition::new`] and change what a test is about.
#[derive(Clone, Debug)]
pub struct MachineDefinition {
    /// Its name, also the name of its folder: lower case letters, digits and `-`.
    pub name: String,
    /// The SMBIOS system UUID.
    pub uuid: Uuid,
    /// Whether it really runs.
    pub body: Body,
    /// Its firmware.
    pub firmware: Firmware,
    /// Whether Secure Boot is on at first ([`Firmware::OvmfSecureBoot`] only).
    pub secure_boot: bool,
    /// Memory. UEFI machines need 512 at least to boot a kernel from an ISO.
    pub memory_mib: u32,
    /// Number of processors.
    pub cpus: u32,
    /// Disks, in order.
    pub disks: Vec<DiskDefinition>,
    /// MAC address of its one network card, behind user-mode networking: the guest gets 10.0.2.15 by DHCP and
    /// finds the host's loopback at 10.0.2.2.
    pub mac: String,
    /// What the machine's clock is off by, in seconds.
    pub clock_offset_seconds: i64,
    /// The second slot for virtual media.
    pub second_medium: Option<SecondMedium>,
    /// TCP ports of the host's loopback that lead into the guest: (host, guest).
    pub forwards: Vec<(u16, u16)>,
    /// Its BMC.
    pub bmc: BmcDefinition,
}

impl MachineDefinition {
    /// One machine: 2 processors, 1 GiB of memory, one empty virtio disk of 4 GiB, CD drive and floppy drive.
    #[must_use]
    pub fn new(name: impl Into<String>, firmware: Firmware) -> Self {
        let [a, b, c] = rand::rng().random::<[u8; 3]>();
        Self {
            name: name.into(),
            uuid: Uuid::new_v4(),
            body: Body::Qemu,
            firmware,
            secure_boot: true,
            memory_mib: 1024,
            cpus: 2,
            disks: vec![DiskDefinition::new(DiskBus::Virtio, 4 << 30)],
            mac: format!("52:54:00:{a:02x}:{b:02x}:{c:02x}"),
            clock_offset_seconds: 0,
            second_medium: Some(SecondMedium::Floppy),
            forwards: Vec::new(),
            bmc: BmcDefinition::default(),
        }
    }

    /// The same without a virtual machine: UEFI with Secure Boot, which is off.
    #[must_use]
    pub fn hollow(name: impl Into<String>) -> Self {
        let machine = Self::new(name, Firmware::OvmfSecureBoot);
        Self { body: Body::Hollow(HollowBody::default()), secure_boot: false, ..machine }
    }

    /// Checks what would break QEMU's command line or lose a file.
    pub(super) fn check(&self) -> Result<(), LabError> {
        let fail =
            |problem: &str| Err(LabError::Definition { name: self.name.clone(), problem: problem.into() });
        let word = |text: &str, extra: &str, most: usize| {
            (1..=most).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        };
        if !word(&self.name, "-", 40) {
            return fail("a name is 1 to 40 letters, digits and '-'");
        }
        if !word(&self.mac, ":", 17) || self.mac.len() != 17 {
            return fail("the MAC address is not of the form 52:54:00:12:34:56");
        }
        if self.disks.iter().filter(|disk| disk.bus == DiskBus::Sata).count() > 5 {
            return fail("five SATA disks at most: the sixth port is the CD drive's");
        }
        for disk in &self.disks {
            if disk.serial.as_ref().is_some_and(|serial| !word(serial, "-_", 20)) {
                return fail("a disk's serial number is 1 to 20 letters, digits, '-' and '_'");
            }
            if disk.wwn.is_some() && !matches!(disk.bus, DiskBus::Sata | DiskBus::Scsi) {
                return fail("only SATA and SCSI disks have a WWN");
            }
        }
        Ok(())
    }
}
