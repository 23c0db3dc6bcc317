//! The `redfish_*` keys of `driver_info`, checked.

use std::{fs, io::Read as _, net::Ipv6Addr};

use bessemer_proto::secret::Secret;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use url::Url;

use crate::{bmc::BmcError, node::Dictionary};

const MAX_CA_BYTES: u64 = 1024 * 1024;

/// How to reach a BMC.
#[derive(Clone, Debug)]
pub(in crate::bmc) struct Settings {
    /// Scheme, host and port.
    pub(in crate::bmc) origin: Url,
    pub(in crate::bmc) system: Option<String>,
    pub(in crate::bmc) credentials: Option<Credentials>,
    pub(in crate::bmc) verify: Verify,
    /// Nothing older than TLS 1.3.
    pub(in crate::bmc) only_tls13: bool,
    pub(in crate::bmc) auth: AuthType,
    pub(in crate::bmc) names: Names,
}

/// The keys of `driver_info`, for messages: other drivers that speak Redfish have their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bmc) struct Names {
    /// Those of user and password.
    pub(in crate::bmc) credentials: &'static str,
    /// That of how the certificate is verified.
    pub(in crate::bmc) verify: &'static str,
}

const NAMES: Names =
    Names { credentials: "redfish_username and redfish_password", verify: "redfish_verify_ca" };

#[derive(Clone, Debug)]
pub(in crate::bmc) struct Credentials {
    pub(in crate::bmc) user: String,
    pub(in crate::bmc) password: Secret,
}

/// How the BMC's certificate is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bmc) enum Verify {
    /// By the public authorities.
    Public,
    /// By these: authorities, or the certificate itself.
    Own(Vec<CertificateDer<'static>>),
    /// Not at all.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bmc) enum AuthType {
    /// A session; basic when the BMC has none.
    Auto,
    Basic,
    Session,
}

impl Settings {
    pub(in crate::bmc) fn from_driver_info(info: &Dictionary) -> Result<Self, BmcError> {
        let address = text(info, "redfish_address")?
            .ok_or_else(|| wrong("redfish_address is missing: set it to the BMC's URL or address"))?;
        let user = text(info, "redfish_username")?;
        let password = text(info, "redfish_password")?;
        let credentials = match (user, password) {
            (None, None) => None,
            (Some(user), Some(password)) => {
                Some(Credentials { user: user.to_owned(), password: Secret::new(password) })
            }
            (Some(_), None) => return Err(wrong("redfish_username is set, but redfish_password is missing")),
            (None, Some(_)) => return Err(wrong("redfish_password is set, but redfish_username is missing")),
        };
        Ok(Self {
            origin: origin(address)?,
            system: text(info, "redfish_system_id")?.map(system_path).transpose()?,
            credentials,
            verify: verify(info.get(NAMES.verify), NAMES.verify)?,
            only_tls13: only_tls13(text(info, "redfish_tls_minimum_version")?)?,
            auth: auth_type(text(info, "redfish_auth_type")?)?,
            names: NAMES,
        })
    }

    /// The origin as messages show it.
    pub(in crate::bmc) fn address(&self) -> String {
        self.origin.as_str().trim_end_matches('/').to_owned()
    }
}

fn wrong(message: impl Into<String>) -> BmcError {
    BmcError::DriverInfo(message.into())
}

fn text<'a>(info: &'a Dictionary, key: &str) -> Result<Option<&'a str>, BmcError> {
    match info.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(format!("{key} must be a string"))),
    }
}

fn origin(address: &str) -> Result<Url, BmcError> {
    let expected = "redfish_address must be an address or a URL such as https://10.0.0.5 or http://bmc:8000";
    let address = address.trim();
    let with_scheme = if address.parse::<Ipv6Addr>().is_ok() {
        format!("https://[{address}]")
    } else if address.contains("://") {
        address.to_owned()
    } else {
        format!("https://{address}")
    };
    let mut url = Url::parse(&with_scheme).map_err(|_| wrong(expected))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong(expected));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "redfish_address must not hold a user or password: use redfish_username and redfish_password",
        ));
    }
    if !matches!(url.path().trim_end_matches('/'), "" | "/redfish" | "/redfish/v1") {
        return Err(wrong(
            "redfish_address must not have a path: put the system's path into redfish_system_id",
        ));
    }
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn system_path(path: &str) -> Result<String, BmcError> {
    let sane =
        path.starts_with("/redfish/") && path.len() <= 512 && path.bytes().all(|b| b.is_ascii_graphic());
    if sane {
        Ok(path.trim_end_matches('/').to_owned())
    } else {
        Err(wrong("redfish_system_id must be the path of a system such as /redfish/v1/Systems/1"))
    }
}

pub(in crate::bmc) fn verify(value: Option<&Value>, key: &str) -> Result<Verify, BmcError> {
    match value {
        None | Some(Value::Null | Value::Bool(true)) => Ok(Verify::Public),
        Some(Value::Bool(false)) => Ok(Verify::Nothing),
        Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "" | "true" | "yes" | "on" | "1" | "t" | "y" => Ok(Verify::Public),
            "false" | "no" | "off" | "0" | "f" | "n" => Ok(Verify::Nothing),
            _ => own_authorities(text, key).map(Verify::Own),
        },
        Some(_) => Err(wrong(format!("{key} must be true, false or the path of a file with certificates"))),
    }
}

fn own_authorities(path: &str, key: &str) -> Result<Vec<CertificateDer<'static>>, BmcError> {
    let mut pem = Vec::new();
    let file = fs::File::open(path).and_then(|file| file.take(MAX_CA_BYTES).read_to_end(&mut pem));
    if let Err(error) = file {
        return Err(wrong(format!("{key}: the file {path} on the controller cannot be read: {error}")));
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(wrong(format!("{key}: the file {path} holds no certificates in PEM"))),
    }
}

fn only_tls13(text: Option<&str>) -> Result<bool, BmcError> {
    let Some(text) = text else { return Ok(false) };
    let version = text.to_ascii_lowercase().replace(['v', '_'], ".").replace("tls", "");
    match version.trim_matches('.') {
        // Older ones are not spoken anyway.
        "1" | "1.0" | "1.1" | "1.2" => Ok(false),
        "1.3" => Ok(true),
        _ => Err(wrong("redfish_tls_minimum_version must be 1.2 or 1.3")),
    }
}

fn auth_type(text: Option<&str>) -> Result<AuthType, BmcError> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None | Some("auto") => Ok(AuthType::Auto),
        Some("basic") => Ok(AuthType::Basic),
        Some("session") => Ok(AuthType::Session),
        Some(_) => Err(wrong("redfish_auth_type must be basic, session or auto")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(info: Value) -> Result<Settings, String> {
        let Value::Object(mut info) = info else { panic!() };
        info.entry("redfish_address").or_insert_with(|| json!("bmc"));
        Settings::from_driver_info(&info).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_in_all_the_ways_people_write_them() {
        for (given, expected) in [
            ("10.0.0.5", "https://10.0.0.5"),
            ("10.0.0.5:8443", "https://10.0.0.5:8443"),
            ("fd00::5", "https://[fd00::5]"),
            ("[fd00::5]:8443", "https://[fd00::5]:8443"),
            ("http://bmc:8000/", "http://bmc:8000"),
            (" https://bmc/redfish/v1/ ", "https://bmc"),
        ] {
            let found = settings(json!({"redfish_address": given})).unwrap();
            assert_eq!(found.address(), expected, "{given}");
        }
        for bad in
            ["", "ftp://bmc", "https://", "https://u:p@bmc", "https://bmc/other", "a b", "https://bmc:99999"]
        {
            let error = settings(json!({"redfish_address": bad})).unwrap_err();
            assert!(error.contains("redfish_address"), "{bad}: {error}");
        }
    }

    #[test]
    fn wrong_values_name_their_key_and_keep_secrets() {
        for (info, key) in [
            (json!({"redfish_username": 1}), "redfish_username"),
            (json!({"redfish_username": "root"}), "redfish_password"),
            (json!({"redfish_password": "hunter2"}), "redfish_username"),
            (json!({"redfish_system_id": "1"}), "redfish_system_id"),
            (json!({"redfish_system_id": "/redfish/v1/ x"}), "redfish_system_id"),
            (json!({"redfish_verify_ca": "/no/such/file"}), "redfish_verify_ca"),
            (json!({"redfish_verify_ca": 1.5}), "redfish_verify_ca"),
            (json!({"redfish_auth_type": "digest"}), "redfish_auth_type"),
            (json!({"redfish_tls_minimum_version": "2"}), "redfish_tls_minimum_version"),
        ] {
            let error = settings(info).unwrap_err();
            assert!(error.contains(key) && !error.contains("hunter2"), "{error}");
        }
        let good = settings(json!({"redfish_username": "root", "redfish_password": "hunter2"})).unwrap();
        assert!(!format!("{good:?}").contains("hunter2"));
    }

    #[test]
    fn verification_is_on_unless_told_otherwise() {
        assert_eq!(settings(json!({})).unwrap().verify, Verify::Public);
        assert_eq!(settings(json!({"redfish_verify_ca": "False"})).unwrap().verify, Verify::Nothing);
        assert_eq!(settings(json!({"redfish_verify_ca": false})).unwrap().verify, Verify::Nothing);
        assert_eq!(settings(json!({"redfish_verify_ca": "True"})).unwrap().verify, Verify::Public);
        for (version, only) in [("1.2", false), ("TLSv1.2", false), ("1.3", true), ("TLSv1_3", true)] {
            let found = settings(json!({"redfish_tls_minimum_version": version})).unwrap();
            assert_eq!(found.only_tls13, only, "{version}");
        }
    }
}
