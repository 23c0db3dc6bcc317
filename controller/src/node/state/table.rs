//! The table: each state with what the controller does in it, what the API allows, and where it leads. Ironic's,
//! row by row.

use super::{
    Event::{self, Ask, Clean, Done, Fail, Hold, Resume, Wait},
    Kind, ProvisionState, Verb,
};

/// One state.
#[derive(Debug, PartialEq, Eq)]
pub struct StateRow {
    /// Which.
    pub state: ProvisionState,
    /// What the controller does with a node in it.
    pub kind: Kind,
    /// `PATCH` of the node is allowed.
    pub patch: bool,
    /// `DELETE` of the node is allowed, also out of maintenance.
    pub delete: bool,
    /// The `target_provision_state` of a node that comes here, when the way here does not say another.
    pub target: Option<ProvisionState>,
    /// Where it leads. What is not listed is refused.
    pub events: &'static [(Event, ProvisionState)],
}

/// One verb.
#[derive(Debug, PartialEq, Eq)]
pub struct VerbRow {
    /// Which.
    pub verb: Verb,
    /// What clients call it, and since which minor version of the API.
    pub words: &'static [(&'static str, u16)],
    /// The `target_provision_state` it sets.
    pub target: Target,
}

/// What a verb does to `target_provision_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// It becomes the one of the state that the verb leads to.
    OfState,
    /// It stays: the verb goes on with, or stops, what is under way.
    Stays,
    /// It becomes this one.
    Is(ProvisionState),
}

use ProvisionState as S;
use Verb as V;

const fn row(state: S, kind: Kind, target: Option<S>, events: &'static [(Event, S)]) -> StateRow {
    let patch = matches!(kind, Kind::Rest | Kind::Failed);
    StateRow { state, kind, patch, delete: false, target, events }
}

impl StateRow {
    const fn may_patch(self) -> Self {
        Self { patch: true, ..self }
    }

    const fn may_delete(self) -> Self {
        Self { delete: true, ..self }
    }
}

const ACTIVE: Option<S> = Some(S::Active);
const AVAILABLE: Option<S> = Some(S::Available);
const MANAGEABLE: Option<S> = Some(S::Manageable);
const RESCUE: Option<S> = Some(S::Rescue);

/// All states, in the order in which a node meets them.
pub const STATES: &[StateRow] = &[
    row(S::Enroll, Kind::Rest, None, &[(Ask(V::Manage), S::Verifying)]).may_delete(),
    row(S::Verifying, Kind::Work, MANAGEABLE, &[(Done, S::Manageable), (Fail, S::Enroll)]).may_patch(),
    row(
        S::Manageable,
        Kind::Rest,
        None,
        &[
            (Ask(V::Provide), S::Cleaning),
            (Ask(V::Clean), S::Cleaning),
            (Ask(V::Inspect), S::Inspecting),
            (Ask(V::Adopt), S::Adopting),
        ],
    )
    .may_delete(),
    row(
        S::Inspecting,
        Kind::Work,
        MANAGEABLE,
        &[(Done, S::Manageable), (Wait, S::InspectWait), (Fail, S::InspectFailed)],
    ),
    row(
        S::InspectWait,
        Kind::Wait,
        MANAGEABLE,
        &[
            (Done, S::Manageable),
            (Resume, S::Inspecting),
            (Fail, S::InspectFailed),
            (Ask(V::Abort), S::InspectFailed),
        ],
    )
    .may_patch(),
    row(
        S::InspectFailed,
        Kind::Failed,
        MANAGEABLE,
        &[(Ask(V::Manage), S::Manageable), (Ask(V::Inspect), S::Inspecting)],
    ),
    row(S::Adopting, Kind::Work, ACTIVE, &[(Done, S::Active), (Fail, S::AdoptFailed)]),
    row(
        S::AdoptFailed,
        Kind::Failed,
        ACTIVE,
        &[(Ask(V::Adopt), S::Adopting), (Ask(V::Manage), S::Manageable)],
    )
    .may_delete(),
    row(
        S::Cleaning,
        Kind::Work,
        AVAILABLE,
        &[
            (Done, S::Available),
            // The end of a cleaning that an operator asked for by `clean`.
            (Done, S::Manageable),
            (Wait, S::CleanWait),
            (Hold, S::CleanHold),
            (Fail, S::CleanFailed),
        ],
    ),
    row(
        S::CleanWait,
        Kind::Wait,
        AVAILABLE,
        &[
            (Resume, S::Cleaning),
            (Hold, S::CleanHold),
            (Fail, S::CleanFailed),
            (Ask(V::Abort), S::CleanFailed),
        ],
    ),
    row(
        S::CleanHold,
        Kind::Hold,
        AVAILABLE,
        &[(Ask(V::Unhold), S::CleanWait), (Ask(V::Abort), S::CleanFailed)],
    ),
    row(S::CleanFailed, Kind::Failed, AVAILABLE, &[(Ask(V::Manage), S::Manageable)]),
    row(S::Available, Kind::Rest, None, &[(Ask(V::Deploy), S::Deploying), (Ask(V::Manage), S::Manageable)])
        .may_delete(),
    row(
        S::Deploying,
        Kind::Work,
        ACTIVE,
        &[(Done, S::Active), (Wait, S::WaitCallBack), (Hold, S::DeployHold), (Fail, S::DeployFailed)],
    ),
    row(
        S::WaitCallBack,
        Kind::Wait,
        ACTIVE,
        &[
            (Resume, S::Deploying),
            (Hold, S::DeployHold),
            (Fail, S::DeployFailed),
            (Ask(V::Abort), S::DeployFailed),
            (Ask(V::Undeploy), S::Deleting),
        ],
    ),
    row(
        S::DeployHold,
        Kind::Hold,
        ACTIVE,
        &[(Ask(V::Unhold), S::WaitCallBack), (Ask(V::Abort), S::DeployFailed)],
    ),
    row(
        S::DeployFailed,
        Kind::Failed,
        ACTIVE,
        &[(Ask(V::Deploy), S::Deploying), (Ask(V::Rebuild), S::Deploying), (Ask(V::Undeploy), S::Deleting)],
    ),
    row(
        S::Active,
        Kind::Rest,
        None,
        &[
            (Ask(V::Rebuild), S::Deploying),
            (Ask(V::Undeploy), S::Deleting),
            (Ask(V::Rescue), S::Rescuing),
            (Ask(V::Service), S::Servicing),
        ],
    ),
    row(
        S::Servicing,
        Kind::Work,
        ACTIVE,
        &[(Done, S::Active), (Wait, S::ServiceWait), (Hold, S::ServiceHold), (Fail, S::ServiceFailed)],
    ),
    row(
        S::ServiceWait,
        Kind::Wait,
        ACTIVE,
        &[
            (Resume, S::Servicing),
            (Hold, S::ServiceHold),
            (Fail, S::ServiceFailed),
            (Ask(V::Abort), S::ServiceFailed),
            (Ask(V::Undeploy), S::Deleting),
        ],
    ),
    row(
        S::ServiceHold,
        Kind::Hold,
        ACTIVE,
        &[
            (Fail, S::ServiceFailed),
            (Ask(V::Unhold), S::ServiceWait),
            (Ask(V::Service), S::Servicing),
            (Ask(V::Abort), S::ServiceFailed),
        ],
    )
    .may_patch(),
    row(
        S::ServiceFailed,
        Kind::Failed,
        ACTIVE,
        &[
            (Wait, S::ServiceWait),
            (Hold, S::ServiceHold),
            (Ask(V::Service), S::Servicing),
            (Ask(V::Rescue), S::Rescuing),
            (Ask(V::Abort), S::Active),
            (Ask(V::Undeploy), S::Deleting),
        ],
    ),
    row(
        S::Rescuing,
        Kind::Work,
        RESCUE,
        &[(Done, S::Rescue), (Wait, S::RescueWait), (Fail, S::RescueFailed)],
    ),
    row(
        S::RescueWait,
        Kind::Wait,
        RESCUE,
        &[
            (Resume, S::Rescuing),
            (Fail, S::RescueFailed),
            (Ask(V::Abort), S::RescueFailed),
            (Ask(V::Undeploy), S::Deleting),
        ],
    ),
    row(
        S::Rescue,
        Kind::Rest,
        None,
        &[(Ask(V::Rescue), S::Rescuing), (Ask(V::Unrescue), S::Unrescuing), (Ask(V::Undeploy), S::Deleting)],
    ),
    row(
        S::RescueFailed,
        Kind::Failed,
        RESCUE,
        &[(Ask(V::Rescue), S::Rescuing), (Ask(V::Unrescue), S::Unrescuing), (Ask(V::Undeploy), S::Deleting)],
    ),
    row(S::Unrescuing, Kind::Work, ACTIVE, &[(Done, S::Active), (Fail, S::UnrescueFailed)]),
    row(
        S::UnrescueFailed,
        Kind::Failed,
        ACTIVE,
        &[(Ask(V::Rescue), S::Rescuing), (Ask(V::Unrescue), S::Unrescuing), (Ask(V::Undeploy), S::Deleting)],
    ),
    row(S::Deleting, Kind::Work, AVAILABLE, &[(Clean, S::Cleaning), (Fail, S::Error)]),
    row(S::Error, Kind::Rest, None, &[(Ask(V::Rebuild), S::Deploying), (Ask(V::Undeploy), S::Deleting)]),
];

const fn verb(verb: V, words: &'static [(&'static str, u16)], target: Target) -> VerbRow {
    VerbRow { verb, words, target }
}

/// All verbs.
pub const VERBS: &[VerbRow] = &[
    verb(V::Manage, &[("manage", 4)], Target::OfState),
    verb(V::Provide, &[("provide", 4)], Target::OfState),
    verb(V::Deploy, &[("active", 1), ("deploy", 73)], Target::OfState),
    verb(V::Rebuild, &[("rebuild", 1)], Target::OfState),
    verb(V::Undeploy, &[("deleted", 1), ("undeploy", 73)], Target::OfState),
    verb(V::Inspect, &[("inspect", 6)], Target::OfState),
    verb(V::Abort, &[("abort", 13)], Target::Stays),
    verb(V::Clean, &[("clean", 15)], Target::Is(S::Manageable)),
    verb(V::Adopt, &[("adopt", 17)], Target::OfState),
    verb(V::Rescue, &[("rescue", 38)], Target::OfState),
    verb(V::Unrescue, &[("unrescue", 38)], Target::OfState),
    verb(V::Unhold, &[("unhold", 85)], Target::Stays),
    verb(V::Service, &[("service", 87)], Target::OfState),
];

// Rows are found by number: the enums and the tables have the same order, which is checked as this is compiled.
const _: () = {
    assert!(STATES.len() == S::ALL.len() && VERBS.len() == V::ALL.len(), "a state or verb has no row");
    let mut at = 0;
    while at < STATES.len() {
        assert!(STATES[at].state as usize == at, "the rows of states are in another order than the enum");
        at += 1;
    }
    at = 0;
    while at < VERBS.len() {
        assert!(VERBS[at].verb as usize == at, "the rows of verbs are in another order than the enum");
        at += 1;
    }
};

pub(super) fn row_of(state: S) -> &'static StateRow {
    &STATES[state as usize]
}

pub(super) fn row_of_verb(verb: V) -> &'static VerbRow {
    &VERBS[verb as usize]
}
