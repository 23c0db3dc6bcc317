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

#[cfg(test)]
mod tests {
    use object::{Architecture, BinaryFormat, Endianness, SectionKind, write::Object};

    use super::*;

    struct Fake {
        files: BTreeMap<String, (String, Vec<u8>)>,
    }

    impl Fake {
        fn new(modules: &[(&str, &str)]) -> Self {
            let files = modules.iter().map(|(name, info)| {
                let path = format!("kernel/{}.ko", name.replace('_', "-"));
                ((*name).to_owned(), (path, module(&format!("{info}\0vermagic=6.1-test SMP"))))
            });
            Self { files: files.collect() }
        }
    }

    impl Source for Fake {
        fn release(&self) -> &str {
            "6.1-test"
        }
        fn path(&self, name: &str) -> Option<&str> {
            self.files.get(name).map(|(path, _)| path.as_str())
        }
        fn is_builtin(&self, name: &str) -> bool {
            name == "builtin"
        }
        fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
            Ok(self.files.values().find(|file| file.0 == path).unwrap().1.clone())
        }
    }

    fn module(info: &str) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let section = object.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::Other);
        object.append_section_data(section, info.as_bytes(), 1);
        object.write().unwrap()
    }

    fn select_from(modules: &[(&str, &str)], list: &str) -> Result<ModuleSet, ModulesError> {
        select(&Fake::new(modules), &list.parse().unwrap())
    }

    #[test]
    fn what_a_module_needs_comes_along_in_loading_order() {
        let modules = [
            ("top_mod", "depends=left,right\0alias=pci:top*"),
            ("left", "depends=base"),
            ("right", "depends=base,builtin\0softdep=pre: early post: late"),
            ("base", "depends="),
            ("early", "depends=top_mod"),
            ("late", "depends="),
            ("other", "depends="),
        ];
        let set = select_from(&modules, "top-mod\nbuiltin").unwrap();
        assert_eq!(set.warnings, Vec::<String>::new());
        let names: Vec<&str> = set.modules.keys().map(String::as_str).collect();
        assert_eq!(names, ["base", "early", "left", "right", "top_mod"]);
        let dep = set.dep();
        assert!(
            dep.contains(
                "kernel/top-mod.ko: kernel/right.ko kernel/early.ko kernel/left.ko kernel/base.ko\n"
            ),
            "{dep}"
        );
        assert!(dep.contains("kernel/base.ko:\n"), "{dep}");
        assert_eq!(set.alias(), "alias pci:top* top_mod\n");
    }

    #[test]
    fn lines_of_the_list_say_what_modules_do_not() {
        let modules = [
            ("core", "alias=pci:b*\0alias=pci:a*"),
            ("port", "depends=core"),
            ("fs", "alias=fs-x"),
            ("table", ""),
            ("vars", "alias=fs-vars"),
        ];
        let list = "core\nport with core\nfs needs table\nvars load\ntable";
        let set = select_from(&modules, list).unwrap();
        assert_eq!(set.warnings, Vec::<String>::new());
        assert_eq!(
            set.alias(),
            "alias fs-vars vars\nalias fs-x fs\nalias pci:a* core\nalias pci:a* port\nalias pci:b* core\nalias pci:b* port\n"
        );
        assert!(set.dep().contains("kernel/fs.ko: kernel/table.ko\n"));
        assert_eq!(set.load(), "vars\n");
    }

    #[test]
    fn what_cannot_work_is_said() {
        let set = select_from(
            &[("lonely", ""), ("soft", "alias=x\0softdep=pre: crc"), ("port", "")],
            "lonely\nabsent\nsoft\nport with nothing",
        )
        .unwrap();
        assert_eq!(set.warnings.len(), 4, "{:?}", set.warnings);
        for name in ["no module absent", "asks for kernel module lonely", "wants crc", "goes with nothing"] {
            assert!(set.warnings.iter().any(|warning| warning.contains(name)), "{name}: {:?}", set.warnings);
        }
        let error = select_from(&[("a", "depends=gone")], "a").unwrap_err();
        assert!(matches!(error, ModulesError::Incomplete { .. }), "{error}");
        let other = Fake { files: [("a".into(), ("a.ko".into(), module("vermagic=5.10 SMP")))].into() };
        let error = select(&other, &"a".parse().unwrap()).unwrap_err();
        assert!(matches!(error, ModulesError::OtherKernel { .. }), "{error}");
        let packed = Fake { files: [("a".into(), ("a.ko.xz".into(), Vec::new()))].into() };
        let error = select(&packed, &"a".parse().unwrap()).unwrap_err();
        assert!(matches!(error, ModulesError::Compressed(_)), "{error}");
        let broken = Fake { files: [("a".into(), ("a.ko".into(), b"\x7fELF".to_vec()))].into() };
        let error = select(&broken, &"a".parse().unwrap()).unwrap_err();
        assert!(matches!(error, ModulesError::NotAModule { .. }), "{error}");
    }
}
