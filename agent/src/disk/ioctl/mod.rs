//! The kernel calls on block devices and file flags that no safe library wraps, and [`uring`]. The only unsafe code of
//! the crate.
#![allow(unsafe_code, reason = "ioctl has no safe interface; each wrapper passes what the kernel expects")]

pub mod uring;

use std::{fs::File, io, os::fd::AsRawFd};

use nix::libc::{c_int, c_long};

mod raw {
    use nix::libc::{c_int, c_long};

    // <linux/fs.h>: _IO(0x12, 95), _IO(0x12, 97), _IO(0x12, 104), _IOR(0x12, 114, size_t).
    nix::ioctl_none!(blkrrpart, 0x12, 95);
    nix::ioctl_none!(blkflsbuf, 0x12, 97);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), c_int);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, usize);
    nix::ioctl_read!(fs_ioc_getflags, b'f', 1, c_long);
    nix::ioctl_write_ptr!(fs_ioc_setflags, b'f', 2, c_long);
}

/// `FS_IMMUTABLE_FL`: the file cannot be written or removed, not even by root.
const IMMUTABLE: c_long = 0x10;

/// Size of a block device in bytes (`BLKGETSIZE64`).
pub fn device_size(device: &File) -> io::Result<u64> {
    let mut bytes: u64 = 0;
    // SAFETY: the descriptor is open for the call; the kernel writes a u64, whatever the header says.
    unsafe { raw::blkgetsize64(device.as_raw_fd(), (&raw mut bytes).cast()) }?;
    Ok(bytes)
}

/// Logical sector size of a block device in bytes (`BLKSSZGET`).
pub fn logical_sector_size(device: &File) -> io::Result<u32> {
    let mut bytes: c_int = 0;
    // SAFETY: the descriptor is open for the call; the kernel writes an int.
    unsafe { raw::blksszget(device.as_raw_fd(), &raw mut bytes) }?;
    u32::try_from(bytes).map_err(io::Error::other)
}

/// Makes the kernel read the partition table again (`BLKRRPART`). The descriptor must be the exclusive one.
pub fn reread_partition_table(device: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call, which takes no argument.
    unsafe { raw::blkrrpart(device.as_raw_fd()) }?;
    Ok(())
}

/// Writes out and drops the device's cached pages (`BLKFLSBUF`).
pub fn flush_buffers(device: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call, which takes no argument.
    unsafe { raw::blkflsbuf(device.as_raw_fd()) }?;
    Ok(())
}

/// Takes the immutable flag from a file (`FS_IOC_SETFLAGS`), as efivarfs sets it. No error when the file system
/// has no flags.
pub fn clear_immutable(file: &File) -> io::Result<()> {
    let mut flags: c_long = 0;
    // SAFETY: the descriptor is open for the call; the kernel writes an int into the long.
    match unsafe { raw::fs_ioc_getflags(file.as_raw_fd(), &raw mut flags) } {
        Ok(_) if flags & IMMUTABLE == 0 => return Ok(()),
        Ok(_) => {}
        Err(nix::errno::Errno::ENOTTY | nix::errno::Errno::EOPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    flags &= !IMMUTABLE;
    // SAFETY: the descriptor is open for the call; the kernel reads an int from the long.
    unsafe { raw::fs_ioc_setflags(file.as_raw_fd(), &raw const flags) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_immutable_file_can_be_removed_after_its_flag_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Boot0000-x");
        std::fs::write(&path, "x").unwrap();
        let set = Command::new("chattr").arg("+i").arg(&path).status();
        if !set.is_ok_and(|status| status.success()) {
            eprintln!("skipped: the file system of {} has no immutable flag", path.display());
            return;
        }
        let refused = std::fs::remove_file(&path);
        clear_immutable(&File::open(&path).unwrap()).unwrap();
        assert!(refused.is_err());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_is_no_block_device() {
        let file = tempfile::tempfile().unwrap();
        assert!(device_size(&file).is_err() && logical_sector_size(&file).is_err());
        assert!(reread_partition_table(&file).is_err());
        clear_immutable(&file).unwrap();
    }
}
