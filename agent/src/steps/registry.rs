//! The visible list of steps.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Step,
    inspect::Inspect,
    power::{PowerOff, Reboot},
    set_boot_entry::SetBootEntry,
    write_config_drive::WriteConfigDrive,
    write_image::WriteImage,
};
use crate::link::resolve::Resolver;

/// The steps an agent can run, by name.
#[derive(Clone, Default)]
pub struct Registry {
    steps: BTreeMap<&'static str, Arc<dyn Step>>,
}

impl Registry {
    /// The built-in steps.
    #[must_use]
    pub fn standard() -> Self {
        Self::default()
            .with(Inspect)
            .with(WriteImage::with_resolver(Arc::new(Resolver::default())))
            .with(WriteConfigDrive::with_resolver(Arc::new(Resolver::default())))
            .with(SetBootEntry)
            .with(PowerOff::default())
            .with(Reboot::default())
    }

    /// Adds a step; one of the same name is replaced, so a vendor can override a built-in one.
    #[must_use]
    pub fn with(mut self, step: impl Step + 'static) -> Self {
        self.steps.insert(step.name(), Arc::new(step));
        self
    }

    /// The step of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Step>> {
        self.steps.get(name).cloned()
    }

    /// All names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.steps.keys().map(|name| (*name).to_owned()).collect()
    }
}
