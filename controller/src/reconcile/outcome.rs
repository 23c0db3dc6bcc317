//! What a state says after a look at its node.

use std::{fmt, panic::Location};

use chrono::{DateTime, Utc};

use crate::node::ProvisionState;

/// What a state says, and which line of it said so (for the log).
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    pub(crate) at: &'static Location<'static>,
}

/// What a state says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing to do until something happens, or the time is over.
    Wait { reason: String, until: Until },
    /// Another state takes over.
    Go(ProvisionState),
    /// `target_provision_state` is reached.
    Done,
    /// It cannot be done.
    Fail(String),
}

/// What ends a wait, besides news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// At that time the state fails.
    Deadline(DateTime<Utc>),
    /// At that time it goes on.
    Then(DateTime<Utc>),
    /// Only somebody who asks.
    Asked,
}

// === impl Outcome ===

impl Outcome {
    /// Waits for something; after `until` the state fails with this reason.
    #[track_caller]
    pub(crate) fn wait(reason: impl Into<String>, until: DateTime<Utc>) -> Self {
        Self::waiting(reason, Until::Deadline(until))
    }

    /// Waits until a time, and then goes on.
    #[track_caller]
    pub(crate) fn pause(reason: impl Into<String>, until: DateTime<Utc>) -> Self {
        Self::waiting(reason, Until::Then(until))
    }

    /// Waits until somebody asks for something.
    #[track_caller]
    pub(crate) fn hold(reason: impl Into<String>) -> Self {
        Self::waiting(reason, Until::Asked)
    }

    #[track_caller]
    fn waiting(reason: impl Into<String>, until: Until) -> Self {
        Self { kind: Kind::Wait { reason: reason.into(), until }, at: Location::caller() }
    }

    /// Another state takes over at once.
    #[track_caller]
    pub(crate) fn go(next: ProvisionState) -> Self {
        Self { kind: Kind::Go(next), at: Location::caller() }
    }

    /// `target_provision_state` is reached.
    #[track_caller]
    pub(crate) fn done() -> Self {
        Self { kind: Kind::Done, at: Location::caller() }
    }

    /// It cannot be done: the state's failure, with this reason.
    #[track_caller]
    pub(crate) fn fail(reason: impl Into<String>) -> Self {
        Self { kind: Kind::Fail(reason.into()), at: Location::caller() }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait { reason, until } => write!(f, "{reason}, until {until:?}"),
            Self::Go(next) => write!(f, "goes on in {next}"),
            Self::Done => f.write_str("target reached"),
            Self::Fail(reason) => write!(f, "failed: {reason}"),
        }
    }
}
