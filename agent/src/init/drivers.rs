//! Loads drivers for the devices that are there, and for those that come later.

use std::{
    collections::HashSet,
    ffi::CStr,
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
    sys::socket::{
        AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt, socket,
        sockopt,
    },
};

use super::{modules::ModuleIndex, mounts::mount_efivars};

/// Rounds of discovery: a bus may hold a bus. Five are usual (PCI, USB, SCSI, disk).
const MAX_ROUNDS: usize = 20;
/// Folders of sysfs that are looked at in one round, and how deep.
const MAX_ENTRIES: usize = 300_000;
const MAX_DEPTH: usize = 40;
/// Kernel messages about devices are smaller.
const UEVENT_BYTES: usize = 16 * 1024;
const UEVENT_BUFFER: usize = 4 * 1024 * 1024;
/// Kernel groups of the uevent socket: the kernel's own messages.
const KERNEL_GROUP: u32 = 1;
/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks the module.
const COMPRESSED: u32 = 4;

/// Loads one module file.
pub type LoadModule = dyn FnMut(&Path) -> io::Result<()> + Send;

/// Drivers of this machine.
pub struct Drivers {
    index: Arc<ModuleIndex>,
    sys: PathBuf,
    load: Box<LoadModule>,
    aliases: HashSet<String>,
    modules: HashSet<String>,
    loaded: usize,
}

impl Drivers {
    /// Drivers from a folder of modules, for the devices of a sysfs.
    pub fn new(modules: &Path, sys: &Path, load: Box<LoadModule>) -> io::Result<Self> {
        let (index, sys) = (Arc::new(ModuleIndex::read(modules)?), sys.to_owned());
        Ok(Self { index, sys, load, aliases: HashSet::new(), modules: HashSet::new(), loaded: 0 })
    }

    /// Another loader of the same modules. Both may meet at one module: the kernel keeps them in order.
    fn sibling(&self, load: Box<LoadModule>) -> Self {
        let (index, sys) = (self.index.clone(), self.sys.clone());
        Self { index, sys, load, aliases: HashSet::new(), modules: HashSet::new(), loaded: 0 }
    }

    /// Loads what the running kernel's ramdisk has for this machine; then goes on for devices that appear later,
    /// in a thread. Mounts the EFI variables, whose file system may be a listed module. A machine that needs no modules has none, which is no error.
    pub fn start() {
        let folder = match nix::sys::utsname::uname() {
            Ok(uname) => Path::new("/lib/modules").join(uname.release()),
            Err(error) => {
                tracing::error!(%error, "the kernel's version is unknown: no drivers are loaded");
                return mount_efivars();
            }
        };
        let mut drivers = match Self::new(&folder, Path::new("/sys"), Box::new(insert)) {
            Ok(drivers) => drivers,
            Err(error) => {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "no index of kernel modules: only built-in drivers work");
                return mount_efivars();
            }
        };
        // Opened first, so that no device slips through between the first scan and the listener.
        let uevents = uevent_socket();
        // Beside the devices: a listed module may probe for seconds (a floppy drive that is not there).
        let mut listed = drivers.sibling(Box::new(insert));
        thread::spawn(move || {
            listed.load_listed();
            mount_efivars();
        });
        drivers.settle();
        tracing::info!(modules = drivers.loaded, "drivers are loaded");
        match uevents {
            Ok(socket) => {
                thread::spawn(move || drivers.follow(&socket));
            }
            Err(error) => tracing::warn!(%error, "devices that appear later get no drivers"),
        }
    }

    /// Loads the modules that no device asks for.
    pub fn load_listed(&mut self) {
        for module in self.index.load_list() {
            self.load_module(&module);
        }
    }

    /// Loads drivers until no new device appears.
    pub fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let mut found = Vec::new();
            let mut budget = MAX_ENTRIES;
            scan(&self.sys.join("devices"), MAX_DEPTH, &mut budget, &mut found);
            let new = found.into_iter().filter(|alias| self.drive(alias)).count();
            if new == 0 {
                return;
            }
        }
        tracing::warn!("devices still appear after {MAX_ROUNDS} rounds of loading drivers");
    }

    /// Loads the drivers for one device; false when such a device was seen before.
    pub fn drive(&mut self, modalias: &str) -> bool {
        if !self.aliases.insert(modalias.to_owned()) {
            return false;
        }
        let modules: Vec<String> = self.index.modules_for(modalias).into_iter().map(str::to_owned).collect();
        for module in modules {
            self.load_module(&module);
        }
        true
    }

    fn load_module(&mut self, module: &str) {
        let index = self.index.clone();
        for (name, path) in index.load_order(module) {
            if self.modules.contains(name) {
                continue;
            }
            self.modules.insert(name.to_owned());
            if self.sys.join("module").join(name).exists() {
                continue;
            }
            match (self.load)(path) {
                Ok(()) => {
                    self.loaded += 1;
                    tracing::debug!(module = name, "driver loaded");
                }
                Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => {
                    tracing::info!(module = name, "a kernel module found nothing to drive");
                }
                Err(error) => tracing::warn!(module = name, %error, "a kernel module cannot be loaded"),
            }
        }
    }

    fn follow(mut self, socket: &OwnedFd) {
        let mut buffer = vec![0; UEVENT_BYTES];
        loop {
            match recvfrom::<NetlinkAddr>(socket.as_raw_fd(), &mut buffer) {
                // Only the kernel has port 0.
                Ok((length, Some(sender))) if sender.pid() == 0 => {
                    if let Some(modalias) = buffer.get(..length).and_then(added_device) {
                        self.drive(modalias);
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                // Messages were lost: look at everything again.
                Err(Errno::ENOBUFS) => self.settle(),
                Err(error) => {
                    tracing::warn!(%error, "devices that appear from now on get no drivers");
                    return;
                }
            }
        }
    }
}

/// The modalias of an `add` message.
fn added_device(message: &[u8]) -> Option<&str> {
    let mut fields = message.split(|byte| *byte == 0).filter_map(|field| std::str::from_utf8(field).ok());
    if !fields.clone().any(|field| field == "ACTION=add") {
        return None;
    }
    fields.find_map(|field| field.strip_prefix("MODALIAS=")).filter(|alias| !alias.is_empty())
}

fn uevent_socket() -> nix::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    setsockopt(&socket, sockopt::RcvBufForce, &UEVENT_BUFFER)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP))?;
    Ok(socket)
}

/// Collects every `modalias` below a folder, without following links.
fn scan(folder: &Path, depth: usize, budget: &mut usize, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Some(left) = budget.checked_sub(1) else { return };
        *budget = left;
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            scan(&entry.path(), depth - 1, budget, found);
        } else if kind.is_file()
            && entry.file_name() == "modalias"
            && let Ok(alias) = fs::read_to_string(entry.path())
            && !alias.trim().is_empty()
        {
            found.push(alias.trim().to_owned());
        }
    }
}

fn insert(path: &Path) -> io::Result<()> {
    const NO_PARAMETERS: &CStr = c"";
    let file = File::open(path)?;
    let compressed = path.extension().is_some_and(|extension| extension != "ko");
    let flags =
        if compressed { ModuleInitFlags::from_bits_retain(COMPRESSED) } else { ModuleInitFlags::empty() };
    match finit_module(&file, NO_PARAMETERS, flags) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn buses_are_discovered_through_the_drivers_that_make_them() {
        let root = tempfile::tempdir().unwrap();
        let (modules, sys) = (root.path().join("modules"), root.path().join("sys"));
        fs::create_dir_all(&modules).unwrap();
        fs::create_dir_all(sys.join("devices/pci/00:1f.2")).unwrap();
        fs::create_dir_all(sys.join("module/scsi_mod")).unwrap();
        fs::write(modules.join("modules.alias"), "alias pci:ahci* ahci\nalias scsi:t-0x00* sd_mod\n")
            .unwrap();
        fs::write(
            modules.join("modules.dep"),
            "ahci.ko: scsi_mod.ko\nscsi_mod.ko:\nsd_mod.ko: scsi_mod.ko\nbad.ko:\n",
        )
        .unwrap();
        fs::write(modules.join("bessemer.load"), "bad\n").unwrap();
        fs::write(sys.join("devices/pci/00:1f.2/modalias"), "pci:ahci1\n").unwrap();

        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, disk) = (seen.clone(), sys.join("devices/pci/00:1f.2/host0/0:0:0:0"));
        let load = move |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            log.lock().unwrap().push(name.clone());
            match name.as_str() {
                "bad.ko" => return Err(io::ErrorKind::InvalidData.into()),
                "ahci.ko" => {
                    fs::create_dir_all(&disk).unwrap();
                    fs::write(disk.join("modalias"), "scsi:t-0x00\n").unwrap();
                }
                _ => {}
            }
            Ok(())
        };
        let mut drivers = Drivers::new(&modules, &sys, Box::new(load)).unwrap();
        drivers.load_listed();
        drivers.settle();
        assert_eq!(
            *seen.lock().unwrap(),
            ["bad.ko", "ahci.ko", "sd_mod.ko"],
            "built-in scsi_mod is not loaded"
        );
        assert!(!drivers.drive("scsi:t-0x00"), "a known device is not driven twice");
        drivers.settle();
        assert_eq!(seen.lock().unwrap().len(), 3);
    }

    #[test]
    fn a_late_device_is_read_from_the_kernels_message() {
        let message = b"add@/devices/usb1\0ACTION=add\0SUBSYSTEM=usb\0MODALIAS=usb:v1\0SEQNUM=7\0";
        assert_eq!(added_device(message), Some("usb:v1"));
        assert_eq!(added_device(b"remove@/x\0ACTION=remove\0MODALIAS=usb:v1\0"), None);
        assert_eq!(added_device(b"add@/x\0ACTION=add\0MODALIAS=\0"), None);
        assert_eq!(added_device(b"\xff\xfe\0\0"), None);
    }

    #[test]
    fn a_folder_without_index_is_an_error_not_a_panic() {
        let load = Box::new(|_: &Path| Ok(()));
        assert!(Drivers::new(Path::new("/nonexistent"), Path::new("/sys"), load).is_err());
    }
}
