//! From wanted names to files: what a module needs comes along.

use std::collections::{BTreeMap, BTreeSet};

use super::{Modinfo, Module, ModuleList, ModuleSet, ModulesError, Wanted, When, list::canonical};
use crate::files::FileError;

/// Where modules come from: a kernel's folder.
pub trait Source {
    /// The kernel's release, as `uname -r` says.
    fn release(&self) -> &str;
    /// The path of a module below `/lib/modules/<release>`.
    fn path(&self, name: &str) -> Option<&str>;
    /// Whether the kernel has it built in.
    fn is_builtin(&self, name: &str) -> bool;
    /// Reads a file by its path below `/lib/modules/<release>`.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;
}

/// Collects the wanted modules and everything they need.
pub fn select(source: &dyn Source, list: &ModuleList) -> Result<ModuleSet, ModulesError> {
    let mut closure = Closure { source, list, found: BTreeMap::new(), set: ModuleSet::default() };
    for wanted in &list.wanted {
        closure.add_wanted(wanted)?;
    }
    for wanted in &list.wanted {
        closure.mark(wanted);
    }
    closure.finish()
}

struct Found {
    module: Module,
    needs: Vec<String>,
}

struct Closure<'a> {
    source: &'a dyn Source,
    list: &'a ModuleList,
    found: BTreeMap<String, Found>,
    set: ModuleSet,
}

impl Closure<'_> {
    fn add_wanted(&mut self, wanted: &Wanted) -> Result<(), ModulesError> {
        let name = &wanted.name;
        if self.source.path(name).is_some() {
            return self.add(name);
        }
        if !self.source.is_builtin(name) {
            let release = self.source.release();
            self.set
                .warnings
                .push(format!("kernel {release} has no module {name}: it is not in the ramdisk"));
        }
        Ok(())
    }

    /// Adds a module and, by a work list, all that it needs.
    fn add(&mut self, name: &str) -> Result<(), ModulesError> {
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            if self.found.contains_key(&name) {
                continue;
            }
            let Some(path) = self.source.path(&name) else { continue };
            let bytes = self.read(path)?;
            let info = Modinfo::parse(&bytes)
                .map_err(|reason| ModulesError::NotAModule { path: path.to_owned(), reason })?;
            self.check_kernel(path, &info)?;
            let needs = self.needs(&name, &info)?;
            open.extend(needs.iter().cloned());
            let module = Module {
                name: name.clone(),
                path: path.to_owned(),
                bytes,
                before: Vec::new(),
                aliases: info.aliases,
                firmware: info.firmware,
            };
            self.found.insert(name, Found { module, needs });
        }
        Ok(())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, ModulesError> {
        if !path.ends_with(".ko") {
            return Err(ModulesError::Compressed(path.to_owned()));
        }
        Ok(self.source.read(path)?)
    }

    /// The kernel would refuse a module whose vermagic differs; better to hear it now.
    fn check_kernel(&self, path: &str, info: &Modinfo) -> Result<(), ModulesError> {
        let found = info.vermagic.split_whitespace().next().unwrap_or_default();
        if found.is_empty() || found == self.source.release() {
            return Ok(());
        }
        let wanted = self.source.release().to_owned();
        Err(ModulesError::OtherKernel { path: path.to_owned(), found: found.to_owned(), wanted })
    }

    fn needs(&mut self, name: &str, info: &Modinfo) -> Result<Vec<String>, ModulesError> {
        let listed = self.list.wanted.iter().filter(|wanted| wanted.name == name);
        let extra: Vec<String> = listed.flat_map(|wanted| wanted.needs.iter().cloned()).collect();
        let mut needs = Vec::new();
        for missing in info.depends.iter().chain(&extra) {
            if self.source.path(missing).is_some() {
                needs.push(missing.clone());
            } else if !self.source.is_builtin(missing) {
                return Err(ModulesError::Incomplete { module: name.to_owned(), missing: missing.clone() });
            }
        }
        for soft in &info.wants_before {
            if self.source.path(soft).is_some() {
                needs.push(soft.clone());
            } else if !self.source.is_builtin(soft) && extra.is_empty() {
                self.set.warnings.push(format!(
                    "kernel module {name} wants {soft} loaded before it, and no module has that name: say which \
                     by \"{name} needs ...\" in the module list"
                ));
            }
        }
        Ok(needs)
    }

    /// Makes sure that something loads a wanted module.
    fn mark(&mut self, wanted: &Wanted) {
        let name = &wanted.name;
        if !self.found.contains_key(name) {
            return;
        }
        match &wanted.when {
            When::Start => self.set.load.push(name.clone()),
            When::With(other) => self.follow(name, &canonical(other)),
            When::Asked => {
                let needed = self.found.values().any(|found| found.needs.contains(name));
                let asked = self.found.get(name).is_some_and(|found| !found.module.aliases.is_empty());
                if !asked && !needed {
                    self.set.warnings.push(format!(
                        "no device asks for kernel module {name} by itself: write \"{name} load\" or \
                         \"{name} with OTHER\" in the module list"
                    ));
                }
            }
        }
    }

    /// Gives a module the aliases of another, so that one device loads both.
    fn follow(&mut self, name: &str, other: &str) {
        let Some(aliases) = self.found.get(other).map(|found| found.module.aliases.clone()) else {
            self.set
                .warnings
                .push(format!("kernel module {name} goes with {other}, which is not in the ramdisk"));
            return;
        };
        if let Some(found) = self.found.get_mut(name) {
            found.module.aliases.extend(aliases);
            found.module.aliases.sort();
            found.module.aliases.dedup();
        }
    }

    fn finish(mut self) -> Result<ModuleSet, ModulesError> {
        let names: Vec<String> = self.found.keys().cloned().collect();
        for name in &names {
            let mut order = Vec::new();
            self.order(name, &mut BTreeSet::new(), &mut order);
            order.pop();
            if let Some(found) = self.found.get_mut(name) {
                found.module.before = order;
            }
        }
        self.set.modules = self.found.into_iter().map(|(name, found)| (name, found.module)).collect();
        Ok(self.set)
    }

    /// Appends what `name` needs, then `name`. A circle of soft dependencies is cut where it closes.
    fn order(&self, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<String>) {
        if !seen.insert(name.to_owned()) {
            return;
        }
        let needs = self.found.get(name).map(|found| found.needs.as_slice()).unwrap_or_default();
        for needed in needs {
            self.order(needed, seen, order);
        }
        order.push(name.to_owned());
    }
}
