//! Who made the machine, and how it is.

use async_trait::async_trait;

use super::{Machine, document::Document, system::identity};
use crate::bmc::{BmcError, Health, Overview, quirks::Identity};

/// Longer than any maker's name.
const MAX_VENDOR: usize = 128;

#[async_trait]
impl Overview for Machine {
    async fn vendor(&self) -> Result<Option<String>, BmcError> {
        // Older BMCs have no name in their root.
        match name(self.client.root().await?, "/Vendor") {
            Some(vendor) => Ok(Some(vendor)),
            None => Ok(name(&self.system().await?, "/Manufacturer")),
        }
    }

    async fn identity(&self) -> Result<Identity, BmcError> {
        let system = self.system().await?;
        let managers = self.managers(&system).await?;
        Ok(identity(&system, &managers))
    }

    async fn health(&self) -> Result<Option<Health>, BmcError> {
        Ok(self.system().await?.text("/Status/Health").and_then(|health| health.parse().ok()))
    }
}

/// A name fit to be shown.
fn name(document: &Document, pointer: &str) -> Option<String> {
    let name =
        document.text(pointer)?.chars().filter(|c| !c.is_control()).take(MAX_VENDOR).collect::<String>();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
