//! Boot parameters: what the controller tells a machine before the machine can ask.
//!
//! Text, one `key=value` a line, in `parameters.txt` of a FAT medium, in the parameters region of the ISO, or
//! (the keys that start with `bessemer-`) on the kernel command line. Keys are documented in
//! `docs/boot-parameters.md`.

mod network;
pub mod region;

use std::{collections::BTreeMap, fmt::Write as _, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub use network::{InterfaceMatch, InterfaceParameters, NetworkError};

use crate::{
    ids::{BootId, NodeId},
    secret::Secret,
};

/// Label of the FAT parameters medium. Compared without regard to case.
pub const MEDIUM_LABEL: &str = "IR-VFD-DEV";
/// File name on the parameters medium.
pub const FILE_NAME: &str = "parameters.txt";
/// Longest parameters text that is read, in bytes.
pub const MAX_BYTES: usize = 48 * 1024;

const PREFIX: &str = "bessemer-";
const VENDOR_PREFIX: &str = "x-";
const KEYS: [&str; 9] = [
    "bessemer-controllers",
    "bessemer-node",
    "bessemer-boot",
    "bessemer-token",
    "bessemer-ca",
    "bessemer-time",
    "bessemer-ntp",
    "bessemer-network",
    "bessemer-debug",
];

/// What a boot of the deploy ramdisk needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootParameters {
    /// `bessemer-controllers`: host:port, several with commas, best first.
    pub controllers: Vec<String>,
    /// `bessemer-node`: the node's UUID, for messages; identity comes from the certificate.
    pub node: NodeId,
    /// `bessemer-boot`: the id of this boot.
    pub boot: BootId,
    /// `bessemer-token`: one-time join token.
    pub token: Secret,
    /// `bessemer-ca`: DER certificates, base64, with commas. The only roots the agent trusts for controllers.
    pub ca_certificates: Vec<Vec<u8>>,
    /// `bessemer-time`: the controller's clock when this was made, seconds since 1970.
    pub time_floor: Option<u64>,
    /// `bessemer-ntp`: servers, with commas.
    pub ntp_servers: Vec<String>,
    /// `bessemer-network`: interfaces with fixed addresses; DHCP on every interface when empty.
    pub network: Vec<InterfaceParameters>,
    /// `bessemer-debug`: log at debug level.
    pub debug: bool,
    /// `x-…`: parameters for vendors' steps, handed on untouched.
    pub vendor: BTreeMap<String, String>,
}

/// Parameters and what was odd about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The parameters.
    pub parameters: BootParameters,
    /// Sentences about keys that were ignored. A ramdisk logs them; a command line refuses them.
    pub warnings: Vec<String>,
}

/// Why a parameters text cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParameterError {
    /// Longer than [`MAX_BYTES`].
    #[error("the boot parameters are longer than {MAX_BYTES} bytes: make the medium anew")]
    TooLong,
    /// Not UTF-8.
    #[error("the boot parameters are not UTF-8 text: make the medium anew")]
    NotText,
    /// A line without `=`.
    #[error("line {0} of the boot parameters is not key=value")]
    NotKeyValue(usize),
    /// A key given twice with different values.
    #[error("boot parameter {0} is given twice with different values: keep one")]
    Twice(String),
    /// A key that must be there is not.
    #[error("boot parameter {0} is missing: make the medium anew on the controller")]
    Missing(&'static str),
    /// A value that does not have its key's shape. The value itself is not repeated: it may be secret.
    #[error("boot parameter {key} is not {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What its value must be.
        expected: &'static str,
    },
    /// The network description is wrong.
    #[error("boot parameter bessemer-network: {0}")]
    Network(#[from] NetworkError),
}

impl BootParameters {
    /// Reads a parameters text.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, ParameterError> {
        if bytes.len() > MAX_BYTES {
            return Err(ParameterError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ParameterError::NotText)?;
        let mut pairs = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            pairs.push(line.split_once('=').ok_or(ParameterError::NotKeyValue(number + 1))?);
        }
        Self::from_pairs(&pairs)
    }

    /// Reads parameters from a kernel command line, which holds many words that are not ours.
    pub fn parse_command_line(line: &str) -> Result<Parsed, ParameterError> {
        if line.len() > MAX_BYTES {
            return Err(ParameterError::TooLong);
        }
        let pairs: Vec<_> = line
            .split_ascii_whitespace()
            .filter(|word| word.starts_with(PREFIX))
            .filter_map(|word| word.split_once('='))
            .collect();
        Self::from_pairs(&pairs)
    }

    /// True when a kernel command line carries parameters at all.
    #[must_use]
    pub fn on_command_line(line: &str) -> bool {
        line.split_ascii_whitespace().any(|word| word.starts_with("bessemer-controllers="))
    }

    fn from_pairs(pairs: &[(&str, &str)]) -> Result<Parsed, ParameterError> {
        let mut values = BTreeMap::new();
        let mut vendor = BTreeMap::new();
        let mut warnings = Vec::new();
        for (key, value) in pairs {
            let (key, value) = (key.trim(), value.trim());
            let into = if KEYS.contains(&key) {
                &mut values
            } else if key.starts_with(VENDOR_PREFIX) {
                &mut vendor
            } else {
                warnings.push(unknown_key(key));
                continue;
            };
            if into.insert(key.to_owned(), value.to_owned()).is_some_and(|old| old != value) {
                return Err(ParameterError::Twice(key.to_owned()));
            }
        }
        let parameters = Self {
            controllers: list(&values, "bessemer-controllers"),
            node: required(&values, "bessemer-node", "a UUID")?,
            boot: required(&values, "bessemer-boot", "a UUID")?,
            token: Secret::new(
                values
                    .get("bessemer-token")
                    .filter(|v| !v.is_empty())
                    .cloned()
                    .ok_or(ParameterError::Missing("bessemer-token"))?,
            ),
            ca_certificates: certificates(&values)?,
            time_floor: optional(&values, "bessemer-time", "a number of seconds since 1970")?,
            ntp_servers: list(&values, "bessemer-ntp"),
            network: network::parse(values.get("bessemer-network").map_or("", String::as_str))?,
            debug: optional::<u8>(&values, "bessemer-debug", "0 or 1")?.unwrap_or(0) != 0,
            vendor,
        };
        if parameters.controllers.is_empty() {
            return Err(ParameterError::Missing("bessemer-controllers"));
        }
        Ok(Parsed { parameters, warnings })
    }

    /// The parameters as text, one `key=value` a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.pairs().iter().fold(String::new(), |mut text, (key, value)| {
            writeln!(text, "{key}={value}").ok();
            text
        })
    }

    /// The parameters as words for a kernel command line.
    #[must_use]
    pub fn to_command_line(&self) -> String {
        let words: Vec<_> = self.pairs().iter().map(|(key, value)| format!("{key}={value}")).collect();
        words.join(" ")
    }

    fn pairs(&self) -> Vec<(String, String)> {
        let ca: Vec<_> = self.ca_certificates.iter().map(|der| STANDARD.encode(der)).collect();
        let mut pairs = vec![
            ("bessemer-controllers".to_owned(), self.controllers.join(",")),
            ("bessemer-node".to_owned(), self.node.to_string()),
            ("bessemer-boot".to_owned(), self.boot.to_string()),
            ("bessemer-token".to_owned(), self.token.reveal().to_owned()),
            ("bessemer-ca".to_owned(), ca.join(",")),
        ];
        if let Some(time) = self.time_floor {
            pairs.push(("bessemer-time".to_owned(), time.to_string()));
        }
        if !self.ntp_servers.is_empty() {
            pairs.push(("bessemer-ntp".to_owned(), self.ntp_servers.join(",")));
        }
        if !self.network.is_empty() {
            pairs.push(("bessemer-network".to_owned(), network::format(&self.network)));
        }
        if self.debug {
            pairs.push(("bessemer-debug".to_owned(), "1".to_owned()));
        }
        pairs.extend(self.vendor.iter().map(|(key, value)| (key.clone(), value.clone())));
        pairs
    }
}

fn unknown_key(key: &str) -> String {
    let key: String = key.chars().take(64).collect();
    let nearest =
        KEYS.iter().min_by_key(|known| distance(known, &key)).filter(|known| distance(known, &key) <= 3);
    match nearest {
        Some(known) => format!("unknown boot parameter {key} is ignored: did you mean {known}?"),
        None => {
            format!("unknown boot parameter {key} is ignored: vendors' parameters start with {VENDOR_PREFIX}")
        }
    }
}

/// Levenshtein distance; keys are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (corner + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            corner = above;
        }
    }
    row[b.len()]
}

fn list(values: &BTreeMap<String, String>, key: &'static str) -> Vec<String> {
    let text = values.get(key).map_or("", String::as_str);
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn optional<T: FromStr>(
    values: &BTreeMap<String, String>,
    key: &'static str,
    expected: &'static str,
) -> Result<Option<T>, ParameterError> {
    let Some(text) = values.get(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ParameterError::Value { key, expected })
}

fn required<T: FromStr>(
    values: &BTreeMap<String, String>,
    key: &'static str,
    expected: &'static str,
) -> Result<T, ParameterError> {
    optional(values, key, expected)?.ok_or(ParameterError::Missing(key))
}

fn certificates(values: &BTreeMap<String, String>) -> Result<Vec<Vec<u8>>, ParameterError> {
    let key = "bessemer-ca";
    let certificates: Vec<_> = list(values, key)
        .iter()
        .map(|item| STANDARD.decode(item))
        .collect::<Result<_, _>>()
        .map_err(|_| ParameterError::Value { key, expected: "a list of base64 DER certificates" })?;
    if certificates.is_empty() { Err(ParameterError::Missing(key)) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests;
