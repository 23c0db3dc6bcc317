//! Disk images, files and loop devices that play disks.

use std::{
    io::Cursor,
    path::{Path, PathBuf},
    process::Command,
};

use bessemer_proto::digest::{Digest, DigestAlgorithm};
use gptman::{GPT, GPTPartitionEntry};
use sha2::Digest as _;

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const ESP_TYPE: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
pub(crate) const ESP_GUID: [u8; 16] = *b"esp-unique-guid!";
/// First sector of the ESP in [`gpt_image`], for sectors of 512 bytes.
pub(crate) const ESP_FIRST_LBA: u64 = 2048;

/// `length` bytes without zero runs, no two blocks of 64 KiB alike. A random block is repeated and numbered: making
/// each byte anew takes seconds in an unoptimized build.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    const BLOCK: usize = 64 << 10;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(length + BLOCK);
    for number in 1.. {
        if bytes.len() >= length {
            break;
        }
        let start = bytes.len();
        bytes.extend_from_slice(&block);
        bytes[start + 1024..start + 1032].copy_from_slice(&u64::to_le_bytes(number));
    }
    bytes.truncate(length);
    bytes
}

/// A whole-disk image full of noise with GPT, ESP and a root partition; at least 3 MiB.
pub(crate) fn gpt_image(length: usize, sector: u64) -> Vec<u8> {
    let mut disk = Cursor::new(noise(length, 7));
    let mut gpt = GPT::new_from(&mut disk, sector, *b"disk-unique-guid").unwrap();
    let first = ESP_FIRST_LBA * 512 / sector;
    let sectors = length as u64 / sector;
    let split = sectors - (MIB as u64 / 2) / sector;
    let entry = |kind, guid, first, last| GPTPartitionEntry {
        partition_type_guid: kind,
        unique_partition_guid: guid,
        starting_lba: first,
        ending_lba: last,
        attribute_bits: 0,
        partition_name: "part".into(),
    };
    gpt[1] = entry(ESP_TYPE, ESP_GUID, first, split - 1);
    gpt[2] = entry(*b"linux-fs-type-id", *b"root-unique-guid", split, gpt.header.last_usable_lba);
    GPT::write_protective_mbr_into(&mut disk, sector).unwrap();
    gpt.write_into(&mut disk).unwrap();
    disk.into_inner()
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(DigestAlgorithm::Sha256, &sha2::Sha256::digest(bytes)).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = flate2::bufread::GzEncoder::new(bytes, flate2::Compression::fast());
    std::io::copy(&mut encoder, &mut packed).unwrap();
    packed
}

/// A file or loop device that still has old content everywhere.
pub(crate) struct TestDisk {
    pub(crate) path: PathBuf,
    /// The file that holds the content.
    pub(crate) backing: PathBuf,
    loop_device: bool,
    _folder: Option<tempfile::TempDir>,
}

impl TestDisk {
    pub(crate) fn file(length: usize) -> Self {
        Self::with(&vec![0xa5; length])
    }

    /// A file with this content.
    pub(crate) fn with(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backing = folder.path().join("disk");
        std::fs::write(&backing, content).unwrap();
        Self { path: backing.clone(), backing, loop_device: false, _folder: Some(folder) }
    }

    /// A file that is there.
    pub(crate) fn of(backing: PathBuf) -> Self {
        Self { path: backing.clone(), backing, loop_device: false, _folder: None }
    }

    /// A file that takes no memory to make.
    pub(crate) fn sparse(length: u64) -> Self {
        let disk = Self::file(0);
        std::fs::File::options().write(true).open(&disk.path).unwrap().set_len(length).unwrap();
        disk
    }

    /// `None`, with the reason on standard error, when loop devices cannot be used.
    pub(crate) fn loop_device(length: usize, sector: u32) -> Option<Self> {
        Self::file(length).attached(sector)
    }

    /// The same content as a loop device.
    pub(crate) fn attached(self, sector: u32) -> Option<Self> {
        self.attached_with(sector, &[])
    }

    /// The same with more options for losetup.
    pub(crate) fn attached_with(mut self, sector: u32, options: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: loop devices need root");
            return None;
        }
        let output = Command::new("losetup")
            .args(["--find", "--show", "--partscan", "--direct-io=off", "--sector-size", &sector.to_string()])
            .args(options)
            .arg(&self.backing)
            .output()
            .expect("losetup (util-linux) is installed");
        assert!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        self.path = path;
        self.loop_device = true;
        Some(self)
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }
}

impl Drop for TestDisk {
    fn drop(&mut self) {
        if self.loop_device {
            let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
        }
    }
}

/// A file system in memory that is soon full.
pub(crate) struct SmallFileSystem(tempfile::TempDir);

impl SmallFileSystem {
    /// `None`, with the reason on standard error, when nothing can be mounted.
    pub(crate) fn mount(bytes: usize) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let none = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), folder.path(), Some("tmpfs"), none, Some(size.as_str())).unwrap();
        Some(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file that promises more than there is room for.
    pub(crate) fn sparse_file(&self, length: u64) -> PathBuf {
        let path = self.path().join("disk");
        std::fs::File::create(&path).unwrap().set_len(length).unwrap();
        path
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        // Lazily: a loop device may take a moment to let go of its file.
        let _ = nix::mount::umount2(self.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Neither a boot sector nor a partition table, primary or backup, can be on it.
pub(crate) fn assert_boot_area_is_zero(disk: &[u8]) {
    let head = disk.len().min(MIB);
    assert!(disk[..head].iter().all(|byte| *byte == 0), "the first MiB is not zero");
    let tail = disk.len().saturating_sub(33 * 4096);
    assert!(disk[tail..].iter().all(|byte| *byte == 0), "the last sectors are not zero");
}

/// `7:3` for `/dev/loop3`.
pub(crate) fn device_number(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let number = std::fs::metadata(path).unwrap().rdev();
    format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number))
}
