//! Runbooks: named lists of steps that an operator runs by cleaning or servicing a node.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Dictionary,
    named_steps::{self, Form, StepsError},
};

/// Ironic's runbook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Runbook {
    /// `uuid`.
    pub uuid: Uuid,
    /// `name`, unique. It runs on nodes that have a trait of that name, or one of `traits`.
    pub name: String,
    /// `description`.
    #[serde(default)]
    pub description: Option<String>,
    /// `disable_ramdisk`: the steps need no agent.
    #[serde(default)]
    pub disable_ramdisk: bool,
    /// `public`: every project may run it.
    #[serde(default)]
    pub public: bool,
    /// `owner`: the project it belongs to.
    #[serde(default)]
    pub owner: Option<String>,
    /// `extra`.
    #[serde(default)]
    pub extra: Dictionary,
    /// `traits`: the nodes it is for.
    #[serde(default)]
    pub traits: Vec<String>,
    /// `steps`, as given.
    pub steps: Vec<RunbookStep>,
}

/// One step of a runbook.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct RunbookStep {
    /// `bios`, `deploy`, …
    pub interface: String,
    /// Its name.
    pub step: String,
    /// Arguments. May hold secrets.
    pub args: Dictionary,
    /// Lower ones run first.
    pub order: u32,
}

/// Without the arguments: they may hold secrets.
impl fmt::Debug for RunbookStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunbookStep")
            .field("interface", &self.interface)
            .field("step", &self.step)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

impl Runbook {
    /// The steps of a request body.
    pub fn parse_steps(steps: Value) -> Result<Vec<RunbookStep>, StepsError> {
        let given = named_steps::parse(steps, Form { place: "order", needs_args: false })?;
        Ok(given
            .into_iter()
            .map(|step| RunbookStep {
                interface: step.interface,
                step: step.step,
                args: step.args,
                order: step.place,
            })
            .collect())
    }

    /// Whether the runbook may run on a node with these traits.
    #[must_use]
    pub fn fits(&self, traits: &[String]) -> bool {
        traits.iter().any(|name| *name == self.name || self.traits.contains(name))
    }
}
