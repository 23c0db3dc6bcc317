//! Debian's signed kernel, by apt, into a cache folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

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

/// An unpacked kernel package in the cache folder.
#[derive(Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// Its folder.
    pub root: PathBuf,
    /// A sentence when it may not be Debian's current one.
    pub warning: Option<String>,
}

/// Where kernels are kept when nothing else is said: `$XDG_CACHE_HOME/bessemer` or `~/.cache/bessemer`.
#[must_use]
pub fn default_cache() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Some(base?.join("bessemer"))
}

/// Makes sure that Debian's current kernel is unpacked in the cache folder. Where apt has no package lists, the
/// newest kernel of the cache has to do; where there is none, lists are fetched into the cache folder.
pub fn download(cache: &Path) -> Result<Downloaded, DownloadError> {
    let kernels = cache.join("kernels");
    fs::create_dir_all(&kernels).map_err(at("create", &kernels))?;
    // apt runs in another folder.
    let kernels = fs::canonicalize(&kernels).map_err(at("open", &kernels))?;
    for program in ["apt-cache", "apt-get", "dpkg-deb"] {
        debian::check_program(program)?;
    }
    let mut apt = Apt { options: Vec::new(), _lists: None };
    let package = match apt.current() {
        Ok(package) => package,
        Err(_) => match newest(&kernels)? {
            Some(downloaded) => return Ok(downloaded),
            None => {
                apt = Apt::with_own_lists(&kernels)?;
                apt.current()?
            }
        },
    };
    let folder = kernels.join(format!("{}_{}", package.name, package.version.replace(':', "%3a")));
    if !folder.is_dir() {
        install(&apt, &package, &kernels, &folder)?;
    }
    Ok(Downloaded { root: folder, warning: None })
}

fn install(apt: &Apt, package: &Package, kernels: &Path, folder: &Path) -> Result<(), DownloadError> {
    let work = tempfile::tempdir_in(kernels).map_err(at("create a folder in", kernels))?;
    apt.fetch(package, work.path())?;
    let unpacked = work.path().join("unpacked");
    unpack(package, work.path(), &unpacked)?;
    match fs::rename(&unpacked, folder) {
        // Another build was faster.
        Err(_) if folder.is_dir() => Ok(()),
        renamed => Ok(renamed.map_err(at("create", folder))?),
    }
}

/// The newest kernel by the date of its package.
fn newest(kernels: &Path) -> Result<Option<Downloaded>, FileError> {
    let mut found = Vec::new();
    for name in files::names(kernels)?.into_iter().filter(|name| name.starts_with("linux-image-")) {
        let root = kernels.join(&name);
        let unpacked = fs::metadata(&root).and_then(|data| data.modified()).map_err(at("look at", &root))?;
        found.push((unpacked, name, root));
    }
    Ok(found.into_iter().max().map(|(_, name, root)| Downloaded {
        root,
        warning: Some(format!(
            "apt does not say which kernel is current (run apt-get update): using {name}, which is in the cache"
        )),
    }))
}

/// apt, with the machine's package lists or our own.
struct Apt {
    options: Vec<String>,
    /// Deleted when the work is done.
    _lists: Option<TempDir>,
}

impl Apt {
    /// Fetches package lists into a folder of ours, from the machine's sources; needs no root.
    fn with_own_lists(near: &Path) -> Result<Self, DownloadError> {
        let folder = tempfile::tempdir_in(near).map_err(at("create a folder in", near))?;
        let partial = folder.path().join("lists/partial");
        fs::create_dir_all(&partial).map_err(at("create", &partial))?;
        let option = |name: &str, path: &str| format!("{name}={}", folder.path().join(path).display());
        let options = vec![option("Dir::State::lists", "lists"), option("Dir::Cache", "cache")];
        let apt = Self { options, _lists: Some(folder) };
        let update = apt.run("apt-get", DOWNLOAD_DEADLINE, &["-q", "update"]);
        update.run().map_err(|source| DownloadError::Fetch { package: METAPACKAGE.to_owned(), source })?;
        Ok(apt)
    }

    fn run(&self, program: &'static str, deadline: Duration, arguments: &[&str]) -> Invocation {
        // The folders are ours, not those of the user _apt.
        let mut invocation = Invocation::new(program, deadline).args(["-o", "APT::Sandbox::User=root"]);
        for option in &self.options {
            invocation = invocation.args(["-o", option]);
        }
        invocation.args(arguments.iter().copied())
    }

    /// The kernel that the metapackage stands for: the exact name changes with every update of Debian.
    fn current(&self) -> Result<Package, DownloadError> {
        let depends = field(&self.show(METAPACKAGE)?, "Depends");
        let name = depends.as_deref().and_then(kernel_name);
        let name = name.ok_or_else(|| DownloadError::Unknown(METAPACKAGE.to_owned()))?;
        let version =
            field(&self.show(&name)?, "Version").ok_or_else(|| DownloadError::Unknown(name.clone()))?;
        Ok(Package { name, version })
    }

    fn show(&self, package: &str) -> Result<String, DownloadError> {
        let query = self.run("apt-cache", QUERY_DEADLINE, &["show", "--no-all-versions", package]);
        query.run().map_err(|_| DownloadError::Unknown(package.to_owned()))
    }

    fn fetch(&self, package: &Package, folder: &Path) -> Result<(), DownloadError> {
        let what = format!("{}={}", package.name, package.version);
        self.run("apt-get", DOWNLOAD_DEADLINE, &["-q", "download", &what])
            .in_folder(folder)
            .run()
            .map_err(|source| DownloadError::Fetch { package: what.clone(), source })?;
        Ok(())
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn kernel_name(depends: &str) -> Option<String> {
    let mut names = depends.split(',').filter_map(|dependency| dependency.split_whitespace().next());
    names.find(|name| name.starts_with("linux-image-")).map(str::to_owned)
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
    fn without_apt_the_newest_kernel_is_used() {
        let kernels = tempfile::tempdir().unwrap();
        assert_eq!(newest(kernels.path()).unwrap(), None);
        for (name, epoch) in [("linux-image-6.1.0-9_1", 20), ("linux-image-6.1.0-56_1", 10), (".tmpX", 30)] {
            fs::create_dir(kernels.path().join(name)).unwrap();
            files::set_age(&kernels.path().join(name), epoch).unwrap();
        }
        let found = newest(kernels.path()).unwrap().unwrap();
        assert_eq!(found.root, kernels.path().join("linux-image-6.1.0-9_1"));
        assert!(found.warning.unwrap().contains("linux-image-6.1.0-9_1"));
    }

    #[test]
    fn the_metapackage_leads_to_the_kernel() {
        let text = "Package: linux-image-amd64\nVersion: 6.1.192-2\nDepends: foo (>= 2), linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n";
        assert_eq!(field(text, "Version").unwrap(), "6.1.192-2");
        assert_eq!(kernel_name(&field(text, "Depends").unwrap()).unwrap(), "linux-image-6.1.0-56-amd64");
        assert_eq!(field(text, "Conflicts"), None);
        assert_eq!(kernel_name("libc6, bash"), None);
    }
}
