//! `ipmi`: any machine whose BMC speaks IPMI 2.0. It has no virtual media, so nothing here boots a ramdisk on it yet.

use super::{Driver, Interface};

pub(super) const DRIVER: Driver = Driver { name: "ipmi", interfaces: INTERFACES, properties: PROPERTIES };

const fn of(kind: &'static str, enabled: &'static [&'static str]) -> Interface {
    Interface { kind, default: enabled[0], enabled }
}

const INTERFACES: &[Interface] = &[
    of("bios", &["no-bios"]),
    of("boot", &["no-boot"]),
    of("console", &["ipmitool-socat", "no-console"]),
    of("deploy", &["direct"]),
    of("firmware", &["no-firmware"]),
    of("inspect", &["no-inspect"]),
    of("management", &["ipmitool"]),
    Interface { kind: "network", default: "noop", enabled: &["noop", "flat"] },
    of("power", &["ipmitool"]),
    of("raid", &["no-raid"]),
    of("rescue", &["no-rescue"]),
    of("storage", &["noop"]),
    of("vendor", &["ipmitool", "no-vendor"]),
];

const PROPERTIES: &[(&str, &str)] = &[
    ("ipmi_address", "Name or address of the BMC. Required."),
    ("ipmi_username", "User name at the BMC, at most 16 bytes. Default: the user without a name."),
    ("ipmi_password", "Password at the BMC, at most 20 bytes."),
    ("ipmi_port", "UDP port of the BMC. Default 623."),
    ("ipmi_priv_level", "ADMINISTRATOR (default), OPERATOR or USER: what the session may do."),
    (
        "ipmi_cipher_suite",
        "17 or 3. Default: 17, and 3 when the BMC does not have it. Others protect nothing and are refused.",
    ),
    ("ipmi_hex_kg_key", "The BMC's key K_g, up to 40 hexadecimal digits, if it has one."),
    (
        "ipmi_disable_boot_timeout",
        "true (default): the BMC is told to keep a boot choice for longer than a minute.",
    ),
    ("ipmi_protocol_version", "2.0, and nothing else: IPMI 1.5 does not protect what it sends."),
    ("ipmi_bridging", "no, and nothing else: commands are not bridged."),
    ("ipmi_force_boot_device", "false, and nothing else: a boot device is not set again at each power on."),
];
