//! Which system of the BMC is the machine.

use std::time::Duration;

use super::{Machine, document::Document};
use crate::bmc::{
    BmcError,
    queue::Limits,
    quirks::{self, Identity, Quirks},
};

impl Machine {
    /// The machine's ComputerSystem.
    pub(in crate::bmc) async fn system(&self) -> Result<Document, BmcError> {
        let system = self.found_system().await?;
        self.spare(&system).await;
        Ok(system)
    }

    async fn found_system(&self) -> Result<Document, BmcError> {
        if let Some(path) = &self.client.settings.system {
            return self.client.find(path).await?.ok_or_else(|| {
                BmcError::DriverInfo(format!(
                    "the BMC at {} has no system {path}: correct redfish_system_id in driver_info, or leave it out",
                    self.client.transport.address
                ))
            });
        }
        if let Some(path) = self.found.get() {
            return self.client.get(path).await;
        }
        let path = self.only_system().await?;
        let system = self.client.get(&path).await?;
        self.found.set(path).ok();
        Ok(system)
    }

    async fn only_system(&self) -> Result<String, BmcError> {
        let root = self.client.root().await?;
        let systems = root.link("/Systems").ok_or_else(|| root.malformed("no Systems"))?;
        let members = self.client.members(systems).await?;
        match members.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(self.client.unsupported("manage a system: its list of Systems is empty")),
            several => Err(BmcError::DriverInfo(format!(
                "the BMC at {} manages {} systems: set redfish_system_id in driver_info to one of {}",
                self.client.transport.address,
                several.len(),
                several.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    /// How this machine's BMC differs from the standard.
    pub(super) fn quirks(&self, system: &Document) -> Quirks {
        let known = self.client.shared.identity(&system.path);
        quirks::of(&known.unwrap_or_else(|| identity(system, &[]))).quirks
    }

    /// Spares a BMC that needs it. Who it is, is asked once in a while: firmware is replaced.
    async fn spare(&self, system: &Document) {
        if self.client.shared.identity(&system.path).is_none() {
            // What the manager does not tell matches no rule: better than not to go on.
            let managers = self.managers(system).await.unwrap_or_default();
            self.client.shared.remember(&system.path, identity(system, &managers));
        }
        let (quirks, usual) = (self.quirks(system), Limits::default());
        let limits = Limits {
            concurrency: quirks.concurrency.unwrap_or(usual.concurrency),
            spacing: quirks
                .spacing_ms
                .map_or(usual.spacing, |ms| Duration::from_millis(ms.min(60_000).into())),
            ..usual
        };
        let queue = &self.client.shared.queue;
        if queue.limits() != limits {
            queue.set_limits(limits);
        }
    }
}

pub(super) fn identity(system: &Document, managers: &[Document]) -> Identity {
    let of_manager = |pointer: &str| managers.iter().find_map(|manager| manager.shown(pointer));
    Identity {
        vendor: system.shown("/Manufacturer"),
        model: system.shown("/Model"),
        bmc: of_manager("/Model"),
        firmware: of_manager("/FirmwareVersion"),
    }
}
