//! `fake-hardware`: machines that are not there, to try the API with.

use super::{Driver, Interface};
use crate::bmc::fake::PROPERTIES;

pub(super) const DRIVER: Driver =
    Driver { name: "fake-hardware", interfaces: INTERFACES, properties: PROPERTIES };

const fn of(kind: &'static str, enabled: &'static [&'static str]) -> Interface {
    Interface { kind, default: enabled[0], enabled }
}

const INTERFACES: &[Interface] = &[
    of("bios", &["fake", "no-bios"]),
    of("boot", &["fake"]),
    of("console", &["fake", "no-console"]),
    of("deploy", &["fake"]),
    of("firmware", &["fake", "no-firmware"]),
    of("inspect", &["fake", "no-inspect"]),
    of("management", &["fake"]),
    of("network", &["noop"]),
    of("power", &["fake"]),
    of("raid", &["fake", "no-raid"]),
    of("rescue", &["fake", "no-rescue"]),
    Interface { kind: "storage", default: "noop", enabled: &["fake", "noop"] },
    of("vendor", &["fake", "no-vendor"]),
];
