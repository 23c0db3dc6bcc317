//! Deploy templates: lists of steps that a deploy runs on nodes with a trait of the template's name.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Dictionary,
    named_steps::{self, Form, StepsError},
};

/// Ironic's deploy template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeployTemplate {
    /// `uuid`.
    pub uuid: Uuid,
    /// `name`: a trait; unique.
    pub name: String,
    /// `description`.
    #[serde(default)]
    pub description: Option<String>,
    /// `extra`.
    #[serde(default)]
    pub extra: Dictionary,
    /// `steps`, as given.
    pub steps: Vec<TemplateStep>,
}

/// One step of a deploy template.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplateStep {
    /// `bios`, `deploy`, …
    pub interface: String,
    /// Its name.
    pub step: String,
    /// Arguments. May hold secrets.
    pub args: Dictionary,
    /// Higher ones run first; 0 means that a step which would run does not.
    pub priority: u32,
}

/// Without the arguments: they may hold secrets.
impl fmt::Debug for TemplateStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplateStep")
            .field("interface", &self.interface)
            .field("step", &self.step)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

impl DeployTemplate {
    /// The steps of a request body.
    pub fn parse_steps(steps: Value) -> Result<Vec<TemplateStep>, StepsError> {
        let given = named_steps::parse(steps, Form { place: "priority", needs_args: true })?;
        Ok(given
            .into_iter()
            .map(|step| TemplateStep {
                interface: step.interface,
                step: step.step,
                args: step.args,
                priority: step.place,
            })
            .collect())
    }
}
