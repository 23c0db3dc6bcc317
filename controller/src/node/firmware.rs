//! What a node's capabilities ask of its firmware.

use super::{BootMode, Node, capabilities};

/// Settings a deploy makes before it boots the machine; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedFirmware {
    /// `boot_mode`.
    pub boot_mode: Option<BootMode>,
    /// `secure_boot`.
    pub secure_boot: Option<bool>,
}

/// Capabilities that cannot be met.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CapabilityError {
    /// Not a boot mode.
    #[error("capability boot_mode:{0} is not known: use boot_mode:uefi or boot_mode:bios")]
    BootMode(String),
    /// Not a boolean.
    #[error("capability secure_boot:{0} is not known: use secure_boot:true or secure_boot:false")]
    SecureBoot(String),
    /// Secure Boot is a part of UEFI.
    #[error("capabilities boot_mode:bios and secure_boot:true exclude each other: Secure Boot needs UEFI")]
    BiosSecureBoot,
}

impl WantedFirmware {
    /// Reads `properties.capabilities` and `instance_info.capabilities`. Secure Boot is only wished for by an instance: of
    /// a node the capability says that it can.
    pub fn of(node: &Node) -> Result<Self, CapabilityError> {
        let of_instance = node.instance_info.get("capabilities").map(capabilities::parse).unwrap_or_default();
        let secure_boot = match of_instance.get("secure_boot") {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Some(text) => return Err(CapabilityError::SecureBoot(text.chars().take(32).collect())),
        };
        let boot_mode = match node.capability("boot_mode") {
            None => secure_boot.filter(|wanted| *wanted).map(|_| BootMode::Uefi),
            Some(text) => Some(
                text.to_ascii_lowercase()
                    .parse()
                    .map_err(|_| CapabilityError::BootMode(text.chars().take(32).collect()))?,
            ),
        };
        if boot_mode == Some(BootMode::Bios) && secure_boot == Some(true) {
            return Err(CapabilityError::BiosSecureBoot);
        }
        Ok(Self { boot_mode, secure_boot })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted(capabilities: &str) -> Result<WantedFirmware, CapabilityError> {
        let mut node = Node::new("redfish");
        node.instance_info.insert("capabilities".into(), json!(capabilities));
        WantedFirmware::of(&node)
    }

    #[test]
    fn a_node_that_can_boot_securely_is_not_made_to() {
        let mut node = Node::new("ilo");
        node.properties.insert("capabilities".into(), json!("secure_boot:true,boot_mode:uefi"));
        assert_eq!(WantedFirmware::of(&node).unwrap().secure_boot, None);
        node.instance_info.insert("capabilities".into(), json!(r#"{"secure_boot": "true"}"#));
        assert_eq!(WantedFirmware::of(&node).unwrap().secure_boot, Some(true));
    }

    #[test]
    fn capabilities_are_read_and_nonsense_is_refused() {
        let uefi = Some(BootMode::Uefi);
        assert_eq!(wanted("cpu_vt:true"), Ok(WantedFirmware::default()));
        assert_eq!(
            wanted("boot_mode:UEFI, secure_boot:False"),
            Ok(WantedFirmware { boot_mode: uefi, secure_boot: Some(false) })
        );
        assert_eq!(
            wanted("secure_boot:true"),
            Ok(WantedFirmware { boot_mode: uefi, secure_boot: Some(true) })
        );
        assert_eq!(wanted("boot_mode:bios,secure_boot:true"), Err(CapabilityError::BiosSecureBoot));
        assert_eq!(wanted("boot_mode:coreboot"), Err(CapabilityError::BootMode("coreboot".into())));
        assert_eq!(wanted("secure_boot:perhaps"), Err(CapabilityError::SecureBoot("perhaps".into())));
    }

    #[test]
    fn the_instance_overrules_the_node() {
        let mut node = Node::new("redfish");
        node.properties.insert("capabilities".into(), json!("boot_mode:bios"));
        node.instance_info.insert("capabilities".into(), json!({"boot_mode": "uefi"}));
        assert_eq!(WantedFirmware::of(&node).unwrap().boot_mode, Some(BootMode::Uefi));
    }
}
