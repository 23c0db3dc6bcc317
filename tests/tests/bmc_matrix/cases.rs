//! What is tried: profile, driver, fault, and how the deploy must end.

use bessemer_tests::lab::{Machine, bmc::profile};

/// How a deploy must end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// Well.
    Deployed,
    /// Not, with this in its reason.
    Failed(&'static str),
    /// Not, with this in its reason, and before the power of the machine was changed.
    Refused(&'static str),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arm {
    Nothing,
    /// A fault of the injector.
    Fault(&'static str),
    StaleSlot,
    IgnoredOverride,
    SessionsFull,
    LockedOut,
    WrongClock,
    /// The certificate is expired; the node trusts it, or asks the public authorities.
    ExpiredCertificate {
        trusted: bool,
    },
}

impl Arm {
    pub(crate) fn at(self, machine: &Machine) {
        let faults = machine.faults();
        match self {
            Self::Nothing | Self::ExpiredCertificate { .. } => {}
            Self::Fault(text) => faults.arm(text.parse().unwrap()),
            Self::StaleSlot => faults.stale_media(3),
            Self::IgnoredOverride => faults.ignore_boot_override(true),
            Self::SessionsFull => faults.sessions_are_full(true),
            // Sessions as well: some BMCs end those of a locked account.
            Self::LockedOut => faults.refuse_credentials(true),
            Self::WrongClock => faults.clock_is_off_by(-10 * 365 * 86_400),
        }
    }
}

/// One deploy.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Of its machine; given when all cases are known.
    pub(crate) number: usize,
    pub(crate) profile: &'static str,
    pub(crate) driver: &'static str,
    /// What the fault hits.
    pub(crate) operation: &'static str,
    pub(crate) fault: &'static str,
    pub(crate) arm: Arm,
    pub(crate) end: End,
}

impl Case {
    /// Of its machine and node.
    pub(crate) fn name(&self) -> String {
        format!("machine-{}", self.number)
    }

    /// What it is about.
    pub(crate) fn title(&self) -> String {
        let Self { profile, driver, operation, fault, .. } = self;
        format!("{profile} by {driver}, {operation}: {fault}")
    }

    fn plain(profile: &'static str, end: End) -> Self {
        Self {
            number: 0,
            profile,
            driver: "redfish",
            operation: "all",
            fault: "none",
            arm: Arm::Nothing,
            end,
        }
    }
}

/// Those that cannot be deployed by Redfish, and why.
const REFUSED: [(&str, &str); 2] =
    [("idrac8", "takes none of them"), ("supermicro-x10", "has no virtual CD or DVD drive")];
/// Those that are no Redfish BMC at all.
const ONLY_ILO: [&str; 1] = ["ilo4-gen8"];
/// Those that driver `ilo` is for.
const ILO: [&str; 4] = ["ilo4-gen8", "ilo4", "ilo5", "ilo6"];

/// Each profile as it is, by each driver that is for it.
pub(crate) fn profiles() -> Vec<Case> {
    let mut cases = Vec::new();
    for (profile, _) in profile::KNOWN {
        let refused = REFUSED.iter().find(|(name, _)| *name == profile);
        let end = refused.map_or(End::Deployed, |(_, reason)| End::Refused(reason));
        if !ONLY_ILO.contains(&profile) {
            cases.push(Case::plain(profile, end));
        }
        if ILO.contains(&profile) {
            cases.push(Case { driver: "ilo", ..Case::plain(profile, End::Deployed) });
        }
    }
    cases
}

/// The profiles that are deployed, each with a BMC that starts again in the middle and with one that stumbles.
pub(crate) fn stumbles() -> Vec<Case> {
    let deployed = profiles().into_iter().filter(|case| {
        matches!(case.end, End::Deployed) && case.driver == "redfish" && case.profile != "standard"
    });
    let with = |case: Case| {
        [
            ("boot device", "BMC restarts", "PATCH:Systems:1:restart=2"),
            ("all", "errors", "*:/redfish:3:status=503"),
        ]
        .map(|(operation, fault, text)| Case {
            operation,
            fault,
            arm: Arm::Fault(text),
            ..case.clone()
        })
    };
    deployed.flat_map(with).collect()
}

/// The faults that hit one operation: name, how often and what, and how they end.
type Hit = (&'static str, &'static str, End);

const LOOK: [Hit; 8] = [
    ("delay", "GET:Systems/1:5:delay=1", End::Deployed),
    ("N errors", "GET:Systems/1:3:status=503", End::Deployed),
    ("errors for ever", "GET:Systems/1:10000:status=500", End::Failed("with status 500")),
    ("reset before", "GET:Systems/1:1:reset-before", End::Deployed),
    ("reset after", "GET:Systems/1:1:reset-after", End::Deployed),
    ("JSON cut off", "GET:Systems/1:10000:cut-off", End::Failed("no JSON")),
    ("wrong types", "GET:Systems/1:10000:wrong-types", End::Failed("something else than expected")),
    ("BMC restarts", "GET:Systems/1:1:restart=2", End::Deployed),
];
const POWER: [Hit; 8] = [
    ("delay", "POST:Reset:1:delay=3", End::Deployed),
    ("N errors", "POST:Reset:2:status=503", End::Deployed),
    ("errors for ever", "POST:Reset:10000:status=500", End::Failed("with status 500")),
    ("reset before", "POST:Reset:1:reset-before", End::Deployed),
    ("reset after", "POST:Reset:1:reset-after", End::Deployed),
    ("accepted, not done", "POST:Reset:10000:pretend", End::Failed("still not in state \"power on\"")),
    ("task fails", "POST:Reset:10000:failing-task", End::Failed("its task failed")),
    ("BMC restarts", "POST:Reset:1:restart=2", End::Deployed),
];
const INSERT: [Hit; 8] = [
    ("delay", "POST:InsertMedia:1:delay=3", End::Deployed),
    ("N errors", "POST:InsertMedia:2:status=503", End::Deployed),
    ("errors for ever", "POST:InsertMedia:10000:status=500", End::Failed("with status 500")),
    ("reset before", "POST:InsertMedia:1:reset-before", End::Deployed),
    ("reset after", "POST:InsertMedia:1:reset-after", End::Deployed),
    ("accepted, not done", "POST:InsertMedia:10000:pretend", End::Failed("accepted but is not inserted")),
    ("task fails", "POST:InsertMedia:10000:failing-task", End::Failed("its task failed")),
    ("BMC restarts", "POST:InsertMedia:1:restart=2", End::Deployed),
];
const BOOT: [Hit; 8] = [
    ("delay", "PATCH:Systems/1:1:delay=3", End::Deployed),
    ("N errors", "PATCH:Systems/1:2:status=503", End::Deployed),
    ("errors for ever", "PATCH:Systems/1:10000:status=500", End::Failed("with status 500")),
    ("reset before", "PATCH:Systems/1:1:reset-before", End::Deployed),
    ("reset after", "PATCH:Systems/1:1:reset-after", End::Deployed),
    ("accepted, not done", "PATCH:Systems/1:10000:pretend", End::Failed("ignored the boot device")),
    ("task fails", "PATCH:Systems/1:10000:failing-task", End::Failed("its task failed")),
    ("BMC restarts", "PATCH:Systems/1:1:restart=2", End::Deployed),
];
const WHOLE: [(&str, Arm, End); 9] = [
    ("stale slot", Arm::StaleSlot, End::Deployed),
    ("boot once ignored", Arm::IgnoredOverride, End::Failed("its firmware ignored the boot device")),
    ("session limit", Arm::SessionsFull, End::Deployed),
    ("account locked", Arm::LockedOut, End::Refused("redfish_password")),
    ("clock wrong", Arm::WrongClock, End::Deployed),
    ("certificate expired", Arm::ExpiredCertificate { trusted: true }, End::Deployed),
    (
        "certificate not trusted",
        Arm::ExpiredCertificate { trusted: false },
        End::Refused("redfish_verify_ca"),
    ),
    ("answers trickle", Arm::Fault("GET:Systems:3:trickle=3"), End::Deployed),
    ("delay", Arm::Fault("*:/redfish:15:delay=1"), End::Deployed),
];

/// Every fault at every operation of a profile.
pub(crate) fn faults(profile: &'static str) -> Vec<Case> {
    let plain = Case::plain(profile, End::Deployed);
    let operations: [(&str, &[Hit]); 4] =
        [("look", &LOOK), ("power", &POWER), ("insert", &INSERT), ("boot device", &BOOT)];
    let mut cases = Vec::new();
    for (operation, hits) in operations {
        for (fault, text, end) in hits {
            cases.push(Case { operation, fault, arm: Arm::Fault(text), end: *end, ..plain });
        }
    }
    cases.extend(WHOLE.iter().map(|(fault, arm, end)| Case { fault, arm: *arm, end: *end, ..plain }));
    cases
}
