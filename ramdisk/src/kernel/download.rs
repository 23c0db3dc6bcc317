//! Debian's signed kernel, by apt, into a cache folder.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    command::{CommandError, Invocation},
    debian::{self, Missing},
    files::{self, FileError, at},
};

const METAPACKAGE: &str = "linux-image-amd64";
const QUERY_DEADLINE: Duration = Duration::from_secs(60);
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(900);
const UNPACK_DEADLINE: Duration = Duration::from_secs(300);

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// A program is missing.
    #[error("{0}; or give an unpacked linux-image package with --kernel-root")]
    Missing(#[from] Missing),
    /// apt has no package lists, or this is not Debian.
    #[error(
        "apt knows no package {0}: run apt-get update once, or give an unpacked linux-image package with --kernel-root"
    )]
    Unknown(String),
    /// apt could not fetch the package.
    #[error(
        "Debian's kernel {package} could not be downloaded: run apt-get update and try again, or give an unpacked linux-image package with --kernel-root"
    )]
    Fetch {
        /// The package.
        package: String,
        /// What apt said.
        source: CommandError,
    },
    /// The package could not be unpacked.
    #[error("Debian's kernel package {package} could not be unpacked")]
    Unpack {
        /// The package.
        package: String,
        /// What dpkg said.
        source: CommandError,
    },
    /// The cache folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A package and its exact version.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
}

/// Makes sure that Debian's current kernel is unpacked in the cache folder, and says where.
pub fn download(cache: &Path) -> Result<PathBuf, DownloadError> {
    for program in ["apt-cache", "apt-get", "dpkg-deb"] {
        debian::check_program(program)?;
    }
    let package = current()?;
    let kernels = cache.join("kernels");
    fs::create_dir_all(&kernels).map_err(at("create", &kernels))?;
    let folder = kernels.join(format!("{}_{}", package.name, package.version.replace(':', "%3a")));
    if folder.is_dir() {
        return Ok(folder);
    }
    let work = tempfile::tempdir_in(&kernels).map_err(at("create a folder in", &kernels))?;
    fetch(&package, work.path())?;
    let unpacked = work.path().join("unpacked");
    unpack(&package, work.path(), &unpacked)?;
    match fs::rename(&unpacked, &folder) {
        // Another build was faster.
        Err(_) if folder.is_dir() => Ok(folder),
        renamed => renamed.map_err(at("create", &folder)).map(|()| folder).map_err(Into::into),
    }
}

/// The kernel that the metapackage stands for: the exact name changes with every update of Debian.
fn current() -> Result<Package, DownloadError> {
    let depends = field(&show(METAPACKAGE)?, "Depends");
    let name = depends.as_deref().and_then(kernel_name);
    let name = name.ok_or_else(|| DownloadError::Unknown(METAPACKAGE.to_owned()))?;
    let version = field(&show(&name)?, "Version").ok_or_else(|| DownloadError::Unknown(name.clone()))?;
    Ok(Package { name, version })
}

fn show(package: &str) -> Result<String, DownloadError> {
    let query = Invocation::new("apt-cache", QUERY_DEADLINE).args(["show", "--no-all-versions", package]);
    query.run().map_err(|_| DownloadError::Unknown(package.to_owned()))
}

fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn kernel_name(depends: &str) -> Option<String> {
    let mut names = depends.split(',').filter_map(|dependency| dependency.split_whitespace().next());
    names.find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

fn fetch(package: &Package, folder: &Path) -> Result<(), DownloadError> {
    let what = format!("{}={}", package.name, package.version);
    Invocation::new("apt-get", DOWNLOAD_DEADLINE)
        // The cache is ours, not that of the user _apt.
        .args(["-q", "-o", "APT::Sandbox::User=root", "download", &what])
        .in_folder(folder)
        .run()
        .map_err(|source| DownloadError::Fetch { package: what.clone(), source })?;
    Ok(())
}

fn unpack(package: &Package, folder: &Path, target: &Path) -> Result<(), DownloadError> {
    let names = files::names(folder)?;
    let deb = names.iter().find(|name| name.ends_with(".deb"));
    let deb = deb.ok_or_else(|| DownloadError::Unknown(package.name.clone()))?;
    Invocation::new("dpkg-deb", UNPACK_DEADLINE)
        .arg("-x")
        .arg(folder.join(deb))
        .arg(target)
        .run()
        .map_err(|source| DownloadError::Unpack { package: package.name.clone(), source })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metapackage_leads_to_the_kernel() {
        let text = "Package: linux-image-amd64\nVersion: 6.1.192-2\nDepends: foo (>= 2), linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n";
        assert_eq!(field(text, "Version").unwrap(), "6.1.192-2");
        assert_eq!(kernel_name(&field(text, "Depends").unwrap()).unwrap(), "linux-image-6.1.0-56-amd64");
        assert_eq!(field(text, "Conflicts"), None);
        assert_eq!(kernel_name("libc6, bash"), None);
    }
}
