//! Provision states and verbs. All rules about them are derived from one table, [`table::STATES`].

#[cfg(test)]
mod diagram;
mod table;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{UnknownWord, words};
pub use table::{STATES, StateRow, VERBS, VerbRow};

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// `provision_state` of a node, with Ironic's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ProvisionState { $($(#[$doc])* #[serde(rename = $text)] $variant),* }
        impl ProvisionState {
            /// All states.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
        }
        words!(ProvisionState { $($variant = $text),* });
    };
}

states! {
    /// Just made; nothing is known of its BMC.
    Enroll = "enroll",
    /// Its BMC is tried.
    Verifying = "verifying",
    /// Its BMC answers.
    Manageable = "manageable",
    /// Its hardware is looked at.
    Inspecting = "inspecting",
    /// Its hardware is looked at; waits for the agent.
    InspectWait = "inspect wait",
    /// Looking at its hardware failed.
    InspectFailed = "inspect failed",
    /// A running machine is taken over as it is.
    Adopting = "adopting",
    /// Taking it over failed.
    AdoptFailed = "adopt failed",
    /// Clean steps run: between two users of the machine, or because an operator asked.
    Cleaning = "cleaning",
    /// A clean step waits for the agent or for its time.
    CleanWait = "clean wait",
    /// Cleaning is held until `unhold`.
    CleanHold = "clean hold",
    /// Cleaning failed.
    CleanFailed = "clean failed",
    /// Ready to be deployed.
    Available = "available",
    /// A step of a deploy runs.
    Deploying = "deploying",
    /// A deploy waits for the agent or for its time.
    WaitCallBack = "wait call-back",
    /// The deploy is held until `unhold`.
    DeployHold = "deploy hold",
    /// The deploy failed.
    DeployFailed = "deploy failed",
    /// Runs its operating system.
    Active = "active",
    /// Service steps run on a machine that is in use.
    Servicing = "servicing",
    /// A service step waits for the agent or for its time.
    ServiceWait = "service wait",
    /// The service is held until `unhold`.
    ServiceHold = "service hold",
    /// The service failed.
    ServiceFailed = "service failed",
    /// The machine is booted into a rescue system.
    Rescuing = "rescuing",
    /// Rescuing waits for the agent.
    RescueWait = "rescue wait",
    /// Runs the rescue system.
    Rescue = "rescue",
    /// Rescuing failed.
    RescueFailed = "rescue failed",
    /// The machine is booted into its own system again.
    Unrescuing = "unrescuing",
    /// That failed.
    UnrescueFailed = "unrescue failed",
    /// The deployment is taken down.
    Deleting = "deleting",
    /// Taking down failed.
    Error = "error",
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// What the API can ask of a node's provision state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Verb { $($(#[$doc])* #[serde(rename = $text)] $variant),* }
        impl Verb {
            /// All verbs.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word of the REST API: the oldest one that means it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

verbs! {
    /// `manage`.
    Manage = "manage",
    /// `provide`.
    Provide = "provide",
    /// `active`, `deploy`.
    Deploy = "active",
    /// `rebuild`.
    Rebuild = "rebuild",
    /// `deleted`, `undeploy`.
    Undeploy = "deleted",
    /// `inspect`.
    Inspect = "inspect",
    /// `abort`.
    Abort = "abort",
    /// `clean`.
    Clean = "clean",
    /// `adopt`.
    Adopt = "adopt",
    /// `rescue`.
    Rescue = "rescue",
    /// `unrescue`.
    Unrescue = "unrescue",
    /// `unhold`.
    Unhold = "unhold",
    /// `service`.
    Service = "service",
}

/// What moves a node from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Somebody asked for it.
    Ask(Verb),
    /// The work is done.
    Done,
    /// The work cannot be done, or took too long.
    Fail,
    /// The work waits for something outside of the controller.
    Wait,
    /// What was waited for has happened.
    Resume,
    /// A step asked for a person.
    Hold,
    /// What was deployed is gone; now the machine is cleaned.
    Clean,
}

/// What the controller does with a node in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing, until somebody asks.
    Rest,
    /// Nothing: the work failed. `target_provision_state` still says what was wanted.
    Failed,
    /// It works, and shows the node as reserved.
    Work,
    /// It waits for the agent, the machine, or a time.
    Wait,
    /// It waits for a person to say `unhold` or `abort`.
    Hold,
}

/// Where a verb leads: the first state, and the one to be reached in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// `provision_state` after the request.
    pub next: ProvisionState,
    /// `target_provision_state` after the request; `None` when `next` is where it ends.
    pub target: Option<ProvisionState>,
}

// === impl ProvisionState ===

impl ProvisionState {
    /// Its row of the table.
    #[must_use]
    pub fn row(self) -> &'static StateRow {
        table::row_of(self)
    }

    /// Where an event leads from here; `None` when it is not allowed.
    #[must_use]
    pub fn on(self, event: Event) -> Option<Self> {
        self.row().events.iter().find(|(known, _)| *known == event).map(|(_, next)| *next)
    }

    /// What a verb does to a node in this state whose target is `target`; `None` when it is not allowed.
    #[must_use]
    pub fn next(self, verb: Verb, target: Option<Self>) -> Option<Transition> {
        let next = self.on(Event::Ask(verb))?;
        let target = match (next.row().kind, verb.row().target) {
            (Kind::Rest, _) => None,
            (_, table::Target::OfState) => next.row().target,
            (_, table::Target::Stays) => target.or(next.row().target),
            (_, table::Target::Is(target)) => Some(target),
        };
        Some(Transition { next, target })
    }

    /// Whether the table knows a way of the controller's own (not of a verb) from here to `next`.
    #[must_use]
    pub fn leads_to(self, next: Self) -> bool {
        self.row().events.iter().any(|(event, to)| *to == next && !matches!(event, Event::Ask(_)))
    }

    /// Where a failure leads from here.
    #[must_use]
    pub fn failure(self) -> Option<Self> {
        self.on(Event::Fail).or_else(|| self.on(Event::Ask(Verb::Abort)))
    }

    /// The controller works on a node in this state, or waits for something; it does not stay here for good.
    #[must_use]
    pub fn is_moving(self) -> bool {
        matches!(self.row().kind, Kind::Work | Kind::Wait | Kind::Hold)
    }

    /// `DELETE /v1/nodes/X` is allowed; in maintenance it always is.
    #[must_use]
    pub fn delete_allowed(self) -> bool {
        self.row().delete
    }

    /// `PATCH /v1/nodes/X` is allowed.
    #[must_use]
    pub fn patch_allowed(self) -> bool {
        self.row().patch
    }
}

// === impl Verb ===

impl Verb {
    /// Its row of the table.
    #[must_use]
    pub fn row(self) -> &'static VerbRow {
        table::row_of_verb(self)
    }

    /// The verb that a client calls so, and the minor version since which it may.
    pub fn called(word: &str) -> Result<(Self, u16), UnknownWord> {
        let all = VERBS.iter().flat_map(|row| row.words.iter().map(move |known| (row.verb, *known)));
        all.into_iter()
            .find(|(_, (known, _))| *known == word)
            .map(|(verb, (_, since))| (verb, since))
            .ok_or_else(|| UnknownWord(word.chars().take(64).collect()))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verb {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::called(text).map(|(verb, _)| verb)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ask(verb) => verb.as_str(),
            Self::Done => "done",
            Self::Fail => "fail",
            Self::Wait => "wait",
            Self::Resume => "resume",
            Self::Hold => "hold",
            Self::Clean => "clean",
        })
    }
}
