//! What must be installed, and the apt line for what is not.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Writes and lists ISO images.
pub const XORRISO: &str = "xorriso";
/// First stage of UEFI boot, signed by Microsoft.
pub const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";
/// Lets an operator enrol a key for an own kernel.
pub const MOK_MANAGER: &str = "/usr/lib/shim/mmx64.efi.signed";
/// GRUB in its CD flavour, signed by Debian.
pub const GRUB: &str = "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed";
/// BIOS boot loader for CDs.
pub const ISOLINUX: &str = "/usr/lib/ISOLINUX/isolinux.bin";
/// Master boot record that starts ISOLINUX from a USB stick.
pub const ISOLINUX_MBR: &str = "/usr/lib/ISOLINUX/isohdpfx.bin";
/// Library of ISOLINUX.
pub const LDLINUX: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";

const FILES: [(&str, &str); 6] = [
    (SHIM, "shim-signed"),
    (MOK_MANAGER, "shim-signed"),
    (GRUB, "grub-efi-amd64-signed"),
    (ISOLINUX, "isolinux"),
    (ISOLINUX_MBR, "isolinux"),
    (LDLINUX, "syslinux-common"),
];

/// Debian packages that are not installed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not installed: {0}; run: apt-get install -y --no-install-recommends {0}", packages.join(" "))]
pub struct Missing {
    /// The packages.
    pub packages: Vec<&'static str>,
}

/// Checks the boot loader files and the programs that a build needs.
pub fn check(programs: &[&'static str]) -> Result<(), Missing> {
    check_in(Path::new("/"), &env::var_os("PATH").unwrap_or_default(), programs, &FILES)
}

/// Checks one program.
pub fn check_program(program: &'static str) -> Result<(), Missing> {
    check_in(Path::new("/"), &env::var_os("PATH").unwrap_or_default(), &[program], &[])
}

fn check_in(
    root: &Path,
    path: &std::ffi::OsStr,
    programs: &[&'static str],
    files: &[(&'static str, &'static str)],
) -> Result<(), Missing> {
    let found = |program: &str| env::split_paths(path).any(|folder| folder.join(program).is_file());
    let mut packages = Vec::new();
    packages.extend(programs.iter().filter(|program| !found(program)).map(|program| package(program)));
    let in_root = |file: &str| -> PathBuf { root.join(file.trim_start_matches('/')) };
    packages.extend(files.iter().filter(|(file, _)| !in_root(file).is_file()).map(|(_, package)| *package));
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() { Ok(()) } else { Err(Missing { packages }) }
}

fn package(program: &'static str) -> &'static str {
    match program {
        "apt-get" | "apt-cache" => "apt",
        "dpkg-deb" => "dpkg",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_things_make_one_apt_line() {
        let root = tempfile::tempdir().unwrap();
        let shim = root.path().join(SHIM.trim_start_matches('/'));
        std::fs::create_dir_all(shim.parent().unwrap()).unwrap();
        std::fs::write(&shim, "").unwrap();
        let missing = check_in(root.path(), "/nonexistent".as_ref(), &[XORRISO], &FILES).unwrap_err();
        assert_eq!(
            missing.packages,
            ["grub-efi-amd64-signed", "isolinux", "shim-signed", "syslinux-common", "xorriso"]
        );
        assert!(
            missing
                .to_string()
                .ends_with("grub-efi-amd64-signed isolinux shim-signed syslinux-common xorriso")
        );
    }
}
