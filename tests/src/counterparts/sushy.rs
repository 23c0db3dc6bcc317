//! sushy-tools: a Redfish BMC that drives a libvirt virtual machine (QEMU, emulated). Nobody here wrote either.
//!
//! libvirt runs in a mount and process namespace of its own, so one that the host runs is not touched, and nothing
//! is left behind however the test ends. Needs root.
//!
//! Where it differs from a real BMC (sushy-tools 2.2): there are no sessions and no authentication; `Once` is kept as
//! `Continuous`, so the target stays after the boot; a boot target that is set together with its mode turns Secure
//! Boot off; there is no ETag, no task, no storage inventory.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use bessemer_tests::counterparts::sushy::SushyLab;
//!
//! let folder = tempfile::tempdir()?;
//! let lab = SushyLab::start(folder.path()).await?;
//! println!("{}/redfish/v1/Systems/{}", lab.redfish_url(), lab.system_uuid());
//! # Ok(())
//! # }
//! ```

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use uuid::Uuid;

use super::{
    CounterpartError,
    namespace::{Namespace, free_port},
    program::in_venv,
};

/// Size of the machine's disk; the file is sparse.
const DISK_BYTES: u64 = 8 << 30;
/// How long libvirt and sushy-emulator may take together.
const START_LIMIT: Duration = Duration::from_secs(120);
const NAME: &str = "sushy-emulator with libvirt";
const SCRIPT: &str = include_str!("sushy.sh");

/// One virtual machine (q35, UEFI, 1 GiB, 2 processors, user-mode network), off at first, and its BMC.
#[derive(Debug)]
pub struct SushyLab {
    namespace: Namespace,
    folder: PathBuf,
    redfish_url: String,
    system_uuid: Uuid,
    mac: String,
}

impl SushyLab {
    /// Starts both with their files in a new folder `sushy` of `folder`; returns when the BMC answers.
    pub async fn start(folder: &Path) -> Result<Self, CounterpartError> {
        let emulator = in_venv("sushy-emulator")?;
        let folder = folder.join("sushy");
        fs::create_dir(&folder).map_err(CounterpartError::file("create", &folder))?;
        let folder = folder.canonicalize().map_err(CounterpartError::file("find", &folder))?;
        let system_uuid = Uuid::new_v4();
        let [a, b, c, ..] = *system_uuid.as_bytes();
        let mac = format!("52:54:00:{a:02x}:{b:02x}:{c:02x}");
        let port = free_port()?;
        write_files(&folder, system_uuid, &mac, port)?;
        let mut namespace = Namespace::start(NAME, SCRIPT, &folder, &[&emulator])?;
        namespace.wait_for((Ipv4Addr::LOCALHOST, port).into(), START_LIMIT).await?;
        let redfish_url = format!("http://127.0.0.1:{port}");
        Ok(Self { namespace, folder, redfish_url, system_uuid, mac })
    }

    /// Scheme, host and port of the Redfish service; user name and password do not matter.
    #[must_use]
    pub fn redfish_url(&self) -> &str {
        &self.redfish_url
    }

    /// UUID of the machine, which is also its name below `/redfish/v1/Systems/`.
    #[must_use]
    pub fn system_uuid(&self) -> Uuid {
        self.system_uuid
    }

    /// MAC address of its network card. The machine finds the host's loopback at 10.0.2.2.
    #[must_use]
    pub fn mac(&self) -> &str {
        &self.mac
    }

    /// What the machine writes to its first serial port. libvirt empties it at each power on.
    #[must_use]
    pub fn serial_log(&self) -> PathBuf {
        self.folder.join("serial.log")
    }

    /// The machine's disk, raw.
    #[must_use]
    pub fn disk_path(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// The end of what libvirt and sushy-emulator printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.namespace.log()
    }
}

fn write_files(folder: &Path, uuid: Uuid, mac: &str, port: u16) -> Result<(), CounterpartError> {
    let disk = folder.join("disk.img");
    let made = File::create(&disk).and_then(|file| file.set_len(DISK_BYTES));
    made.map_err(CounterpartError::file("make", &disk))?;
    let machine = folder.join("machine.xml");
    fs::write(&machine, domain(folder, uuid, mac)).map_err(CounterpartError::file("write", &machine))?;
    let emulator = folder.join("emulator.conf");
    fs::write(&emulator, configuration(folder, port)).map_err(CounterpartError::file("write", &emulator))
}

/// libvirt's description of the machine. `type='qemu'` is emulation: a `/dev/kvm` that is there need not work.
fn domain(folder: &Path, uuid: Uuid, mac: &str) -> String {
    let folder = folder.display();
    format!(
        "<domain type='qemu'><name>machine</name><uuid>{uuid}</uuid>
<memory unit='MiB'>1024</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type>
<loader readonly='yes' secure='no' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'/><boot dev='hd'/></os>
<features><acpi/><apic/><smm state='on'/></features><cpu mode='maximum'/>
<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw' cache='unsafe'/><source file='{folder}/disk.img'/>
<target dev='vda' bus='virtio'/></disk>
<controller type='usb' model='qemu-xhci'/>
<interface type='user'><mac address='{mac}'/><model type='virtio'/></interface>
<serial type='file'><source path='{folder}/serial.log'/><target port='0'/></serial>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
</devices></domain>
"
    )
}

/// sushy-emulator's configuration, which is Python.
fn configuration(folder: &Path, port: u16) -> String {
    let mut text = String::new();
    let mut set = |key: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "SUSHY_EMULATOR_{key} = {value}");
    };
    set("LISTEN_IP", "'127.0.0.1'".into());
    set("LISTEN_PORT", port.to_string());
    set("LIBVIRT_URI", "'qemu:///system'".into());
    set("STATE_DIR", format!("{:?}", folder.join("state")));
    set("IGNORE_BOOT_DEVICE", "False".into());
    set("VMEDIA_VERIFY_SSL", "False".into());
    set(
        "BOOT_LOADER_MAP",
        "{'UEFI': {'x86_64': '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd'}, 'Legacy': {'x86_64': None}}".into(),
    );
    set("SECURE_BOOT_ENABLED_NVRAM", "'/usr/share/OVMF/OVMF_VARS_4M.ms.fd'".into());
    set("SECURE_BOOT_DISABLED_NVRAM", "'/usr/share/OVMF/OVMF_VARS_4M.fd'".into());
    text
}
