//! `redfish`: any machine whose BMC speaks Redfish (DMTF DSP0266).

use super::{Driver, Interface};

pub(super) const DRIVER: Driver = Driver { name: "redfish", interfaces: INTERFACES, properties: PROPERTIES };

const fn only(kind: &'static str, name: &'static [&'static str; 1]) -> Interface {
    Interface { kind, default: name[0], enabled: name }
}

const fn of(kind: &'static str, enabled: &'static [&'static str]) -> Interface {
    Interface { kind, default: enabled[0], enabled }
}

const INTERFACES: &[Interface] = &[
    of("bios", &["redfish", "no-bios"]),
    only("boot", &["redfish-virtual-media"]),
    of("console", &["no-console", "redfish-graphical", "redfish-ssh", "ipmitool-socat"]),
    only("deploy", &["direct"]),
    of("firmware", &["redfish", "no-firmware"]),
    of("inspect", &["redfish", "no-inspect"]),
    only("management", &["redfish"]),
    Interface { kind: "network", default: "noop", enabled: &["noop", "flat"] },
    only("power", &["redfish"]),
    of("raid", &["redfish", "no-raid"]),
    only("rescue", &["no-rescue"]),
    only("storage", &["noop"]),
    of("vendor", &["redfish", "no-vendor"]),
];

const PROPERTIES: &[(&str, &str)] = &[
    ("redfish_address", "URL or address of the BMC; https when it has no scheme. Required."),
    (
        "redfish_system_id",
        "Path of the ComputerSystem, such as /redfish/v1/Systems/1. Only required when the BMC manages several.",
    ),
    ("redfish_username", "User name at the BMC."),
    ("redfish_password", "Password at the BMC."),
    (
        "redfish_verify_ca",
        "How the BMC's certificate is verified: true (default) by the public authorities, false not at all, or \
         the path of a file with the certificates of an own authority.",
    ),
    ("redfish_tls_minimum_version", "The oldest TLS that is spoken: 1.2 (default) or 1.3."),
    ("redfish_auth_type", "basic, session, or auto (default): a session, and basic when the BMC has none."),
    (
        "redfish_ssh_host_key",
        "With console_interface redfish-ssh: fingerprint of the BMC's SSH host key, SHA256:… as ssh-keygen -l shows it. Without \
         it the console is refused, and the refusal shows the key that was found.",
    ),
    (
        "ipmi_port",
        "With console_interface ipmitool-socat: UDP port of IPMI at the same BMC. Default 623. The other ipmi_ keys of driver \
         ipmi count as well; address, user and password are those of Redfish unless they are set.",
    ),
    (
        "config_via_removable",
        "true: the deploy ramdisk gets its parameters on a second virtual medium (floppy or USB stick). Default \
         false: they are inside the ISO.",
    ),
    (
        "image_download_source",
        "http (default): the agent fetches the image where image_source says. local: the controller fetches it \
         once, checks it and serves it to agents. Also in instance_info, which wins.",
    ),
];
