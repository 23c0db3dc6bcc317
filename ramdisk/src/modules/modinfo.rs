//! What a kernel module says about itself: section `.modinfo` of its ELF file.

use object::{Object as _, ObjectSection as _};

use super::list::canonical;

/// What a module says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modinfo {
    /// Modules whose symbols it uses.
    pub depends: Vec<String>,
    /// Modules (or aliases) that it wants loaded before itself.
    pub wants_before: Vec<String>,
    /// Device patterns that it serves.
    pub aliases: Vec<String>,
    /// Firmware files that it may load.
    pub firmware: Vec<String>,
    /// Release and configuration of the kernel that it was built for.
    pub vermagic: String,
}

/// Why a file is not a kernel module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not an ELF file with a .modinfo section")]
pub struct NotAModule;

impl Modinfo {
    /// Reads a module's file.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAModule> {
        let file = object::File::parse(bytes).map_err(|_| NotAModule)?;
        let section = file.section_by_name(".modinfo").ok_or(NotAModule)?;
        Ok(Self::from_section(section.data().map_err(|_| NotAModule)?))
    }

    /// Reads the section: `key=value` strings that end with NUL.
    fn from_section(section: &[u8]) -> Self {
        let mut modinfo = Self::default();
        for pair in section.split(|&byte| byte == 0) {
            let Ok(pair) = std::str::from_utf8(pair) else { continue };
            let Some((key, value)) = pair.split_once('=') else { continue };
            match key {
                "depends" => {
                    modinfo.depends.extend(value.split(',').filter(|name| !name.is_empty()).map(canonical));
                }
                "softdep" => modinfo.wants_before.extend(before(value)),
                // White space would break the lines of modules.alias; the kernel makes no such alias.
                "alias" if !value.contains(char::is_whitespace) => modinfo.aliases.push(value.to_owned()),
                "firmware" => modinfo.firmware.push(value.to_owned()),
                "vermagic" => value.clone_into(&mut modinfo.vermagic),
                _ => {}
            }
        }
        modinfo.aliases.sort();
        modinfo.aliases.dedup();
        modinfo.firmware.sort();
        modinfo
    }
}

/// The names after `pre:` up to `post:`.
fn before(softdep: &str) -> impl Iterator<Item = String> {
    let mut pre = false;
    softdep.split_whitespace().filter_map(move |word| match word {
        "pre:" | "post:" => {
            pre = word == "pre:";
            None
        }
        name => pre.then(|| canonical(name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_read() {
        let section = b"license=GPL\0softdep=pre: ehci-pci post: late pre: crc\0\0\0alias=pci:v1*\0alias=fs-x\0\
            alias=pci:v1*\0alias=two words\0depends=usb-core,mii\0firmware=b.bin\0firmware=a.bin\0\xff\xfe=x\0\
            vermagic=6.1.0 SMP";
        assert_eq!(
            Modinfo::from_section(section),
            Modinfo {
                depends: vec!["usb_core".into(), "mii".into()],
                wants_before: vec!["ehci_pci".into(), "crc".into()],
                aliases: vec!["fs-x".into(), "pci:v1*".into()],
                firmware: vec!["a.bin".into(), "b.bin".into()],
                vermagic: "6.1.0 SMP".into(),
            }
        );
        assert_eq!(Modinfo::from_section(b"depends=\0").depends, Vec::<String>::new());
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert_eq!(Modinfo::parse(b"\xfd7zXZ\0"), Err(NotAModule));
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Modinfo::parse(&program), Err(NotAModule));
    }
}
