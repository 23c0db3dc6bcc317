//! `manual-management`: machines without a BMC that can be used; an operator switches them on and off by hand.

use super::{Driver, Interface};

pub(super) const DRIVER: Driver =
    Driver { name: "manual-management", interfaces: INTERFACES, properties: &[] };

const fn only(kind: &'static str, name: &'static [&'static str; 1]) -> Interface {
    Interface { kind, default: name[0], enabled: name }
}

const INTERFACES: &[Interface] = &[
    only("bios", &["no-bios"]),
    only("boot", &["fake"]),
    only("console", &["no-console"]),
    only("deploy", &["noop"]),
    only("firmware", &["no-firmware"]),
    only("inspect", &["no-inspect"]),
    only("management", &["noop"]),
    only("network", &["noop"]),
    only("power", &["fake"]),
    only("raid", &["no-raid"]),
    only("rescue", &["no-rescue"]),
    only("storage", &["noop"]),
    only("vendor", &["no-vendor"]),
];
