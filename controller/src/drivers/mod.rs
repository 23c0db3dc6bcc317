//! Hardware types: visible lists of interfaces, with Ironic's names. An interface is listed when it exists.

mod config;
mod fake;
mod ilo;
mod ipmi;
mod manual;
mod redfish;
mod steps;
pub mod vendor;

use crate::node::Node;
pub use config::Config as IloConfig;
pub use steps::{fake_steps, offers};

/// The kinds of interfaces, in Ironic's order.
pub const KINDS: [&str; 13] = [
    "bios",
    "boot",
    "console",
    "deploy",
    "firmware",
    "inspect",
    "management",
    "network",
    "power",
    "raid",
    "rescue",
    "storage",
    "vendor",
];

/// A hardware type.
#[derive(Debug, PartialEq, Eq)]
pub struct Driver {
    /// `redfish`, …
    pub name: &'static str,
    /// One for each of [`KINDS`].
    pub interfaces: &'static [Interface],
    /// The keys of `driver_info` (and `instance_info`) it reads, with what they mean.
    pub properties: &'static [(&'static str, &'static str)],
}

/// One kind of interface of a hardware type.
#[derive(Debug, PartialEq, Eq)]
pub struct Interface {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// The one a node gets that names none.
    pub default: &'static str,
    /// All that a node may name.
    pub enabled: &'static [&'static str],
}

/// Why a node's driver or interfaces cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DriverError {
    /// No such hardware type.
    #[error("Could not find the following driver(s) or hardware type(s): {name}. Known are: {known}.")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A name of a driver from before hardware types whose work cannot be done.
    #[error("The classic driver {name} cannot be used: {reason}.")]
    Classic {
        /// The driver.
        name: &'static str,
        /// Why, and what to use instead.
        reason: &'static str,
    },
    /// No such kind of interface.
    #[error("There is no {kind}_interface. The kinds of interfaces are: {known}.")]
    Kind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: String,
    },
    /// The hardware type does not have that interface.
    #[error("The {driver} hardware type does not support {kind} interface {name}. Supported are: {enabled}.")]
    Interface {
        /// The hardware type.
        driver: &'static str,
        /// The kind of interface.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        enabled: String,
    },
}

/// All hardware types.
#[must_use]
pub fn all() -> &'static [Driver] {
    const ALL: &[Driver] = &[fake::DRIVER, ilo::DRIVER, ipmi::DRIVER, manual::DRIVER, redfish::DRIVER];
    ALL
}

/// The hardware type of that name.
pub fn get(name: &str) -> Result<&'static Driver, DriverError> {
    all().iter().find(|driver| driver.name == name).ok_or_else(|| DriverError::Unknown {
        name: shorten(name),
        known: all().iter().map(|driver| driver.name).collect::<Vec<_>>().join(", "),
    })
}

/// Turns classic driver names into hardware types, checks the driver and interfaces of a node and fills in the interfaces it does not name.
pub fn complete(node: &mut Node) -> Result<(), DriverError> {
    ilo::translate(node)?;
    let driver = get(&node.driver)?;
    for (kind, name) in &node.interfaces {
        let interface = driver
            .interface(kind)
            .ok_or_else(|| DriverError::Kind { kind: shorten(kind), known: KINDS.join(", ") })?;
        if !interface.enabled.contains(&name.as_str()) {
            return Err(DriverError::Interface {
                driver: driver.name,
                kind: interface.kind,
                name: shorten(name),
                enabled: interface.enabled.join(", "),
            });
        }
    }
    for interface in driver.interfaces {
        node.interfaces.entry(interface.kind.to_owned()).or_insert_with(|| interface.default.to_owned());
    }
    Ok(())
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

// === impl Driver, Interface ===

impl Driver {
    /// Its interface of that kind.
    #[must_use]
    pub fn interface(&self, kind: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.kind == kind)
    }
}

/// The implementation of an interface that a node uses: the one it names, else its driver's default.
#[must_use]
pub fn chosen<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let default = || get(&node.driver).ok()?.interface(kind).map(|interface| interface.default);
    node.interfaces.get(kind).map(String::as_str).or_else(default)
}

/// Whether an interface is the one that does nothing because the feature is not there (`no-raid`, …).
#[must_use]
pub fn is_absent(interface: &str) -> bool {
    interface.starts_with("no-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_has_each_kind_once_and_a_default_that_is_enabled() {
        for driver in all() {
            let kinds: Vec<_> = driver.interfaces.iter().map(|interface| interface.kind).collect();
            assert_eq!(kinds, KINDS);
            for interface in driver.interfaces {
                assert!(interface.enabled.contains(&interface.default), "{interface:?}");
            }
        }
    }

    #[test]
    fn a_node_gets_defaults_and_keeps_what_it_names() {
        let mut node = Node::new("redfish");
        node.interfaces.insert("boot".into(), "redfish-virtual-media".into());
        complete(&mut node).unwrap();
        assert_eq!(node.interfaces.len(), KINDS.len());
        assert_eq!(node.interfaces["deploy"], "direct");
        assert_eq!(node.interfaces["raid"], "redfish");
    }

    #[test]
    fn what_does_not_exist_is_refused_by_name() {
        let refused = |kind: &str, name: &str| {
            let mut node = Node::new("redfish");
            node.interfaces.insert(kind.into(), name.into());
            complete(&mut node).unwrap_err().to_string()
        };
        assert!(refused("boot", "ipxe").contains("does not support boot interface ipxe"));
        assert!(refused("soup", "x").contains("no soup_interface"));
        let unknown = complete(&mut Node::new("snmp")).unwrap_err().to_string();
        assert!(
            unknown.contains(
                "hardware type(s): snmp. Known are: fake-hardware, ilo, ipmi, manual-management, redfish"
            ),
            "{unknown}"
        );
    }
}
