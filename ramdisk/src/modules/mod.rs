//! Kernel modules of the ramdisk: which ones, in which order they load, and the index that the agent reads.
//!
//! The index has depmod's text formats (`modules.dep`, `modules.alias`) and covers exactly the modules that are
//! in the ramdisk. It is made from what the modules say themselves, so it needs no installed kernel and writes
//! nothing into the kernel's folder. What the kernel would ask of `/sbin/modprobe` at run time (soft dependencies,
//! companions) is made explicit: a ramdisk has no modprobe.

mod closure;
mod list;
mod modinfo;

use std::collections::BTreeMap;

pub use closure::{Source, select};
pub use list::{DEFAULT, ListError, ModuleList, Wanted, When};
pub use modinfo::{Modinfo, NotAModule};

use crate::files::FileError;

/// Why the modules cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A line of the list is wrong.
    #[error(transparent)]
    List(#[from] ListError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A module's file is damaged or not a module.
    #[error("kernel module {path} cannot be used: {reason}")]
    NotAModule {
        /// The file.
        path: String,
        /// What is wrong.
        reason: NotAModule,
    },
    /// A module's file is compressed; the agent hands files to the kernel as they are.
    #[error("kernel module {0} is compressed: unpack the .ko files of this kernel first")]
    Compressed(String),
    /// A module of another kernel.
    #[error("kernel module {path} was built for kernel {found}, the kernel is {wanted}: build it anew")]
    OtherKernel {
        /// The file.
        path: String,
        /// Its kernel.
        found: String,
        /// The ramdisk's kernel.
        wanted: String,
    },
    /// A module needs one that does not exist.
    #[error(
        "kernel module {module} needs {missing}, which the kernel does not have: the kernel's folder is incomplete"
    )]
    Incomplete {
        /// The module.
        module: String,
        /// What it needs.
        missing: String,
    },
}

/// One module in the ramdisk.
#[derive(Debug)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its path below `/lib/modules/<release>`.
    pub path: String,
    /// Its file, byte for byte: the signature is at its end.
    pub bytes: Vec<u8>,
    /// What must be loaded before it, in loading order.
    pub before: Vec<String>,
    /// Patterns that it is loaded for.
    pub aliases: Vec<String>,
    /// Firmware files that it may ask for.
    pub firmware: Vec<String>,
}

/// The modules of a ramdisk.
#[derive(Debug, Default)]
pub struct ModuleSet {
    /// By name.
    pub modules: BTreeMap<String, Module>,
    /// Names to load when the ramdisk starts, in order.
    pub load: Vec<String>,
    /// Sentences about wanted modules that are not in, or that nothing would load.
    pub warnings: Vec<String>,
}

impl ModuleSet {
    /// The text of `modules.dep`: each module's path, then the paths of what it needs, to be loaded from last
    /// to first.
    #[must_use]
    pub fn dep(&self) -> String {
        let path = |name: &String| self.modules.get(name).map(|module| module.path.as_str());
        let mut lines: Vec<String> = Vec::new();
        for module in self.modules.values() {
            let mut line = format!("{}:", module.path);
            for needed in module.before.iter().rev().filter_map(path) {
                line.push(' ');
                line.push_str(needed);
            }
            lines.push(line + "\n");
        }
        lines.sort();
        lines.concat()
    }

    /// The text of `modules.alias`.
    #[must_use]
    pub fn alias(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for module in self.modules.values() {
            lines.extend(module.aliases.iter().map(|alias| format!("alias {alias} {}\n", module.name)));
        }
        lines.sort();
        lines.concat()
    }

    /// The text of `bessemer.load`: modules to load at the start, one a line.
    #[must_use]
    pub fn load(&self) -> String {
        self.load.iter().map(|name| format!("{name}\n")).collect()
    }

    /// How many bytes the modules have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.modules.values().map(|module| module.bytes.len() as u64).sum()
    }
}
