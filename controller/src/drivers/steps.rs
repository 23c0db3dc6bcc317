//! The steps that interfaces offer, as data; `reconcile/steps` runs them.

use super::chosen;
use crate::node::{
    Node,
    plan::{Argument, ArgumentKind, Offer},
};

/// The steps of an implementation of an interface.
struct Offers {
    /// `direct`, `fake`, …
    implementation: &'static str,
    steps: &'static [Offer],
}

/// All that the interfaces of a node offer.
#[must_use]
pub fn offers(node: &Node) -> Vec<&'static Offer> {
    ALL.iter()
        .flat_map(|offers| offers.steps.iter().map(|step| (offers.implementation, step)))
        .filter(|(implementation, step)| chosen(node, step.interface) == Some(*implementation))
        .map(|(_, step)| step)
        .collect()
}

/// All that fake interfaces offer.
#[must_use]
pub fn fake_steps() -> &'static [Offer] {
    FAKE
}

const ALL: &[Offers] = &[
    Offers { implementation: "direct", steps: DIRECT },
    Offers { implementation: "fake", steps: FAKE },
    Offers { implementation: "ilo", steps: ILO },
    Offers { implementation: "redfish", steps: OUT_OF_BAND },
];

/// What a BMC carries out (`reconcile/steps/out_of_band`). Ironic's names and priorities.
const OUT_OF_BAND: &[Offer] = &[
    by_bmc("bios", "apply_configuration", SETTINGS),
    by_bmc("bios", "factory_reset", &[]),
    Offer { deploy: Some(0), clean: Some(0), service: Some(0), ..nowhere("firmware", "update", SETTINGS) },
    Offer { service: None, ..by_bmc("management", "reset_secure_boot_keys_to_default", &[]) },
    Offer { service: None, ..by_bmc("management", "clear_secure_boot_keys", &[]) },
    Offer { deploy: None, ..by_bmc("management", "set_bmc_clock", &[]) },
    Offer { clean: Some(0), ..nowhere("raid", "create_configuration", VOLUMES) },
    Offer { deploy: Some(0), service: Some(0), ..nowhere("raid", "apply_configuration", APPLIED_VOLUMES) },
    by_bmc("raid", "delete_configuration", &[]),
];

const CREATE_ROOT: Argument = Argument {
    name: "create_root_volume",
    kind: ArgumentKind::Flag,
    required: false,
    about: "Whether the volume with is_root_volume is made. Default true.",
};
const CREATE_OTHERS: Argument = Argument {
    name: "create_nonroot_volumes",
    kind: ArgumentKind::Flag,
    required: false,
    about: "Whether the other volumes are made. Default true.",
};
const DELETE_EXISTING: Argument = Argument {
    name: "delete_existing",
    kind: ArgumentKind::Flag,
    required: false,
    about: "Whether the volumes that are there, and all that is on them, are deleted first. Default false.",
};
const RAID_CONFIG: Argument = Argument {
    name: "raid_config",
    kind: ArgumentKind::Object,
    required: true,
    about: "The volumes, in the form of target_raid_config.",
};
const VOLUMES: &[Argument] = &[CREATE_ROOT, CREATE_OTHERS, DELETE_EXISTING];
const APPLIED_VOLUMES: &[Argument] = &[RAID_CONFIG, CREATE_ROOT, CREATE_OTHERS, DELETE_EXISTING];

const fn by_bmc(interface: &'static str, step: &'static str, arguments: &'static [Argument]) -> Offer {
    Offer { clean: Some(0), deploy: Some(0), service: Some(0), ..nowhere(interface, step, arguments) }
}

/// Those of Ironic's iLO drivers, with the priorities that its classic drivers had.
const ILO: &[Offer] = &[
    of_ilo("reset_ilo", 1),
    of_ilo("reset_bios_to_default", 10),
    of_ilo("reset_secure_boot_keys_to_default", 20),
    of_ilo("clear_secure_boot_keys", 0),
    Offer { deploy: None, ..of_ilo("reset_ilo_credential", 30) },
    by_bmc("bios", "apply_configuration", SETTINGS),
    by_bmc("bios", "factory_reset", &[]),
    Offer { deploy: Some(0), clean: Some(0), service: Some(0), ..nowhere("firmware", "update", SETTINGS) },
    Offer { clean: Some(0), ..nowhere("raid", "create_configuration", VOLUMES) },
    Offer { deploy: Some(0), service: Some(0), ..nowhere("raid", "apply_configuration", APPLIED_VOLUMES) },
    by_bmc("raid", "delete_configuration", &[]),
];

/// Ironic's names and priorities; `write_config_drive` is ours, Ironic's `write_image` does it.
const DIRECT: &[Offer] = &[
    of_deploy("deploy", 100),
    in_band("write_image", 80),
    in_band("write_config_drive", 70),
    in_band("prepare_instance_boot", 60),
    of_deploy("tear_down_agent", 40),
    of_deploy("boot_instance", 20),
];

const SETTINGS: &[Argument] = &[Argument {
    name: "settings",
    kind: ArgumentKind::List,
    required: true,
    about: "What is to be set, each item an object.",
}];

/// Those of Ironic's fake interfaces; where Ironic has them for cleaning only, services and deploys may use them too.
const FAKE: &[Offer] = &[
    of_deploy("deploy", 100),
    Offer { clean: Some(1), service: Some(0), deploy: None, ..fake("vendor", "log_passthrough", &[]) },
    Offer { service: Some(0), abortable: true, ..nowhere("vendor", "trigger_servicewait", &[]) },
    fake("bios", "apply_configuration", SETTINGS),
    fake("bios", "factory_reset", &[]),
    fake("bios", "cache_bios_settings", &[]),
    fake("firmware", "update", SETTINGS),
];

const fn nowhere(interface: &'static str, step: &'static str, arguments: &'static [Argument]) -> Offer {
    Offer {
        interface,
        step,
        clean: None,
        deploy: None,
        service: None,
        abortable: false,
        requires_ramdisk: false,
        erases: false,
        arguments,
    }
}

const fn of_deploy(step: &'static str, priority: u32) -> Offer {
    Offer { deploy: Some(priority), abortable: true, ..nowhere("deploy", step, &[]) }
}

const fn in_band(step: &'static str, priority: u32) -> Offer {
    Offer { requires_ramdisk: true, ..of_deploy(step, priority) }
}

const fn of_ilo(step: &'static str, clean: u32) -> Offer {
    Offer { clean: Some(clean), deploy: Some(0), ..nowhere("management", step, &[]) }
}

const fn fake(interface: &'static str, step: &'static str, arguments: &'static [Argument]) -> Offer {
    Offer { clean: Some(0), deploy: Some(0), service: Some(0), ..nowhere(interface, step, arguments) }
}
