//! Network interfaces as sysfs shows them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Ethernet, in `/sys/class/net/*/type`.
const ARPHRD_ETHER: &str = "1";

/// A physical interface.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) mac: [u8; 6],
    folder: PathBuf,
}

impl Interface {
    /// All physical Ethernet interfaces, by name.
    pub(super) fn all(sys: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(sys.join("class/net")) else { return Vec::new() };
        let mut all: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Self::read(entry.path(), entry.file_name().to_str()?))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn read(folder: PathBuf, name: &str) -> Option<Self> {
        // Only what has hardware behind it: not lo, not bridges, not tunnels.
        if !folder.join("device").exists() || text(&folder.join("type"))? != ARPHRD_ETHER {
            return None;
        }
        let index = text(&folder.join("ifindex"))?.parse().ok()?;
        let mac = parse_mac(&text(&folder.join("address"))?)?;
        Some(Self { name: name.to_owned(), index, mac, folder })
    }

    /// Whether a cable with a live other end is plugged in.
    pub(super) fn has_carrier(&self) -> bool {
        text(&self.folder.join("carrier")).is_some_and(|carrier| carrier == "1")
    }

    pub(super) fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<_, _>>().ok()?;
    octets.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_physical_ethernet_counts() {
        let sys = tempfile::tempdir().unwrap();
        let add = |name: &str, kind: &str, physical: bool| {
            let folder = sys.path().join("class/net").join(name);
            fs::create_dir_all(&folder).unwrap();
            if physical {
                fs::create_dir(folder.join("device")).unwrap();
            }
            fs::write(folder.join("type"), kind).unwrap();
            fs::write(folder.join("ifindex"), "2\n").unwrap();
            fs::write(folder.join("address"), "52:54:00:AA:bb:01\n").unwrap();
        };
        add("lo", "772\n", false);
        add("br0", "1\n", false);
        add("ib0", "32\n", true);
        add("eth0", "1\n", true);
        let all = Interface::all(sys.path());
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].name.as_str(), all[0].index), ("eth0", 2));
        assert_eq!(all[0].mac_text(), "52:54:00:aa:bb:01");
        assert!(!all[0].has_carrier());
        assert!(Interface::all(Path::new("/nonexistent")).is_empty());
    }
}
