//! QEMU's command line for one start of a machine. Pure: no I/O.

use std::path::{Path, PathBuf};

use super::{
    boot::{BootMode, BootTarget},
    definition::{DiskBus, DiskDefinition, DiskFormat, Firmware, MachineDefinition, SecondMedium},
    flash,
};

/// The network card's place on the PCI bus, which is a part of its UEFI path.
pub(super) const NETWORK_SLOT: u8 = 0x10;

/// What differs from start to start.
pub(super) struct Start<'a> {
    /// The firmware of this start.
    pub(super) firmware: Firmware,
    /// Its variables, for UEFI.
    pub(super) variables: Option<&'a Path>,
    /// What an override puts first; `None`: the firmware's own order.
    pub(super) first: Option<BootTarget>,
    /// The medium in the CD drive.
    pub(super) cd: Option<&'a Path>,
    /// The medium in the second slot.
    pub(super) second: Option<&'a Path>,
    /// The files of the disks, in order.
    pub(super) disks: &'a [PathBuf],
}

impl Start<'_> {
    /// The boot index of a device. UEFI boots the CD and the network by a variable, and gets an index for disks only,
    /// because it rewrites its boot order by what has an index. Without an override nothing has one.
    fn index(&self, target: BootTarget, number: usize) -> String {
        let by_variable = self.firmware != Firmware::SeaBios && target != BootTarget::Disk;
        match self.first {
            Some(first) if first == target && !by_variable => format!(",bootindex={number}"),
            _ => String::new(),
        }
    }
}

/// The firmware of a machine in a boot mode: its own where that fits.
pub(super) fn firmware(own: Firmware, mode: BootMode) -> Firmware {
    match (mode, own) {
        (BootMode::Legacy, _) => Firmware::SeaBios,
        (BootMode::Uefi, Firmware::SeaBios) => Firmware::Ovmf,
        (BootMode::Uefi, own) => own,
    }
}

/// All arguments.
pub(super) fn arguments(machine: &MachineDefinition, start: &Start<'_>) -> Vec<String> {
    let mut list = Vec::new();
    let mut add = |key: &str, value: String| list.extend([format!("-{key}"), value]);
    board(machine, start, &mut add);
    if let (Some(code), Some(variables)) = (flash::code(start.firmware), start.variables) {
        let pflash = |unit: u8, path: &Path, more: &str| {
            format!("if=pflash,unit={unit},format=raw,file={}{more}", escape(path))
        };
        add("drive", pflash(0, &code, ",readonly=on"));
        add("drive", pflash(1, variables, ""));
    }
    for (number, (disk, path)) in machine.disks.iter().zip(start.disks).enumerate() {
        attach_disk(number, disk, path, &start.index(BootTarget::Disk, number), &mut add);
    }
    attach_media(machine, start, &mut add);
    let mut network = String::from("user,id=network");
    for (host, guest) in &machine.forwards {
        network.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
    }
    add("netdev", network);
    // Legacy BIOS boots the network by the card's ROM, which costs time; UEFI has a driver of its own.
    let wants_rom = start.first == Some(BootTarget::Network) && start.firmware == Firmware::SeaBios;
    let rom = if wants_rom { "" } else { ",romfile=" };
    let index = start.index(BootTarget::Network, 0);
    add(
        "device",
        format!("virtio-net-pci,netdev=network,addr={NETWORK_SLOT:#x},mac={}{rom}{index}", machine.mac),
    );
    list
}

fn board(machine: &MachineDefinition, start: &Start<'_>, add: &mut impl FnMut(&str, String)) {
    let secure = start.firmware == Firmware::OvmfSecureBoot;
    add("name", machine.name.clone());
    add("machine", if secure { "q35,smm=on".into() } else { "q35".into() });
    // Never KVM: it can exist and not run a stock kernel.
    add("accel", "tcg,thread=multi".into());
    add("cpu", "max".into());
    add("smp", machine.cpus.to_string());
    add("m", machine.memory_mib.to_string());
    add("uuid", machine.uuid.to_string());
    add("smbios", format!("type=1,manufacturer=Bessemer,product=Lab Machine,serial={}", machine.name));
    add("display", "none".into());
    // A guest's reset or shutdown pauses QEMU; the lab sees the event and decides what comes next.
    add("action", "reboot=shutdown,shutdown=pause,panic=none".into());
    add("chardev", "stdio,id=control,signal=off".into());
    add("mon", "chardev=control,mode=control".into());
    add(
        "chardev",
        "socket,id=serial,path=serial.sock,server=on,wait=off,logfile=serial.log,logappend=on".into(),
    );
    add("serial", "chardev:serial".into());
    if machine.clock_offset_seconds != 0 {
        let now = chrono::Utc::now() + chrono::TimeDelta::seconds(machine.clock_offset_seconds);
        add("rtc", format!("base={}", now.format("%Y-%m-%dT%H:%M:%S")));
    }
    if secure {
        add("global", "driver=cfi.pflash01,property=secure,value=on".into());
        add("global", "ICH9-LPC.disable_s3=1".into());
    }
    add("device", "qemu-xhci,id=usb".into());
    add("device", "virtio-rng-pci".into());
    add("boot", "order=cd,menu=off".into());
}

fn attach_disk(
    number: usize,
    disk: &DiskDefinition,
    path: &Path,
    index: &str,
    add: &mut impl FnMut(&str, String),
) {
    let format = match disk.format {
        DiskFormat::Raw => "raw",
        DiskFormat::Qcow2 => "qcow2",
    };
    // The host's power never fails here, so flushes need not reach its disk.
    let file = drive_file(disk, path);
    add("drive", format!("if=none,id=disk{number},format={format},{file},cache=unsafe,discard=unmap"));
    if disk.bus == DiskBus::Scsi {
        add("device", format!("virtio-scsi-pci,id=scsi{number}"));
    }
    let mut device = match disk.bus {
        DiskBus::Virtio => format!("virtio-blk-pci,drive=disk{number}"),
        // Port 0 is the CD drive's.
        DiskBus::Sata => format!("ide-hd,drive=disk{number},bus=ide.{}", number + 1),
        DiskBus::Nvme => format!("nvme,drive=disk{number}"),
        DiskBus::Usb => format!("usb-storage,bus=usb.0,drive=disk{number}"),
        DiskBus::Scsi => format!("scsi-hd,bus=scsi{number}.0,drive=disk{number}"),
    };
    match &disk.serial {
        Some(serial) => device.push_str(&format!(",serial={serial}")),
        // QEMU refuses an NVMe disk without one.
        None if disk.bus == DiskBus::Nvme => device.push_str(&format!(",serial=nvme{number}")),
        None => {}
    }
    if let Some(wwn) = disk.wwn {
        device.push_str(&format!(",wwn={wwn:#x}"));
    }
    device.push_str(index);
    add("device", device);
}

/// The file, behind QEMU's fault injector (`blkdebug`) when writes shall fail.
fn drive_file(disk: &DiskDefinition, path: &Path) -> String {
    let path = escape(path);
    let Some(byte) = disk.write_error_at else { return format!("file={path}") };
    format!(
        "file.driver=blkdebug,file.image.driver=file,file.image.filename={path},\
         file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.errno=5,\
         file.inject-error.0.sector={},werror=report,rerror=report",
        byte / 512
    )
}

fn attach_media(machine: &MachineDefinition, start: &Start<'_>, add: &mut impl FnMut(&str, String)) {
    let medium = |path: Option<&Path>| {
        path.map(|path| format!(",format=raw,readonly=on,file={}", escape(path))).unwrap_or_default()
    };
    add("drive", format!("if=none,id=cd,media=cdrom{}", medium(start.cd)));
    add("device", format!("ide-cd,drive=cd,bus=ide.0{}", start.index(BootTarget::Cd, 0)));
    match (machine.second_medium, start.second) {
        (Some(SecondMedium::Floppy), path) => {
            add("drive", format!("if=none,id=floppy{}", medium(path)));
            add("device", "isa-fdc,id=fdc".into());
            add("device", "floppy,drive=floppy,drive-type=144".into());
        }
        (Some(SecondMedium::UsbStick), Some(path)) => {
            add("blockdev", stick_node(path).to_string());
            add("device", "usb-storage,bus=usb.0,id=stick,drive=stick-node,removable=on".into());
        }
        (Some(SecondMedium::UsbStick) | None, _) => {}
    }
}

/// The block node of an inserted USB stick.
pub(super) fn stick_node(path: &Path) -> serde_json::Value {
    serde_json::json!({
        "node-name": "stick-node", "driver": "raw", "read-only": true,
        "file": { "driver": "file", "filename": path, "read-only": true },
    })
}

/// QEMU splits options at commas; a doubled one is a comma.
fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(firmware: Firmware, first: Option<BootTarget>) -> String {
        let mut machine = MachineDefinition::new("m", firmware);
        machine.disks = vec![DiskDefinition::new(DiskBus::Nvme, 1), DiskDefinition::new(DiskBus::Sata, 1)];
        let disks = [PathBuf::from("/a,b/0"), PathBuf::from("/a,b/1")];
        let start = Start { firmware, variables: None, first, cd: None, second: None, disks: &disks };
        arguments(&machine, &start).join(" ")
    }

    #[test]
    fn without_an_override_the_firmware_decides() {
        for firmware in [Firmware::SeaBios, Firmware::Ovmf] {
            assert!(!devices(firmware, None).contains("bootindex"));
        }
    }

    #[test]
    fn an_override_comes_first() {
        let line = devices(Firmware::SeaBios, Some(BootTarget::Cd));
        assert!(line.contains("ide-cd,drive=cd,bus=ide.0,bootindex=0"));
        assert_eq!(line.matches("bootindex").count(), 1);
        let line = devices(Firmware::SeaBios, Some(BootTarget::Network));
        assert!(line.contains(",bootindex=0") && !line.contains("romfile="), "BIOS needs the card's ROM");
        let line = devices(Firmware::Ovmf, Some(BootTarget::Disk));
        assert!(line.contains("nvme,drive=disk0,serial=nvme0,bootindex=0"));
        assert!(line.contains("ide-hd,drive=disk1,bus=ide.2,bootindex=1"));
        for by_variable in [BootTarget::Cd, BootTarget::Network] {
            assert!(!devices(Firmware::Ovmf, Some(by_variable)).contains("bootindex"));
        }
    }

    #[test]
    fn a_comma_in_a_path_is_escaped_and_kvm_is_never_used() {
        let line = devices(Firmware::Ovmf, None);
        assert!(line.contains("file=/a,,b/0,"));
        assert!(line.contains("-accel tcg,thread=multi") && !line.contains("kvm"));
    }
}
