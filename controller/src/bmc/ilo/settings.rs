//! The `ilo_*` keys of `driver_info`, with the names and defaults that Ironic's iLO drivers had, checked.

use std::{net::Ipv6Addr, time::Duration};

use bessemer_proto::secret::Secret;
use serde_json::Value;
use url::Url;

use crate::{
    bmc::{
        BmcError,
        redfish::{self, AuthType, Credentials, Names, Verify, verify},
    },
    node::Dictionary,
};

/// The keys that hold user and password, for messages.
pub(super) const CREDENTIAL_KEYS: &str = "ilo_username and ilo_password";
/// The key that says how the certificate is verified.
pub(super) const VERIFY_KEY: &str = "ilo_verify_ca";
const MAX_TIMEOUT: u64 = 600;

/// How to reach an iLO.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Scheme, host and port.
    pub(super) origin: Url,
    pub(super) credentials: Credentials,
    pub(super) verify: Verify,
    /// How long one request may take.
    pub(super) timeout: Duration,
}

impl Settings {
    pub(super) fn from_driver_info(info: &Dictionary) -> Result<Self, BmcError> {
        let required = |key: &str, what: &str| {
            text(info, key)?.ok_or_else(|| wrong(format!("{key} is missing: set it to {what}")))
        };
        let address = required("ilo_address", "the iLO's address or name")?;
        let user = required("ilo_username", "the name of a user of the iLO")?;
        let password = required("ilo_password", "the password of ilo_username")?;
        let port = number(info, "client_port", 1, 65_535)?.and_then(|port| u16::try_from(port).ok());
        let timeout = number(info, "client_timeout", 1, MAX_TIMEOUT)?.unwrap_or(60);
        // The older name, which Ironic kept for long.
        let ca = info.get(VERIFY_KEY).filter(|value| !value.is_null()).or_else(|| info.get("ca_file"));
        Ok(Self {
            origin: origin(address, port)?,
            credentials: Credentials { user: user.to_owned(), password: Secret::new(password) },
            verify: verify(ca, VERIFY_KEY)?,
            timeout: Duration::from_secs(timeout),
        })
    }

    /// The same for the Redfish client.
    pub(super) fn redfish(&self, auth: AuthType) -> redfish::Settings {
        redfish::Settings {
            origin: self.origin.clone(),
            system: None,
            credentials: Some(self.credentials.clone()),
            verify: self.verify.clone(),
            only_tls13: false,
            auth,
            names: Names { credentials: CREDENTIAL_KEYS, verify: VERIFY_KEY },
        }
    }

    /// The origin as messages show it.
    pub(super) fn address(&self) -> String {
        self.origin.as_str().trim_end_matches('/').to_owned()
    }
}

fn wrong(message: impl Into<String>) -> BmcError {
    BmcError::DriverInfo(message.into())
}

/// Text that fits into XML as well.
fn text<'a>(info: &'a Dictionary, key: &str) -> Result<Option<&'a str>, BmcError> {
    match info.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            Err(wrong(format!("{key} must not hold control characters")))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(format!("{key} must be a string"))),
    }
}

/// A number, also as text: that is how Ironic's client sends them.
fn number(info: &Dictionary, key: &str, least: u64, most: u64) -> Result<Option<u64>, BmcError> {
    let number = match info.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    let number = number.filter(|number| (least..=most).contains(number));
    number.map(Some).ok_or_else(|| wrong(format!("{key} must be a whole number from {least} to {most}")))
}

fn origin(address: &str, port: Option<u16>) -> Result<Url, BmcError> {
    let expected = "ilo_address must be an address or a name such as 10.0.0.5 or ilo.example.com; the port goes into \
                    client_port";
    let address = address.trim();
    let host = if address.parse::<Ipv6Addr>().is_ok() { format!("[{address}]") } else { address.to_owned() };
    let is_bare = !host.contains(['/', '@', '?', '#']) && (host.starts_with('[') || !host.contains(':'));
    if host.is_empty() || !is_bare {
        return Err(wrong(expected));
    }
    let mut url = Url::parse(&format!("https://{host}/")).map_err(|_| wrong(expected))?;
    url.set_port(port).map_err(|()| wrong(expected))?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(more: Value) -> Result<Settings, String> {
        let mut info =
            json!({"ilo_address": "ilo", "ilo_username": "Administrator", "ilo_password": "hunter2"});
        info.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Settings::from_driver_info(info.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_classic_drivers() {
        let found = settings(json!({})).unwrap();
        assert_eq!(found.address(), "https://ilo");
        assert_eq!(found.timeout, Duration::from_secs(60));
        assert_eq!(found.verify, Verify::Public);
        assert!(!format!("{found:?}").contains("hunter2"));
        let given = json!({"ilo_address": "fd00::5", "client_port": "8443", "client_timeout": 5, "ilo_verify_ca": "False"});
        let found = settings(given).unwrap();
        assert_eq!(found.address(), "https://[fd00::5]:8443");
        assert_eq!((found.timeout, found.verify), (Duration::from_secs(5), Verify::Nothing));
    }

    #[test]
    fn wrong_values_name_their_key_and_keep_secrets() {
        for (info, key) in [
            (json!({"ilo_address": ""}), "ilo_address"),
            (json!({"ilo_address": "https://ilo"}), "ilo_address"),
            (json!({"ilo_address": "ilo:8443"}), "client_port"),
            (json!({"ilo_username": null}), "ilo_username"),
            (json!({"ilo_password": ""}), "ilo_password"),
            (json!({"ilo_password": "hunter2\u{1}"}), "ilo_password"),
            (json!({"client_port": 0}), "client_port"),
            (json!({"client_port": "x"}), "client_port"),
            (json!({"client_timeout": 6000}), "client_timeout"),
            (json!({"ilo_verify_ca": "/no/such/file"}), "ilo_verify_ca"),
            (json!({"ca_file": "/no/such/file"}), "ilo_verify_ca"),
        ] {
            let error = settings(info).unwrap_err();
            assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
        }
    }
}
