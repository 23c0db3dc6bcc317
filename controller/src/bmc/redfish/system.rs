//! Which system of the BMC is the machine.

use super::{Machine, auth::ROOT, document::Document};
use crate::bmc::{
    BmcError,
    quirks::{self, Identity, Quirks},
};

impl Machine {
    /// The machine's ComputerSystem.
    pub(super) async fn system(&self) -> Result<Document, BmcError> {
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
        let root = self.client.get(ROOT).await?;
        let systems = root.link("/Systems").ok_or_else(|| root.malformed("no Systems"))?;
        let members = self.client.get(systems).await?.links("/Members");
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
}

/// How this machine differs from the standard.
pub(super) fn quirks_of(system: &Document) -> Quirks {
    let text = |pointer: &str| system.text(pointer).map(str::to_owned);
    let identity = Identity { vendor: text("/Manufacturer"), model: text("/Model"), ..Identity::default() };
    quirks::of(&identity).quirks
}
