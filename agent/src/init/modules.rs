//! Which kernel modules a device needs: `depmod`'s text files.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

/// Largest index file that is read.
const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;
/// Name of the list of modules that no device asks for, in the folder of the kernel's modules.
pub const LOAD_LIST: &str = "bessemer.load";

/// `modules.alias` and `modules.dep` of one kernel.
#[derive(Debug, Default)]
pub struct ModuleIndex {
    root: PathBuf,
    /// Patterns by what is before their first colon; those with a wildcard there are under the empty word.
    aliases: HashMap<String, Vec<(String, String)>>,
    modules: HashMap<String, Module>,
}

#[derive(Debug)]
struct Module {
    path: PathBuf,
    dependencies: Vec<String>,
}

impl ModuleIndex {
    /// Reads the index of a folder such as `/lib/modules/6.1.0-28-amd64`.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut index = Self { root: root.to_owned(), ..Self::default() };
        each_line(&root.join("modules.dep"), |line| index.add_module(line))?;
        each_line(&root.join("modules.alias"), |line| index.add_alias(line))?;
        Ok(index)
    }

    fn add_module(&mut self, line: &str) {
        let Some((path, dependencies)) = line.split_once(':') else { return };
        let dependencies = dependencies.split_ascii_whitespace().map(module_name).collect();
        let module = Module { path: self.root.join(path), dependencies };
        self.modules.insert(module_name(path), module);
    }

    fn add_alias(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some("alias"), Some(pattern), Some(module)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let bus = match pattern.split_once(':') {
            Some((bus, _)) if !bus.contains(['*', '?', '[']) => bus,
            _ => "",
        };
        let entry = (pattern.to_owned(), module.replace('-', "_"));
        self.aliases.entry(bus.to_owned()).or_default().push(entry);
    }

    /// The modules that say they drive a device.
    #[must_use]
    pub fn modules_for(&self, modalias: &str) -> Vec<&str> {
        let bus = modalias.split_once(':').map_or("", |(bus, _)| bus);
        let buckets = if bus.is_empty() { vec![""] } else { vec![bus, ""] };
        let mut found: Vec<&str> = Vec::new();
        for (pattern, module) in buckets.iter().filter_map(|bus| self.aliases.get(*bus)).flatten() {
            if !found.contains(&module.as_str()) && matches(pattern.as_bytes(), modalias.as_bytes()) {
                found.push(module);
            }
        }
        found
    }

    /// A module and what it depends on, in the order in which they must be loaded. Names that are not in the
    /// index (built in, most likely) are left out.
    #[must_use]
    pub fn load_order(&self, module: &str) -> Vec<(&str, &Path)> {
        let mut order = Vec::new();
        self.visit(&module_name(module), &mut HashSet::new(), &mut order);
        order
    }

    fn visit<'a>(&'a self, name: &str, seen: &mut HashSet<&'a str>, order: &mut Vec<(&'a str, &'a Path)>) {
        let Some((name, module)) = self.modules.get_key_value(name) else { return };
        if !seen.insert(name) {
            return;
        }
        // depmod lists the whole chain, the deepest last; each also has a line of its own.
        for dependency in module.dependencies.iter().rev() {
            self.visit(dependency, seen, order);
        }
        order.push((name, &module.path));
    }

    /// Modules that are loaded though no device asks for them; an absent list is an empty one.
    #[must_use]
    pub fn load_list(&self) -> Vec<String> {
        let mut names = Vec::new();
        let read = each_line(&self.root.join(LOAD_LIST), |line| {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                names.push(module_name(line));
            }
        });
        if let Err(error) = read
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "{LOAD_LIST} cannot be read");
        }
        names
    }
}

fn each_line(path: &Path, mut take: impl FnMut(&str)) -> io::Result<()> {
    let file = BufReader::new(File::open(path)?.take(MAX_INDEX_BYTES));
    for line in file.split(b'\n') {
        // A line that is no text names no module.
        if let Ok(line) = std::str::from_utf8(&line?)
            && !line.starts_with('#')
        {
            take(line);
        }
    }
    Ok(())
}

/// `kernel/drivers/ata/ahci.ko.xz` is module `ahci`; dashes and underscores are the same.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Shell-style matching as `fnmatch(3)` without flags does it: `*`, `?` and `[...]`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last star takes one character more.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => class(&pattern[p..], text[t]),
            Some(byte) if *byte == text[t] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Length of the class at the start of `pattern` when `byte` is in it. An unclosed class is a plain bracket.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = if negated { 2 } else { 1 };
    let Some(end) = pattern.iter().skip(start + 1).position(|b| *b == b']').map(|at| at + start + 1) else {
        return (byte == b'[').then_some(1);
    };
    let members = &pattern[start..end];
    let mut inside = false;
    let mut at = 0;
    while at < members.len() {
        match members[at..] {
            [low, b'-', high, ..] => {
                inside |= (low..=high).contains(&byte);
                at += 3;
            }
            [member, ..] => {
                inside |= member == byte;
                at += 1;
            }
            [] => break,
        }
    }
    (inside != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests;
