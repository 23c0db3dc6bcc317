use std::{path::Path, process::Command};

use super::*;
use crate::test_support::{
    disks::{MIB, TestDisk, device_number},
    machine::Machine,
};

fn device(machine: &Machine) -> BlockDevice {
    let devices = crate::disk::discover(&machine.roots).unwrap();
    devices.into_iter().find(|device| device.kernel_name == "sdz").unwrap()
}

fn machine(disk: &TestDisk) -> Machine {
    let machine = Machine::empty();
    machine.add_disk("sdz", "S1", &disk.path, 16 * MIB as u64);
    machine
}

fn refusal(machine: &Machine) -> String {
    claim(&device(machine), &machine.roots).unwrap_err().to_string()
}

#[test]
fn a_free_disk_is_taken_and_then_nobody_else_gets_it() {
    let Some(disk) = TestDisk::loop_device(16 * MIB, 512) else { return };
    let machine = machine(&disk);
    let target = claim(&device(&machine), &machine.roots).unwrap();
    assert_eq!((target.size(), target.sector()), (16 * MIB as u64, 512));
    let error = claim(&device(&machine), &machine.roots).unwrap_err();
    assert!(matches!(error, ClaimError::Busy { .. }), "{error:?}");
    drop(target);
    claim(&device(&machine), &machine.roots).unwrap();
}

#[test]
fn a_mounted_disk_is_refused_with_its_mount_point() {
    let Some(disk) = TestDisk::loop_device(16 * MIB, 512) else { return };
    let ran = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    ran(Command::new("mkfs.ext4").arg("-q").arg(&disk.path));
    let folder = tempfile::tempdir().unwrap();
    ran(Command::new("mount").arg(&disk.path).arg(folder.path()));
    let mut machine = machine(&disk);
    machine.roots.proc = "/proc".into();
    // Without the device's number only the kernel's refusal is left.
    let busy = refusal(&machine);
    std::fs::write(machine.sysfs_of("sdz").join("dev"), device_number(&disk.path)).unwrap();
    let mounted = refusal(&machine);
    let content = disk.content();
    ran(Command::new("umount").arg(folder.path()));
    assert!(busy.contains("in use by another program"), "{busy}");
    assert!(mounted.contains(folder.path().to_str().unwrap()), "{mounted}");
    assert!(content[1024..2048].iter().any(|byte| *byte != 0), "the file system was touched");
    claim(&device(&machine), &machine.roots).unwrap();
}

#[test]
fn partitions_count_holders_and_swap_too() {
    let disk = TestDisk::file(16 * MIB);
    let machine = machine(&disk);
    let folder = machine.sysfs_of("sdz");
    let write = |path: &Path, text: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(&folder.join("sdz2/partition"), "2\n");
    write(&folder.join("sdz2/dev"), "8:402\n");
    assert!(claim(&device(&machine), &machine.roots).is_ok());

    let mountinfo = machine.roots.proc.join("self/mountinfo");
    write(&mountinfo, "22 1 8:402 / /boot rw,relatime shared:1 - ext4 /dev/other rw\n");
    assert!(refusal(&machine).contains("/dev/sdz2 is mounted on /boot"));
    write(&mountinfo, "22 1 0:31 /@ /data rw - btrfs /dev/sdz2 rw\n");
    assert!(refusal(&machine).contains("/dev/sdz2 is mounted on /data"));
    write(&mountinfo, "22 1 8:40 / /boot rw - ext4 /dev/sdz22 rw\n");
    assert!(claim(&device(&machine), &machine.roots).is_ok());

    write(
        &machine.roots.proc.join("swaps"),
        "Filename Type Size Used Priority\n/dev/sdz2 partition 9 0 -2\n",
    );
    assert!(refusal(&machine).contains("/dev/sdz2 is swap space"));
    std::fs::create_dir_all(folder.join("sdz2/holders/md127")).unwrap();
    assert!(refusal(&machine).contains("/dev/sdz2 is part of md127"));
    write(&folder.join("ro"), "1\n");
    assert!(refusal(&machine).contains("read-only"));
}
