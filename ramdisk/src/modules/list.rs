//! The list of wanted modules: `modules.list` in the source, or an operator's own.

use std::str::FromStr;

/// The list that is used when no other is given.
pub const DEFAULT: &str = include_str!("../../modules.list");

/// Wanted modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleList {
    /// In the order of the list.
    pub wanted: Vec<Wanted>,
}

/// One wanted module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, with underscores.
    pub name: String,
    /// When it is loaded.
    pub when: When,
    /// Modules that must be loaded before it, beyond what it declares.
    pub needs: Vec<String>,
}

/// When a module is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// When a device asks for it.
    Asked,
    /// When the ramdisk starts.
    Start,
    /// Whenever another module is.
    With(String),
}

/// A line of a list that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} of the module list, \"{text}\": {expected}")]
pub struct ListError {
    line: usize,
    text: String,
    expected: &'static str,
}

/// The name of a module as the kernel spells it.
#[must_use]
pub(super) fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

impl ModuleList {
    /// Adds a module that a device asks for, unless it is in the list already.
    pub fn add(&mut self, name: &str) {
        let name = canonical(name);
        if !self.wanted.iter().any(|wanted| wanted.name == name) {
            self.wanted.push(Wanted { name, when: When::Asked, needs: Vec::new() });
        }
    }
}

impl FromStr for ModuleList {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        let mut list = Self::default();
        for (number, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = content.split_whitespace().collect();
            let error = |expected| ListError { line: number + 1, text: content.trim().to_owned(), expected };
            let Some((name, rest)) = words.split_first() else { continue };
            let wanted = wanted(name, rest)
                .ok_or_else(|| error("expected NAME, NAME load, NAME with OTHER, or NAME needs A B ..."))?;
            if list.wanted.iter().any(|known| known.name == wanted.name) {
                return Err(error("the module is in the list twice, keep one line"));
            }
            list.wanted.push(wanted);
        }
        Ok(list)
    }
}

fn wanted(name: &str, rest: &[&str]) -> Option<Wanted> {
    let (when, needs) = match rest {
        [] => (When::Asked, Vec::new()),
        ["load"] => (When::Start, Vec::new()),
        ["with", other] => (When::With(module_name(other)?), Vec::new()),
        ["needs", first, more @ ..] => {
            let names = std::iter::once(first).chain(more).map(|name| module_name(name));
            (When::Asked, names.collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Some(Wanted { name: module_name(name)?, when, needs })
}

fn module_name(word: &str) -> Option<String> {
    let good = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    good.then(|| canonical(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_line_is_understood() {
        let list: ModuleList =
            "\n# disks\nusb-storage # sticks\nefivarfs load\nmlx4_en with mlx4-core\nvfat needs nls_cp437 nls-ascii"
                .parse()
                .unwrap();
        let wanted = |name: &str, when, needs: &[&str]| Wanted {
            name: name.into(),
            when,
            needs: needs.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(
            list.wanted,
            [
                wanted("usb_storage", When::Asked, &[]),
                wanted("efivarfs", When::Start, &[]),
                wanted("mlx4_en", When::With("mlx4_core".into()), &[]),
                wanted("vfat", When::Asked, &["nls_cp437", "nls_ascii"]),
            ]
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = "ahci\nnvme please\n".parse::<ModuleList>().unwrap_err().to_string();
        assert!(error.starts_with("line 2 of the module list, \"nvme please\""), "{error}");
        for bad in ["ahci\nahci", "../../etc/passwd", "a with", "a needs", "a with b c"] {
            assert!(bad.parse::<ModuleList>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_default_list_is_well_formed() {
        let mut list: ModuleList = DEFAULT.parse().unwrap();
        let count = list.wanted.len();
        assert!(count > 50);
        list.add("usb-storage");
        assert_eq!(list.wanted.len(), count, "already there");
        list.add("qla2xxx");
        assert_eq!(list.wanted.len(), count + 1);
    }
}
