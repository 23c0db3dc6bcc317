//! A kernel and its modules: an unpacked Debian linux-image package.

mod download;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

pub use download::{DownloadError, Downloaded, default_cache, download};

use crate::{
    files::{self, FileError, at},
    modules::Source,
};

/// A kernel's files.
#[derive(Debug)]
pub struct Kernel {
    /// Its release, as `uname -r` says.
    pub release: String,
    /// Its image.
    pub image: Vec<u8>,
    folder: PathBuf,
    modules: BTreeMap<String, String>,
    builtin: BTreeSet<String>,
}

/// Why a folder is not a kernel's.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// No kernel with modules.
    #[error(
        "{} has no boot/vmlinuz-RELEASE with lib/modules/RELEASE: give the folder that dpkg-deb -x made of a linux-image package",
        .0.display()
    )]
    None(PathBuf),
    /// Several kernels.
    #[error(
        "{} has several kernels ({}): unpack one linux-image package into a folder of its own",
        root.display(), releases.join(", ")
    )]
    Several {
        /// The folder.
        root: PathBuf,
        /// The kernels.
        releases: Vec<String>,
    },
    /// Not an image that boot loaders start.
    #[error("{} is not a Linux kernel for x86-64", .0.display())]
    NotAnImage(PathBuf),
}

impl Kernel {
    /// Opens the folder of an unpacked package.
    pub fn open(root: &Path) -> Result<Self, KernelError> {
        let boot = root.join("boot");
        let names = if boot.is_dir() { files::names(&boot)? } else { Vec::new() };
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for release in names.iter().filter_map(|name| name.strip_prefix("vmlinuz-")) {
            let folders = ["lib/modules", "usr/lib/modules"].map(|base| root.join(base).join(release));
            found.extend(
                folders.into_iter().find(|folder| folder.is_dir()).map(|folder| (release.into(), folder)),
            );
        }
        let (release, folder) = match found.len() {
            1 => found.remove(0),
            0 => return Err(KernelError::None(root.to_owned())),
            _ => {
                let releases = found.into_iter().map(|(release, _)| release).collect();
                return Err(KernelError::Several { root: root.to_owned(), releases });
            }
        };
        let path = boot.join(format!("vmlinuz-{release}"));
        let image = files::read(&path)?;
        if !is_image(&image) {
            return Err(KernelError::NotAnImage(path));
        }
        let builtin = builtin(&folder)?;
        let mut modules = BTreeMap::new();
        index(&folder, &folder, &mut modules)?;
        Ok(Self { release, image, folder, modules, builtin })
    }
}

impl Source for Kernel {
    fn release(&self) -> &str {
        &self.release
    }

    fn path(&self, name: &str) -> Option<&str> {
        self.modules.get(name).map(String::as_str)
    }

    fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(name)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        files::read(&self.folder.join(path))
    }
}

/// The header that the x86 boot protocol prescribes, for a 64-bit kernel.
fn is_image(bytes: &[u8]) -> bool {
    let loadflags_64bit = bytes.get(0x236).is_some_and(|flags| flags & 1 == 1);
    bytes.get(0x202..0x206) == Some(b"HdrS") && loadflags_64bit
}

fn builtin(folder: &Path) -> Result<BTreeSet<String>, KernelError> {
    let path = folder.join("modules.builtin");
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let text = files::read(&path)?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(module_name).collect())
}

/// Finds the modules below a folder. One in `updates` goes before the kernel's own, as depmod has it.
fn index(base: &Path, folder: &Path, modules: &mut BTreeMap<String, String>) -> Result<(), KernelError> {
    for name in files::names(folder)? {
        let path = folder.join(&name);
        let kind = fs::symlink_metadata(&path).map_err(at("look at", &path))?.file_type();
        if kind.is_dir() {
            index(base, &path, modules)?;
            continue;
        }
        let (Some(module), Ok(relative)) = (module_name(&name), path.strip_prefix(base)) else { continue };
        let relative = relative.to_string_lossy().into_owned();
        let own = relative.starts_with("updates/");
        if own || !modules.contains_key(&module) {
            modules.insert(module, relative);
        }
    }
    Ok(())
}

/// `kernel/drivers/usb-storage.ko.xz` is the module `usb_storage`.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, suffix) = file.split_once(".ko")?;
    matches!(suffix, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake_image() -> Vec<u8> {
        let mut image = vec![0; 0x300];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x236] = 1;
        image
    }

    fn put(root: &Path, path: &str, bytes: &[u8]) {
        files::stage(&root.join(path), bytes, 0).unwrap();
    }

    #[test]
    fn a_kernel_is_found_with_its_modules() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "boot/vmlinuz-6.1", &fake_image());
        put(root.path(), "lib/modules/6.1/modules.builtin", b"kernel/fs/ext-four.ko\n");
        put(root.path(), "lib/modules/6.1/kernel/a/usb-storage.ko", b"");
        put(root.path(), "lib/modules/6.1/kernel/a/igb.ko.xz", b"");
        put(root.path(), "lib/modules/6.1/updates/igb.ko", b"");
        let kernel = Kernel::open(root.path()).unwrap();
        assert_eq!(kernel.release, "6.1");
        assert_eq!(kernel.path("usb_storage"), Some("kernel/a/usb-storage.ko"));
        assert_eq!(kernel.path("igb"), Some("updates/igb.ko"));
        assert!(kernel.is_builtin("ext_four"));
        assert_eq!(kernel.path("modules"), None);
    }

    #[test]
    fn folders_that_cannot_be_used_are_refused_with_the_reason() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(Kernel::open(root.path()), Err(KernelError::None(_))));
        put(root.path(), "boot/vmlinuz-6.1", b"text");
        put(root.path(), "lib/modules/6.1/x", b"");
        assert!(matches!(Kernel::open(root.path()), Err(KernelError::NotAnImage(_))));
        put(root.path(), "boot/vmlinuz-6.2", &fake_image());
        put(root.path(), "usr/lib/modules/6.2/x", b"");
        let error = Kernel::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("(6.1, 6.2)"), "{error}");
    }
}
