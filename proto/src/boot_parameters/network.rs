//! `bessemer-network`: `mac=52:54:00:aa:bb:01,address=10.0.0.5/24,gateway=10.0.0.1,dns=10.0.0.2`, interfaces
//! separated by `;`, `address` and `dns` repeatable, `name=eth0` instead of `mac=`.

use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr};

/// A fixed network configuration of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceParameters {
    /// Which interface.
    pub interface: InterfaceMatch,
    /// Addresses with prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Default gateway.
    pub gateway: Option<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
}

/// How an interface is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InterfaceMatch {
    /// By MAC address, lower case with colons.
    Mac(String),
    /// By kernel name.
    Name(String),
}

/// Why a network description is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetworkError {
    /// A field that is not `key=value` with a known key.
    #[error("unknown field \"{0}\": use mac, name, address, gateway, dns")]
    Field(String),
    /// A value of wrong shape.
    #[error("{field} \"{value}\" is not {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// An interface without `mac` or `name`, or with both.
    #[error("interface {0} needs either mac= or name=")]
    Interface(usize),
    /// An interface without an address.
    #[error("interface {0} needs at least one address=")]
    Address(usize),
    /// One interface described twice.
    #[error("an interface is described twice")]
    Twice,
}

pub(super) fn parse(text: &str) -> Result<Vec<InterfaceParameters>, NetworkError> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let interfaces: Vec<_> =
        parts.enumerate().map(|(index, part)| parse_interface(index + 1, part)).collect::<Result<_, _>>()?;
    let distinct: BTreeSet<_> = interfaces.iter().map(|i| &i.interface).collect();
    if distinct.len() == interfaces.len() { Ok(interfaces) } else { Err(NetworkError::Twice) }
}

fn parse_interface(number: usize, text: &str) -> Result<InterfaceParameters, NetworkError> {
    let mut names = Vec::new();
    let (mut addresses, mut gateway, mut dns) = (Vec::new(), None, Vec::new());
    for field in text.split(',').map(str::trim) {
        match field.split_once('=') {
            Some(("mac", value)) => names.push(InterfaceMatch::Mac(mac(value)?)),
            Some(("name", value)) => names.push(InterfaceMatch::Name(name(value)?)),
            Some(("address", value)) => addresses.push(address(value)?),
            Some(("gateway", value)) => gateway = Some(ip("gateway", value)?),
            Some(("dns", value)) => dns.push(ip("dns", value)?),
            _ => return Err(NetworkError::Field(field.chars().take(40).collect())),
        }
    }
    let [interface] = <[_; 1]>::try_from(names).map_err(|_| NetworkError::Interface(number))?;
    if addresses.is_empty() {
        return Err(NetworkError::Address(number));
    }
    Ok(InterfaceParameters { interface, addresses, gateway, dns })
}

fn wrong(field: &'static str, value: &str, expected: &'static str) -> NetworkError {
    NetworkError::Value { field, value: value.chars().take(64).collect(), expected }
}

fn mac(value: &str) -> Result<String, NetworkError> {
    let octets: Vec<_> = value.split(':').collect();
    let good =
        octets.len() == 6 && octets.iter().all(|o| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit()));
    if good {
        Ok(value.to_ascii_lowercase())
    } else {
        Err(wrong("mac", value, "a MAC address like 52:54:00:aa:bb:01"))
    }
}

fn name(value: &str) -> Result<String, NetworkError> {
    let good = (1..16).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if good { Ok(value.to_owned()) } else { Err(wrong("name", value, "an interface name")) }
}

fn ip(field: &'static str, value: &str) -> Result<IpAddr, NetworkError> {
    value.parse().map_err(|_| wrong(field, value, "an IP address"))
}

fn address(value: &str) -> Result<(IpAddr, u8), NetworkError> {
    let expected = "an address with prefix length like 10.0.0.5/24";
    let (host, prefix) = value.split_once('/').ok_or_else(|| wrong("address", value, expected))?;
    let host: IpAddr = host.parse().map_err(|_| wrong("address", value, expected))?;
    let longest = if host.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.parse().ok().filter(|p| (1..=longest).contains(p));
    prefix.map(|p| (host, p)).ok_or_else(|| wrong("address", value, expected))
}

pub(super) fn format(interfaces: &[InterfaceParameters]) -> String {
    let mut text = String::new();
    for (index, interface) in interfaces.iter().enumerate() {
        if index > 0 {
            text.push(';');
        }
        match &interface.interface {
            InterfaceMatch::Mac(mac) => write!(text, "mac={mac}").ok(),
            InterfaceMatch::Name(name) => write!(text, "name={name}").ok(),
        };
        for (address, prefix) in &interface.addresses {
            write!(text, ",address={address}/{prefix}").ok();
        }
        if let Some(gateway) = interface.gateway {
            write!(text, ",gateway={gateway}").ok();
        }
        for dns in &interface.dns {
            write!(text, ",dns={dns}").ok();
        }
    }
    text
}
