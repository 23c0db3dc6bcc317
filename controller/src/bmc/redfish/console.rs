//! Consoles. Redfish tells where they are; it carries none itself.

use async_trait::async_trait;
use url::Url;

use super::{Machine, document::Document};
use crate::bmc::{BmcError, Claim, Console, SerialLine};

#[async_trait]
impl Console for Machine {
    /// Redfish's serial consoles are SSH, Telnet or IPMI of the BMC, none of which is spoken here.
    async fn has_serial(&self) -> Result<bool, BmcError> {
        Ok(false)
    }

    async fn serial(&self, _claim: Claim) -> Result<Box<dyn SerialLine>, BmcError> {
        let system = self.system().await?;
        let offered = match system.flag("/SerialConsole/SSH/ServiceEnabled") {
            Some(true) => {
                let port =
                    system.whole("/SerialConsole/SSH/Port").filter(|port| *port <= 65535).unwrap_or(22);
                format!("open its serial console here: log in by SSH to its port {port}")
            }
            _ => "open a serial console by Redfish: the console interface of IPMI may".to_owned(),
        };
        Err(self.client.unsupported(offered))
    }

    async fn graphical(&self) -> Result<Option<Url>, BmcError> {
        let system = self.system().await?;
        if offers_graphical(&system) {
            return Ok(Some(self.client.settings.origin.clone()));
        }
        let managers = self.managers(&system).await?;
        Ok(managers.iter().any(offers_graphical).then(|| self.client.settings.origin.clone()))
    }
}

/// Redfish has no URL for it: it is in the BMC's own web pages.
fn offers_graphical(owner: &Document) -> bool {
    let kinds = owner.texts("/GraphicalConsole/ConnectTypesSupported").unwrap_or_default();
    owner.flag("/GraphicalConsole/ServiceEnabled") == Some(true)
        && kinds.iter().any(|k| matches!(*k, "KVMIP" | "OEM"))
}
