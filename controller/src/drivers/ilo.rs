//! `ilo`: HPE ProLiant servers with iLO 4 or newer. And the names that Ironic's iLO drivers had before hardware types:
//! `agent_ilo`, `iscsi_ilo`, `pxe_ilo`.

use serde_json::{Value, json};

use super::{Driver, DriverError, Interface};
use crate::node::Node;

pub(super) const DRIVER: Driver = Driver { name: NAME, interfaces: INTERFACES, properties: PROPERTIES };

const NAME: &str = "ilo";
/// In `driver_internal_info`: what of the node's settings means something else here, in words.
const NOTES: &str = "ilo_notes";
const AGENT: &str = "agent_ilo";
const ISCSI: &str = "iscsi_ilo";
const PXE: &str = "pxe_ilo";

const fn only(kind: &'static str, name: &'static [&'static str; 1]) -> Interface {
    Interface { kind, default: name[0], enabled: name }
}

const fn of(kind: &'static str, enabled: &'static [&'static str]) -> Interface {
    Interface { kind, default: enabled[0], enabled }
}

const INTERFACES: &[Interface] = &[
    of("bios", &["ilo", "no-bios"]),
    only("boot", &["ilo-virtual-media"]),
    of("console", &["no-console", "ilo"]),
    only("deploy", &["direct"]),
    of("firmware", &["ilo", "no-firmware"]),
    of("inspect", &["ilo", "no-inspect"]),
    only("management", &["ilo"]),
    Interface { kind: "network", default: "noop", enabled: &["noop", "flat"] },
    only("power", &["ilo"]),
    of("raid", &["ilo", "no-raid"]),
    only("rescue", &["no-rescue"]),
    only("storage", &["noop"]),
    of("vendor", &["ilo", "no-vendor"]),
];

const PROPERTIES: &[(&str, &str)] = &[
    ("ilo_address", "Address or name of the iLO. Required."),
    ("ilo_username", "Name of a user of the iLO with administrator privileges. Required."),
    ("ilo_password", "Password of ilo_username. Required."),
    ("client_port", "Port of the iLO. Default 443."),
    ("client_timeout", "Seconds that the iLO may take for one request. Default 60."),
    (
        "ilo_verify_ca",
        "How the iLO's certificate is verified: true (default) by the public authorities, false not at all, or the \
         path of a file with the certificates of an own authority.",
    ),
    ("ca_file", "The older name of ilo_verify_ca."),
    (
        "ilo_change_password",
        "The password that cleaning step reset_ilo_credential gives to ilo_username; it moves to ilo_password then.",
    ),
    (
        "ipmi_port",
        "With console_interface ilo: UDP port of IPMI at the iLO. Default 623. The other ipmi_ keys of driver ipmi count as \
         well; address, user and password are those of the iLO unless they are set.",
    ),
    (
        "config_via_removable",
        "true: the deploy ramdisk gets its parameters on a second virtual medium (floppy). Default false: they are \
         inside the ISO.",
    ),
    (
        "image_download_source",
        "http (default): the agent fetches the image where image_source says. local: the controller fetches it \
         once, checks it and serves it to agents. Also in instance_info, which wins.",
    ),
];

/// Keys of `driver_info` that other systems used, and what this one does instead.
const REPLACED: &[(&str, &str)] = &[
    ("ilo_deploy_iso", OWN_ISO),
    ("deploy_iso", OWN_ISO),
    ("deploy_kernel", OWN_ISO),
    ("deploy_ramdisk", OWN_ISO),
    ("bootloader", OWN_ISO),
    ("kernel_append_params", "is not used: the parameters of the kernel are those inside the deploy ISO"),
    (
        "console_port",
        "is not used: consoles have no port of their own here, they are served by the API (console_info)",
    ),
    ("config_via_floppy", "is not used: config_via_removable is what it is called now"),
    (
        "force_persistent_boot_device",
        "is not used: the deploy ramdisk is booted once, and the disk is chosen for good where the iLO takes that",
    ),
    (
        "ilo_add_certificates",
        "is not used: certificates are not put into the iLO; have it trust the file server's in another way, or use http",
    ),
    ("snmp_auth_user", SNMP),
    ("snmp_auth_prot_password", SNMP),
    ("snmp_auth_priv_password", SNMP),
    ("snmp_auth_protocol", SNMP),
    ("snmp_auth_priv_protocol", SNMP),
];
const OWN_ISO: &str =
    "is not used: machines boot the deploy ISO of boot.deploy_iso in the controller's configuration";
const SNMP: &str = "is not used: sizes of disks are not asked for by SNMP";

/// Turns a classic driver name into the hardware type that does its work, and says in the node what is different.
pub(super) fn translate(node: &mut Node) -> Result<(), DriverError> {
    let classic = match node.driver.as_str() {
        AGENT => Some(AGENT),
        ISCSI => Some(ISCSI),
        PXE => {
            return Err(DriverError::Classic {
                name: PXE,
                reason: "it boots by PXE, which hardware type ilo cannot do yet: use agent_ilo, which boots by virtual \
                         media (with an iLO Advanced licence)",
            });
        }
        NAME => None,
        _ => {
            node.driver_internal_info.remove(NOTES);
            return Ok(());
        }
    };
    let mut notes = Vec::new();
    if let Some(classic) = classic {
        NAME.clone_into(&mut node.driver);
        notes.push(format!(
            "{classic} is driver ilo with boot interface ilo-virtual-media and deploy interface direct"
        ));
    } else if let Some(Value::Array(before)) = node.driver_internal_info.get(NOTES) {
        // The note about the classic name stays when something else is changed.
        let kept = before.iter().filter_map(Value::as_str).filter(|note| !is_about_a_key(note));
        notes.extend(kept.map(str::to_owned));
    }
    if classic == Some(ISCSI) {
        notes.push(
            "iscsi_ilo: images are not written over iSCSI by the controller, but by the agent on the machine \
             (deploy interface direct), and instances boot from their disk"
                .to_owned(),
        );
    }
    let replaced =
        REPLACED.iter().filter(|(key, _)| node.driver_info.get(*key).is_some_and(|value| !value.is_null()));
    notes.extend(replaced.map(|(key, what)| format!("driver_info {key} {what}")));
    if notes.is_empty() {
        node.driver_internal_info.remove(NOTES);
    } else {
        node.driver_internal_info.insert(NOTES.to_owned(), json!(notes));
    }
    Ok(())
}

fn is_about_a_key(note: &str) -> bool {
    note.starts_with("driver_info ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::complete;

    fn completed(driver: &str, info: Value) -> Result<Node, String> {
        let mut node = Node::new(driver);
        node.driver_info = info.as_object().unwrap().clone();
        complete(&mut node).map_err(|error| error.to_string())?;
        Ok(node)
    }

    #[test]
    fn classic_names_become_type_and_interfaces_and_say_what_is_different() {
        for classic in ["agent_ilo", "iscsi_ilo"] {
            let mut node =
                completed(classic, json!({"ilo_deploy_iso": "8b2a4a9d-9c3c-4d0f-a2dd-ab1f6e3f9d7e"}))
                    .unwrap();
            assert_eq!(node.driver, "ilo");
            assert_eq!(
                (&*node.interfaces["boot"], &*node.interfaces["deploy"]),
                ("ilo-virtual-media", "direct")
            );
            let notes = node.driver_internal_info[NOTES].to_string();
            assert!(notes.contains(classic) && notes.contains("boot.deploy_iso"), "{notes}");
            assert_eq!(notes.contains("over iSCSI"), classic == "iscsi_ilo");
            // Another change keeps what is said of the driver, and no more.
            node.driver_info.clear();
            complete(&mut node).unwrap();
            let notes = node.driver_internal_info[NOTES].to_string();
            assert!(notes.contains(classic) && !notes.contains("deploy_iso"), "{notes}");
        }
        let more = json!({"snmp_auth_user": "u", "config_via_floppy": true, "deploy_kernel": null});
        let notes = completed("ilo", more).unwrap().driver_internal_info[NOTES].to_string();
        assert!(notes.contains("snmp_auth_user") && notes.contains("config_via_removable"), "{notes}");
        assert!(!notes.contains("deploy_kernel"), "{notes}");
        let plain = completed("ilo", json!({})).unwrap();
        assert!(!plain.driver_internal_info.contains_key(NOTES));
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_reason() {
        let refused = completed("pxe_ilo", json!({})).unwrap_err();
        assert!(refused.contains("pxe_ilo") && refused.contains("agent_ilo"), "{refused}");
        let mut node = Node::new("agent_ilo");
        node.interfaces.insert("deploy".into(), "iscsi".into());
        let refused = complete(&mut node).unwrap_err().to_string();
        assert!(refused.contains("does not support deploy interface iscsi"), "{refused}");
    }
}
