//! The hybrid ISO: ISOLINUX for BIOS, shim and GRUB for UEFI, from a CD or a USB stick.

mod boot_config;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bessemer_proto::boot_parameters::region::{self, Region, RegionError};

pub use boot_config::{ArgumentError, BootConfig};

use crate::{
    command::{CommandError, Invocation},
    debian, esp,
    files::{self, FileError, at},
    manifest::Content,
};

/// Volume label of the ISO.
pub const VOLUME_ID: &str = "BESSEMER-DEPLOY";
/// The kernel on the ISO.
pub const KERNEL: &str = "/boot/vmlinuz";
/// The ramdisk on the ISO.
pub const INITRAMFS: &str = "/boot/initramfs.zst";
/// The file that a controller fills with boot parameters.
pub const PARAMETERS: &str = "/bessemer/parameters";

const ESP: &str = "boot/grub/efi.img";
const BLOCK: u64 = 2048;
const WRITE_DEADLINE: Duration = Duration::from_secs(600);
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// Why there is no ISO, or why one cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// xorriso failed.
    #[error(transparent)]
    Xorriso(#[from] CommandError),
    /// The FAT image of UEFI could not be made.
    #[error("cannot make the FAT image that UEFI boots from")]
    Esp(#[source] io::Error),
    /// The ISO's region is not what was put in.
    #[error("{}: {reason}", path.display())]
    Region {
        /// The ISO.
        path: PathBuf,
        /// What is wrong.
        reason: RegionError,
    },
    /// The program that lists an ISO said something unknown.
    #[error("xorriso did not say where {0} is on the ISO: use xorriso 1.5 or newer")]
    Listing(&'static str),
}

/// What goes on an ISO.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The kernel.
    pub kernel: &'a [u8],
    /// The ramdisk.
    pub initramfs: &'a [u8],
    /// How the kernel is started.
    pub boot: &'a BootConfig,
    /// Time stamps, seconds since 1970.
    pub epoch: u64,
}

/// Where a file is on an ISO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The file.
    pub path: String,
    /// First byte, from the start of the ISO.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Writes an ISO and says where its parameters region is.
pub fn write(contents: &Contents<'_>, path: &Path) -> Result<Region, IsoError> {
    let near = path.parent().unwrap_or(Path::new("."));
    let staging = tempfile::tempdir_in(near).map_err(at("create a folder in", near))?;
    let tree = staging.path().join("tree");
    stage(contents, &tree)?;
    let part = staging.path().join("deploy.iso");
    run_xorriso(&tree, &part, contents.epoch)?;
    let region = point_to_region(&part)?;
    std::fs::rename(&part, path).map_err(at("write", path))?;
    Ok(region)
}

/// Puts the files of the ISO below a folder.
fn stage(contents: &Contents<'_>, tree: &Path) -> Result<(), IsoError> {
    let identity = identity(contents);
    let marker = format!("/bessemer/build-{identity}");
    let grub = contents.boot.grub(&marker);
    let esp = esp(&grub, &identity)?;
    let fresh = region::fill("").map_err(|reason| IsoError::Region { path: tree.into(), reason })?;
    let files: [(&str, Vec<u8>); 10] = [
        (KERNEL, contents.kernel.to_vec()),
        (INITRAMFS, contents.initramfs.to_vec()),
        (PARAMETERS, fresh),
        (&marker, Vec::new()),
        // Debian's GRUB for CDs looks for this file to find the ISO.
        (".disk/info", format!("{VOLUME_ID} {}\n", env!("CARGO_PKG_VERSION")).into_bytes()),
        ("boot/grub/grub.cfg", grub.into_bytes()),
        (ESP, esp),
        ("isolinux/isolinux.bin", files::read(Path::new(debian::ISOLINUX))?),
        ("isolinux/ldlinux.c32", files::read(Path::new(debian::LDLINUX))?),
        ("isolinux/isolinux.cfg", contents.boot.isolinux().into_bytes()),
    ];
    for (path, bytes) in &files {
        files::stage(&tree.join(path.trim_start_matches('/')), bytes, contents.epoch)?;
    }
    for folder in [".disk", "bessemer", "boot/grub", "boot", "isolinux", ""] {
        files::set_age(&tree.join(folder), contents.epoch)?;
    }
    Ok(())
}

/// Names this build by its content: GRUB finds the ISO by it when other media have our label too.
fn identity(contents: &Contents<'_>) -> String {
    let arguments = contents.boot.arguments();
    let parts =
        [contents.kernel, contents.initramfs, arguments.as_bytes()].map(|part| Content::of(part).sha256);
    Content::of(parts.concat().as_bytes()).sha256.chars().take(16).collect()
}

fn esp(grub_config: &str, identity: &str) -> Result<Vec<u8>, IsoError> {
    let shim = files::read(Path::new(debian::SHIM))?;
    let mok_manager = files::read(Path::new(debian::MOK_MANAGER))?;
    let grub = files::read(Path::new(debian::GRUB))?;
    let volume_id =
        identity.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default();
    let files: [(&str, &[u8]); 4] = [
        ("EFI/BOOT/BOOTX64.EFI", &shim),
        ("EFI/BOOT/mmx64.efi", &mok_manager),
        ("EFI/BOOT/grubx64.efi", &grub),
        ("boot/grub/grub.cfg", grub_config.as_bytes()),
    ];
    esp::image(&files, volume_id).map_err(IsoError::Esp)
}

fn run_xorriso(tree: &Path, output: &Path, epoch: u64) -> Result<(), IsoError> {
    Invocation::new(debian::XORRISO, WRITE_DEADLINE)
        .args(["-no_rc", "-as", "mkisofs", "-quiet", "-V", VOLUME_ID, "-r", "-J"])
        .args(["-isohybrid-mbr", debian::ISOLINUX_MBR])
        .args(["-c", "isolinux/boot.cat", "-b", "isolinux/isolinux.bin"])
        .args(["-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"])
        .args(["-eltorito-alt-boot", "-e", ESP, "-no-emul-boot", "-isohybrid-gpt-basdat"])
        .arg("-o")
        .arg(output)
        .arg(tree)
        // Fixes the dates, the GUIDs of the partition table and the MBR's identifier.
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .env("TZ", "UTC")
        .run()?;
    Ok(())
}

/// Writes into the primary volume descriptor where the region is, and reads it back.
fn point_to_region(path: &Path) -> Result<Region, IsoError> {
    let extents = list(path)?;
    let extent = extents.iter().find(|extent| extent.path == PARAMETERS);
    let extent = extent.ok_or(IsoError::Listing(PARAMETERS))?;
    let region = Region { offset: extent.offset, length: extent.bytes };
    let wrong = |reason| IsoError::Region { path: path.to_owned(), reason };
    let file = File::options().read(true).write(true).open(path).map_err(at("open", path))?;
    let mut descriptor = [0; region::DESCRIPTOR_BYTES];
    file.read_exact_at(&mut descriptor, region::DESCRIPTOR_OFFSET).map_err(at("read", path))?;
    region.write_pointer(&mut descriptor);
    file.write_all_at(&descriptor, region::DESCRIPTOR_OFFSET).map_err(at("write", path))?;
    let mut content = vec![0; region::REGION_BYTES];
    file.read_exact_at(&mut content, region.offset).map_err(at("read", path))?;
    let found = Region::from_descriptor(&descriptor).map_err(wrong)?;
    if found != region || region::text(&content).map_err(wrong)?.is_some() {
        return Err(wrong(RegionError::Damaged));
    }
    file.sync_all().map_err(at("write", path))?;
    Ok(region)
}

/// Lists the files of an ISO and where they are.
pub fn list(path: &Path) -> Result<Vec<Extent>, IsoError> {
    let listing = Invocation::new(debian::XORRISO, READ_DEADLINE)
        .args(["-no_rc", "-indev"])
        .arg(path)
        .args(["-find", "/", "-type", "f", "-exec", "report_lba", "--"])
        .run()?;
    Ok(listing.lines().filter_map(extent).collect())
}

/// `File data lba:  0 ,     37 ,     32 ,    65536 , '/bessemer/parameters'`
fn extent(line: &str) -> Option<Extent> {
    let (numbers, path) = line.strip_prefix("File data lba:")?.split_once('\'')?;
    let numbers: Vec<u64> = numbers.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    let [0, block, _, bytes] = numbers[..] else { return None };
    Some(Extent { path: path.strip_suffix('\'')?.to_owned(), offset: block.checked_mul(BLOCK)?, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_listing_are_understood() {
        let line = "File data lba:  0 ,       37 ,       32 ,    65536 , '/bessemer/parameters'";
        assert_eq!(extent(line), Some(Extent { path: PARAMETERS.into(), offset: 37 * 2048, bytes: 65536 }));
        assert_eq!(extent("Report layout: xt , Startlba ,   Blocks , Filesize , ISO image path"), None);
        assert_eq!(extent("File data lba:  1 ,  37 ,  32 ,  65536 , '/second/part'"), None);
        assert_eq!(extent("File data lba:  0 ,  x ,  32 ,  65536 , '/x'"), None);
    }
}
