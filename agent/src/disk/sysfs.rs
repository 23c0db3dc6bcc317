//! Reading attributes of sysfs and procfs, bounded, below a root that tests choose.

use std::{fs::File, io::Read, path::Path};

/// No attribute that we read is larger; `/proc/cpuinfo` of a machine with 500 processors has 1 MiB.
const LARGEST: u64 = 8 << 20;

/// The bytes of an attribute; `None` when it is not there or cannot be read.
pub(crate) fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut content).ok()?;
    Some(content)
}

/// The text of an attribute without surrounding blanks; `None` when it is missing or empty.
pub(crate) fn text(path: &Path) -> Option<String> {
    let content = bytes(path)?;
    let text = String::from_utf8_lossy(&content);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// The number in an attribute.
pub(crate) fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The flag in an attribute: true for `1`.
pub(crate) fn flag(path: &Path) -> bool {
    number(path) == Some(1)
}

/// The names in a folder, sorted; empty when there is no such folder.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The last part of what a link points to, such as the driver's name.
pub(crate) fn link_name(path: &Path) -> Option<String> {
    Some(std::fs::read_link(path).ok()?.file_name()?.to_str()?.to_owned())
}
