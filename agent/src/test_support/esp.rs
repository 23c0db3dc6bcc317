//! A disk with an EFI system partition that has files in it.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
};

use fatfs::{FormatVolumeOptions, format_volume};

use super::disks::{MIB, TestDisk, gpt_image};
use crate::{
    disk::gpt::{self, Partition},
    efi::esp,
};

/// What Debian's installer leaves in its folder.
pub(crate) const DEBIAN: [(&str, &[u8]); 4] = [
    ("EFI/debian/shimx64.efi", b"shim"),
    ("EFI/debian/grubx64.efi", b"grub"),
    ("EFI/debian/mmx64.efi", b"mok manager"),
    (
        "EFI/debian/BOOTX64.CSV",
        b"\xff\xfes\0h\0i\0m\0x\x006\x004\0.\0e\0f\0i\0,\0d\0e\0b\0i\0a\0n\0,\0,\0x\0\n\0",
    ),
];

/// A disk whose ESP has these files.
pub(crate) fn disk_with(files: &[(&str, &[u8])]) -> TestDisk {
    let disk = TestDisk::file(12 * MIB);
    std::fs::write(&disk.path, gpt_image(12 * MIB, 512)).unwrap();
    let file = open(&disk);
    let mut window = esp::Window::of(&file, &partition(&file)).unwrap();
    format_volume(&mut window, FormatVolumeOptions::new()).unwrap();
    let fat = esp::open(&file, &partition(&file)).unwrap();
    for (path, content) in files {
        let mut folder = fat.root_dir();
        let (parents, name) = path.rsplit_once('/').unwrap();
        for parent in parents.split('/') {
            folder = folder.create_dir(parent).unwrap();
        }
        folder.create_file(name).unwrap().write_all(content).unwrap();
    }
    fat.unmount().unwrap();
    disk
}

pub(crate) fn open(disk: &TestDisk) -> File {
    OpenOptions::new().read(true).write(true).open(&disk.path).unwrap()
}

/// The ESP of the disk.
pub(crate) fn partition(file: &File) -> Partition {
    let partitions = gpt::partitions(file, 512, file.metadata().unwrap().len()).unwrap().unwrap();
    partitions.into_iter().find(|partition| partition.efi_system).unwrap()
}

/// A file of the ESP.
pub(crate) fn read(disk: &TestDisk, path: &str) -> Option<Vec<u8>> {
    let file = open(disk);
    let fat = esp::open(&file, &partition(&file)).unwrap();
    let mut content = Vec::new();
    fat.root_dir().open_file(path).ok()?.read_to_end(&mut content).unwrap();
    Some(content)
}
