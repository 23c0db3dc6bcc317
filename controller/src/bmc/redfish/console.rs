//! Consoles. Redfish tells where they are; it carries none itself. By SSH they are opened here, by IPMI in the driver of that.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use super::{Client, Machine, Pace, Settings, document::Document, ssh};
use crate::{
    bmc::{Bmc, BmcError, Claim, Console, SerialLine, queue},
    node::Node,
};

#[async_trait]
impl Console for Machine {
    /// Redfish's serial consoles are SSH, Telnet or IPMI of the BMC: other console interfaces.
    async fn has_serial(&self) -> Result<bool, BmcError> {
        Ok(false)
    }

    async fn serial(&self, _claim: Claim) -> Result<Box<dyn SerialLine>, BmcError> {
        let system = self.system().await?;
        let offered = match system.flag("/SerialConsole/SSH/ServiceEnabled") {
            Some(true) => {
                let port =
                    system.whole("/SerialConsole/SSH/Port").filter(|port| *port <= 65535).unwrap_or(22);
                format!(
                    "open its serial console with this console interface: it is at port {port} by SSH, which redfish-ssh opens"
                )
            }
            _ => "open a serial console by Redfish: console interface ipmitool-socat may".to_owned(),
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

/// The console interface of serial consoles by SSH.
const INTERFACE: &str = "redfish-ssh";
const USUAL_PORT: u16 = 22;
/// Longest command that leads to the console.
const MAX_ENTRY: usize = 128;

/// Gives the BMC a serial console by SSH where the node's console interface says so.
pub(in crate::bmc) fn by_ssh(bmc: Bmc, node: &Node) -> Result<Bmc, BmcError> {
    if node.interfaces.get("console").is_none_or(|chosen| chosen != INTERFACE) {
        return Ok(bmc);
    }
    let client = Client::new(Settings::from_driver_info(&node.driver_info)?, Pace::default())?;
    let host_key =
        node.driver_info.get(ssh::HOST_KEY).and_then(Value::as_str).map(|key| key.trim().to_owned());
    Ok(Bmc { console: Some(Arc::new(BySsh { machine: Machine::new(client), host_key })), ..bmc })
}

struct BySsh {
    machine: Machine,
    host_key: Option<String>,
}

#[async_trait]
impl Console for BySsh {
    async fn has_serial(&self) -> Result<bool, BmcError> {
        Ok(true)
    }

    async fn serial(&self, _claim: Claim) -> Result<Box<dyn SerialLine>, BmcError> {
        let (client, system) = (&self.machine.client, self.machine.system().await?);
        if system.flag("/SerialConsole/SSH/ServiceEnabled") != Some(true) {
            return Err(client.unsupported(
                "open a serial console by SSH: its SerialConsole says of none that is enabled; enable it in the BMC, or use \
                 console interface ipmitool-socat",
            ));
        }
        let port = system.whole("/SerialConsole/SSH/Port").and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port > 0).unwrap_or(USUAL_PORT);
        let entry = match system.flag("/SerialConsole/SSH/SharedWithManagerCLI") {
            Some(true) => system.text("/SerialConsole/SSH/ConsoleEntryCommand"),
            _ => None,
        };
        if entry.is_some_and(|entry| entry.len() > MAX_ENTRY || entry.contains(char::is_control)) {
            return Err(system.malformed("ConsoleEntryCommand is no short line of text"));
        }
        let settings = &client.settings;
        let Some(credentials) = &settings.credentials else {
            return Err(BmcError::DriverInfo(
                "a serial console by SSH needs redfish_username and redfish_password".to_owned(),
            ));
        };
        let host = settings.origin.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // A user who may not use SSH may still use Redfish: refusals are remembered apart.
        let queue = queue::of(host, Some(port));
        let target = ssh::Target {
            host,
            port,
            credentials,
            queue: &queue,
            keys: settings.names.credentials,
            host_key: self.host_key.as_deref(),
            entry,
        };
        ssh::open(&target).await
    }

    async fn graphical(&self) -> Result<Option<Url>, BmcError> {
        self.machine.graphical().await
    }
}
