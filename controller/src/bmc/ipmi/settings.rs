//! The `ipmi_*` keys of `driver_info`, checked.

use std::net::Ipv6Addr;

use bessemer_proto::secret::Secret;
use serde_json::Value;

use super::crypto::Suite;
use crate::{bmc::BmcError, node::Dictionary};

const USUAL_PORT: u16 = 623;
/// IPMI 2.0, section 22.28: names have 16 bytes, passwords 20.
const MAX_USER: usize = 16;
const MAX_PASSWORD: usize = 20;
const MAX_KG: usize = 20;

/// Keys that exist in the field and that cannot be done here.
const REFUSED: &[(&str, &[&str], &str)] = &[
    (
        "ipmi_protocol_version",
        &["2.0"],
        "only IPMI 2.0 is spoken: IPMI 1.5 sends commands that anybody can forge",
    ),
    ("ipmi_bridging", &["no", "none"], "commands are not bridged: address the BMC itself"),
    ("ipmi_transit_channel", &[], "commands are not bridged: address the BMC itself"),
    ("ipmi_transit_address", &[], "commands are not bridged: address the BMC itself"),
    ("ipmi_target_channel", &[], "commands are not bridged: address the BMC itself"),
    ("ipmi_target_address", &[], "commands are not bridged: address the BMC itself"),
    ("ipmi_local_address", &[], "commands are not bridged: address the BMC itself"),
    (
        "ipmi_force_boot_device",
        &["false", "no", "off", "0"],
        "a boot device is not set again at each power on: the choice is read back when it is set",
    ),
    (
        "ipmi_terminal_port",
        &[],
        "consoles have no port of their own here, they are served by the API: see console_info",
    ),
];

/// How to reach a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) privilege: Privilege,
    /// `None`: the best that the BMC has.
    pub(super) suite: Option<Suite>,
    /// The key K_g, where the BMC has one.
    pub(super) kg: Option<Secret>,
    /// Whether the BMC is told to keep a boot choice for longer than a minute.
    pub(super) disable_boot_timeout: bool,
}

/// As which a session works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privilege {
    User = 2,
    Operator = 3,
    Administrator = 4,
}

impl Settings {
    pub(super) fn from_driver_info(info: &Dictionary) -> Result<Self, BmcError> {
        refuse(info)?;
        let address = text(info, "ipmi_address")?
            .ok_or_else(|| wrong("ipmi_address is missing: set it to the BMC's address"))?;
        let port = match text(info, "ipmi_port")? {
            None => USUAL_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| wrong("ipmi_port must be a number from 1 to 65535, usually 623"))?,
        };
        Ok(Self {
            host: host(&address)?,
            port,
            user: short(text(info, "ipmi_username")?, "ipmi_username", MAX_USER)?,
            password: Secret::new(short(text(info, "ipmi_password")?, "ipmi_password", MAX_PASSWORD)?),
            privilege: privilege(text(info, "ipmi_priv_level")?.as_deref())?,
            suite: suite(text(info, "ipmi_cipher_suite")?.as_deref())?,
            kg: kg(text(info, "ipmi_hex_kg_key")?)?,
            disable_boot_timeout: flag(info, "ipmi_disable_boot_timeout", true)?,
        })
    }

    /// A password in the 20 bytes that IPMI has for it.
    pub(super) fn password(password: &Secret) -> Result<[u8; MAX_PASSWORD], BmcError> {
        let given = password.reveal().as_bytes();
        if given.len() > MAX_PASSWORD || given.contains(&0) {
            return Err(wrong(format!("the new password must have at most {MAX_PASSWORD} bytes")));
        }
        let mut padded = [0; MAX_PASSWORD];
        padded[..given.len()].copy_from_slice(given);
        Ok(padded)
    }

    /// As messages show it.
    pub(super) fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The port, if it is not the usual one.
    pub(super) fn other_port(&self) -> Option<u16> {
        (self.port != USUAL_PORT).then_some(self.port)
    }
}

fn wrong(message: impl Into<String>) -> BmcError {
    BmcError::DriverInfo(message.into())
}

/// Strings, and what people write without quotes.
fn text(info: &Dictionary, key: &str) -> Result<Option<String>, BmcError> {
    let text = match info.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(_) => return Err(wrong(format!("{key} must be a string"))),
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn refuse(info: &Dictionary) -> Result<(), BmcError> {
    for (key, harmless, reason) in REFUSED {
        let Some(value) = text(info, key)? else { continue };
        if !harmless.contains(&value.trim().to_ascii_lowercase().as_str()) {
            return Err(wrong(format!("{key} cannot be used: {reason}")));
        }
    }
    Ok(())
}

fn host(address: &str) -> Result<String, BmcError> {
    let address = address.trim();
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let sane = bare.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) && bare.len() <= 253;
    if !bare.is_empty() && (sane || bare.parse::<Ipv6Addr>().is_ok()) {
        return Ok(bare.to_owned());
    }
    Err(wrong("ipmi_address must be a name or an address such as 10.0.0.5; the port goes into ipmi_port"))
}

fn short(text: Option<String>, key: &str, most: usize) -> Result<String, BmcError> {
    let text = text.unwrap_or_default();
    if text.contains('\0') {
        return Err(wrong(format!("{key} has a zero byte in it: IPMI ends it there")));
    }
    if text.len() > most {
        return Err(wrong(format!("{key} is longer than the {most} bytes that IPMI has for it")));
    }
    Ok(text)
}

fn privilege(text: Option<&str>) -> Result<Privilege, BmcError> {
    match text.map(str::to_ascii_uppercase).as_deref() {
        None | Some("ADMINISTRATOR") => Ok(Privilege::Administrator),
        Some("OPERATOR") => Ok(Privilege::Operator),
        Some("USER") => Ok(Privilege::User),
        Some(_) => Err(wrong("ipmi_priv_level must be ADMINISTRATOR, OPERATOR or USER")),
    }
}

fn suite(text: Option<&str>) -> Result<Option<Suite>, BmcError> {
    match text.map(str::trim) {
        None => Ok(None),
        Some("3") => Ok(Some(Suite::Sha1)),
        Some("17") => Ok(Some(Suite::Sha256)),
        Some(_) => Err(wrong("ipmi_cipher_suite must be 17 or 3: the others do not encrypt, or do so badly")),
    }
}

fn kg(text: Option<String>) -> Result<Option<Secret>, BmcError> {
    let Some(text) = text else { return Ok(None) };
    // Ironic demands all 40 digits; zeros at the end change nothing.
    match hex::decode(&text) {
        // Section 13.31: a key of zeros is none.
        Ok(key) if key.len() <= MAX_KG && key.iter().all(|byte| *byte == 0) && !key.is_empty() => Ok(None),
        Ok(key) if !key.is_empty() && key.len() <= MAX_KG => Ok(Some(Secret::new(text))),
        _ => Err(wrong("ipmi_hex_kg_key must be 40 hexadecimal digits")),
    }
}

fn flag(info: &Dictionary, key: &str, default: bool) -> Result<bool, BmcError> {
    let Some(value) = text(info, key)? else { return Ok(default) };
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(wrong(format!("{key} must be true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(info: Value) -> Result<Settings, String> {
        let Value::Object(mut info) = info else { panic!() };
        info.entry("ipmi_address").or_insert_with(|| json!("bmc"));
        Settings::from_driver_info(&info).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_has_ironics_defaults() {
        let found = settings(json!({})).unwrap();
        assert_eq!((found.port, found.suite, found.privilege), (623, None, Privilege::Administrator));
        assert!(found.disable_boot_timeout && found.kg.is_none());
        let found = settings(json!({"ipmi_address": "[fd00::5]", "ipmi_port": 9623})).unwrap();
        assert_eq!(found.address(), "[fd00::5]:9623");
        assert_eq!(settings(json!({"ipmi_cipher_suite": 3})).unwrap().suite, Some(Suite::Sha1));
        let zeros = json!({"ipmi_hex_kg_key": "0000000000000000000000000000000000000000"});
        assert_eq!(settings(zeros).unwrap().kg, None);
    }

    #[test]
    fn wrong_values_name_their_key_and_keep_secrets() {
        for (key, value) in [
            ("ipmi_address", json!("https://bmc")),
            ("ipmi_address", json!("bmc:623")),
            ("ipmi_port", json!("0")),
            ("ipmi_port", json!(70000)),
            ("ipmi_username", json!("seventeen letters")),
            ("ipmi_password", json!("hunter2hunter2hunter2")),
            ("ipmi_password", json!("hunter2\0")),
            ("ipmi_priv_level", json!("CALLBACK")),
            ("ipmi_cipher_suite", json!("0")),
            ("ipmi_hex_kg_key", json!("hunter2")),
            ("ipmi_disable_boot_timeout", json!("perhaps")),
            ("ipmi_protocol_version", json!("1.5")),
            ("ipmi_bridging", json!("single")),
            ("ipmi_target_channel", json!("0")),
            ("ipmi_force_boot_device", json!(true)),
            ("ipmi_terminal_port", json!(10000)),
        ] {
            let error = settings(json!({key: value})).unwrap_err();
            assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
        }
        let good = settings(json!({"ipmi_password": "hunter2", "ipmi_hex_kg_key": "00ff"})).unwrap();
        let shown = format!("{good:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("00ff"), "{shown}");
    }

    #[test]
    fn what_changes_nothing_is_taken() {
        let harmless = json!({
            "ipmi_protocol_version": "2.0", "ipmi_bridging": "no", "ipmi_force_boot_device": false,
            "ipmi_terminal_port": null,
        });
        settings(harmless).unwrap();
    }
}
