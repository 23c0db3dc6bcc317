//! Provision states, verbs, and the one table that says which verb leads where.

use serde::{Deserialize, Serialize};

use super::{UnknownWord, words};
use std::{fmt, str::FromStr};

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
    /// Steps run between two users of the machine.
    Cleaning = "cleaning",
    /// Ready to be deployed.
    Available = "available",
    /// A step of a deploy runs.
    Deploying = "deploying",
    /// A deploy waits for the agent.
    WaitCallBack = "wait call-back",
    /// The deploy failed.
    DeployFailed = "deploy failed",
    /// Runs its operating system.
    Active = "active",
    /// The deployment is taken down.
    Deleting = "deleting",
    /// Taking down failed.
    Error = "error",
    /// Cleaning failed.
    CleanFailed = "clean failed",
}

/// What the API can ask of a node's provision state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// `manage`.
    #[serde(rename = "manage")]
    Manage,
    /// `provide`.
    #[serde(rename = "provide")]
    Provide,
    /// `active`, `deploy`.
    #[serde(rename = "active")]
    Deploy,
    /// `rebuild`.
    #[serde(rename = "rebuild")]
    Rebuild,
    /// `deleted`, `undeploy`.
    #[serde(rename = "deleted")]
    Undeploy,
    /// `abort`.
    #[serde(rename = "abort")]
    Abort,
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
    /// What a verb does to a node in this state; `None` when it is not allowed. This is the whole table:
    ///
    /// ```text
    /// enroll ------manage----> verifying -> manageable        available ---deploy---> deploying -> active
    /// manageable --provide---> cleaning -> available          deploy failed, active, error: rebuild -> deploying
    /// available, clean failed: manage -> manageable           deploy failed: deploy -> deploying
    /// wait call-back: abort -> deploy failed
    /// active, deploy failed, wait call-back, error: undeploy -> deleting -> cleaning -> available
    /// ```
    #[must_use]
    pub fn next(self, verb: Verb) -> Option<Transition> {
        use ProvisionState as S;
        let (next, target) = match (self, verb) {
            (S::Enroll, Verb::Manage) => (S::Verifying, Some(S::Manageable)),
            (S::Available | S::CleanFailed, Verb::Manage) => (S::Manageable, None),
            (S::Manageable, Verb::Provide) => (S::Cleaning, Some(S::Available)),
            (S::Available | S::DeployFailed, Verb::Deploy)
            | (S::DeployFailed | S::Active | S::Error, Verb::Rebuild) => (S::Deploying, Some(S::Active)),
            (S::Active | S::DeployFailed | S::WaitCallBack | S::Error, Verb::Undeploy) => {
                (S::Deleting, Some(S::Available))
            }
            (S::WaitCallBack, Verb::Abort) => (S::DeployFailed, None),
            _ => return None,
        };
        Some(Transition { next, target })
    }

    /// The controller works on a node in this state, or waits for its agent.
    #[must_use]
    pub fn is_moving(self) -> bool {
        matches!(
            self,
            Self::Verifying | Self::Cleaning | Self::Deploying | Self::WaitCallBack | Self::Deleting
        )
    }

    /// `DELETE /v1/nodes/X` is allowed; in maintenance it always is.
    #[must_use]
    pub fn delete_allowed(self) -> bool {
        matches!(self, Self::Enroll | Self::Manageable | Self::Available)
    }

    /// `PATCH /v1/nodes/X` is allowed: not while a transition is under way, except while the BMC is tried.
    #[must_use]
    pub fn patch_allowed(self) -> bool {
        !self.is_moving() || self == Self::Verifying
    }
}

// === impl Verb ===

impl Verb {
    /// All verbs.
    pub const ALL: &[Self] =
        &[Self::Manage, Self::Provide, Self::Deploy, Self::Rebuild, Self::Undeploy, Self::Abort];

    /// The word of the REST API: the oldest one that means it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manage => "manage",
            Self::Provide => "provide",
            Self::Deploy => "active",
            Self::Rebuild => "rebuild",
            Self::Undeploy => "deleted",
            Self::Abort => "abort",
        }
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
        match text {
            "deploy" => Ok(Self::Deploy),
            "undeploy" => Ok(Self::Undeploy),
            _ => Self::ALL
                .iter()
                .copied()
                .find(|verb| verb.as_str() == text)
                .ok_or_else(|| UnknownWord(text.chars().take(64).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of Ironic's state machine (its `states.py`) for the states and verbs that exist here.
    const IRONIC: &[(&str, &str, &str)] = &[
        ("enroll", "manage", "verifying"),
        ("manageable", "provide", "cleaning"),
        ("available", "deploy", "deploying"),
        ("available", "manage", "manageable"),
        ("clean failed", "manage", "manageable"),
        ("wait call-back", "abort", "deploy failed"),
        ("wait call-back", "undeploy", "deleting"),
        ("deploy failed", "deploy", "deploying"),
        ("deploy failed", "rebuild", "deploying"),
        ("deploy failed", "undeploy", "deleting"),
        ("active", "rebuild", "deploying"),
        ("active", "undeploy", "deleting"),
        ("error", "rebuild", "deploying"),
        ("error", "undeploy", "deleting"),
    ];

    #[test]
    fn the_table_is_ironics_and_nothing_else_is_allowed() {
        let ours: std::collections::BTreeSet<_> = ProvisionState::ALL
            .iter()
            .flat_map(|state| Verb::ALL.iter().map(move |verb| (*state, *verb)))
            .filter_map(|(state, verb)| {
                state.next(verb).map(|to| (state.to_string(), verb.to_string(), to.next.to_string()))
            })
            .collect();
        let theirs = IRONIC
            .iter()
            .map(|(from, verb, to)| {
                (from.to_string(), verb.parse::<Verb>().unwrap().to_string(), to.to_string())
            })
            .collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn aliases_mean_the_same_verb() {
        assert_eq!("deploy".parse::<Verb>(), "active".parse());
        assert_eq!("undeploy".parse::<Verb>(), "deleted".parse());
        assert!("launch".parse::<Verb>().is_err());
    }

    #[test]
    fn a_transition_has_a_target_exactly_when_it_starts_to_move() {
        for (state, verb) in ProvisionState::ALL.iter().flat_map(|s| Verb::ALL.iter().map(move |v| (*s, *v)))
        {
            if let Some(to) = state.next(verb) {
                assert_eq!(to.target.is_some(), to.next.is_moving(), "{state} {verb}");
            }
        }
    }

    #[test]
    fn a_moving_node_is_neither_deleted_nor_patched() {
        for state in ProvisionState::ALL.iter().filter(|state| state.is_moving()) {
            assert!(!state.delete_allowed(), "{state}");
            assert_eq!(state.patch_allowed(), *state == ProvisionState::Verifying, "{state}");
        }
    }
}
