//! The serial console by IPMI of BMCs that are otherwise spoken to in another way: with Redfish there is none, and an iLO
//! has one only so.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use url::Url;

use super::{BmcError, Client, Machine, Pace, Settings};
use crate::{
    bmc::{Bmc, Claim, Console, SerialLine, queue},
    node::{BootMode, Dictionary, Node},
};

/// The interfaces that stand for it: that of hardware type `ilo`, and the usual one.
const INTERFACES: [&str; 2] = ["ilo", "ipmitool-socat"];

/// Gives the BMC this console where the node's console interface says so. `keys` are those of `driver_info` that hold
/// address, user and password.
pub(in crate::bmc) fn console(bmc: Bmc, node: &Node, keys: [&str; 3]) -> Bmc {
    if !node.interfaces.get("console").is_some_and(|chosen| INTERFACES.contains(&chosen.as_str())) {
        return bmc;
    }
    // What is wrong with it is said when the console is opened: power does not depend on it.
    let serial = Settings::from_driver_info(&as_ipmi(&node.driver_info, keys))
        .map(|settings| Machine { client: client(settings), boot_mode: Ok(BootMode::Uefi) })
        .map_err(|error| error.to_string());
    Bmc { console: Some(Arc::new(Beside { serial, other: bmc.console })), ..bmc }
}

/// A user who may not use IPMI may still use the other protocol: refusals are remembered apart.
fn client(settings: Settings) -> Client {
    let queue = queue::of(&settings.host, Some(settings.port));
    Client { queue, ..Client::new(settings, Pace::default()) }
}

/// The `ipmi_*` keys, and for those that are not there what the driver has.
fn as_ipmi(info: &Dictionary, keys: [&str; 3]) -> Dictionary {
    let mut found: Dictionary = info
        .iter()
        .filter(|(key, _)| key.starts_with("ipmi_"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (name, key) in ["ipmi_address", "ipmi_username", "ipmi_password"].into_iter().zip(keys) {
        let is_there = found.get(name).is_some_and(|value| !value.is_null());
        if let (Some(value), false) = (info.get(key), is_there) {
            let value = if name == "ipmi_address" { host(value) } else { value.clone() };
            found.insert(name.to_owned(), value);
        }
    }
    found
}

/// Of an address or a URL; ports are those of other protocols.
fn host(address: &Value) -> Value {
    let Some(text) = address.as_str().map(str::trim) else { return address.clone() };
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("https://{text}")) };
    match url.as_ref().ok().and_then(Url::host_str) {
        Some(host) => json!(host.trim_start_matches('[').trim_end_matches(']')),
        // An IPv6 address without brackets, or what the settings refuse.
        None => address.clone(),
    }
}

struct Beside {
    serial: Result<Machine, String>,
    /// The driver's own, for its graphical console.
    other: Option<Arc<dyn Console>>,
}

#[async_trait]
impl Console for Beside {
    async fn has_serial(&self) -> Result<bool, BmcError> {
        Ok(true)
    }

    async fn serial(&self, claim: Claim) -> Result<Box<dyn SerialLine>, BmcError> {
        match &self.serial {
            Ok(machine) => machine.serial(claim).await,
            Err(problem) => {
                Err(BmcError::DriverInfo(format!("the console by IPMI cannot be opened: {problem}")))
            }
        }
    }

    async fn graphical(&self) -> Result<Option<Url>, BmcError> {
        match &self.other {
            Some(other) => other.graphical().await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(info: Value) -> Result<Settings, String> {
        let keys = ["redfish_address", "redfish_username", "redfish_password"];
        Settings::from_driver_info(&as_ipmi(info.as_object().unwrap(), keys))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_ipmi_is_not_told_is_what_redfish_was_told() {
        for (address, host) in [
            ("https://bmc.example:8443/redfish/v1", "bmc.example"),
            ("10.0.0.5:443", "10.0.0.5"),
            ("https://[fd00::5]:443", "fd00::5"),
            ("[fd00::5]", "fd00::5"),
            ("fd00::5", "fd00::5"),
        ] {
            let info =
                json!({"redfish_address": address, "redfish_username": "root", "redfish_password": "calvin"});
            let found = settings(info).unwrap();
            assert_eq!((found.host.as_str(), found.port, found.user.as_str()), (host, 623, "root"));
            assert_eq!(found.password.reveal(), "calvin");
        }
        let own = settings(json!({
            "redfish_address": "https://bmc", "redfish_username": "root", "redfish_password": "x",
            "ipmi_address": "10.0.0.9", "ipmi_port": 6230, "ipmi_username": "console", "ipmi_priv_level": "OPERATOR",
        }));
        let own = own.unwrap();
        assert_eq!((own.address().as_str(), own.user.as_str()), ("10.0.0.9:6230", "console"));
        let long =
            json!({"redfish_address": "bmc", "redfish_password": "a password that is too long for IPMI"});
        assert!(settings(long).unwrap_err().contains("20 bytes"));
    }

    #[test]
    fn a_password_that_ipmi_refuses_is_not_refused_to_redfish() {
        let client = client(settings(json!({"redfish_address": "bmc.beside.test"})).unwrap());
        assert!(!Arc::ptr_eq(&client.queue, &queue::of("bmc.beside.test", None)));
    }
}
