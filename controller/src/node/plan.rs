//! Steps of deploys, cleanings and services: what can be run, what was asked for, and the plan made of both.

mod build;
mod given;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Dictionary;
pub use build::{PlanError, automated, by_hand, deploy, erases};
pub use given::{GivenStep, Shape};

/// A step that a driver or an agent can run.
#[derive(Debug, PartialEq, Eq)]
pub struct Offer {
    /// `deploy`, `bios`, `raid`, …
    pub interface: &'static str,
    /// Its name.
    pub step: &'static str,
    /// Its priority in a cleaning; 0 means only when asked for, `None` never.
    pub clean: Option<u32>,
    /// The same in a deploy.
    pub deploy: Option<u32>,
    /// The same in a service, where steps run only when asked for.
    pub service: Option<u32>,
    /// `abort` may stop it in the middle; else the plan stops when it has ended.
    pub abortable: bool,
    /// An agent must be there.
    pub requires_ramdisk: bool,
    /// Nothing that the last user wrote can be read after it. A step that no more than forgets where data are (a RAID
    /// volume, a table of partitions) does not erase.
    pub erases: bool,
    /// What it takes.
    pub arguments: &'static [Argument],
}

/// One argument of a step.
#[derive(Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// Of which type it is.
    pub kind: ArgumentKind,
    /// It cannot be left out.
    pub required: bool,
    /// What it means.
    pub about: &'static str,
}

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// A list.
    List,
    /// `true` or `false`.
    Flag,
    /// An object.
    Object,
    /// A whole number within bounds.
    Number {
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
}

/// Which list of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// `deploy_steps`.
    Deploy,
    /// `clean_steps`.
    Clean,
    /// `service_steps`.
    Service,
}

/// One step of a plan, in the form of Ironic's `deploy_steps`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// `deploy`, `bios`, `raid`, …
    pub interface: String,
    /// Its name.
    pub step: String,
    /// Higher ones run first, unless an operator gave the order.
    #[serde(default)]
    pub priority: u32,
    /// Arguments.
    #[serde(default, skip_serializing_if = "Dictionary::is_empty")]
    pub args: Dictionary,
    /// What it takes.
    #[serde(default)]
    pub argsinfo: Value,
    /// `abort` may stop it in the middle.
    #[serde(default)]
    pub abortable: bool,
    /// An agent must be there.
    #[serde(default)]
    pub requires_ramdisk: bool,
    /// The plan is aborted when this step has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abort_after: bool,
}

/// Without the arguments: they may hold secrets.
impl fmt::Debug for PlannedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedStep")
            .field("interface", &self.interface)
            .field("step", &self.step)
            .field("priority", &self.priority)
            .field("abort_after", &self.abort_after)
            .finish_non_exhaustive()
    }
}

/// Steps that need no interface: the controller itself runs them.
pub const RESERVED: &[Offer] = &[
    reserved("hold", &[]),
    reserved(
        "wait",
        &[Argument {
            name: "seconds",
            kind: ArgumentKind::Number { least: 1, most: MAX_WAIT },
            required: true,
            about: "How long to wait.",
        }],
    ),
    reserved("power_on", &[]),
    reserved("power_off", &[]),
    reserved("reboot", &[]),
];

/// Seconds that a step `wait` may take: a day.
const MAX_WAIT: u64 = 86_400;

const fn reserved(step: &'static str, arguments: &'static [Argument]) -> Offer {
    Offer {
        interface: "power",
        step,
        clean: Some(0),
        deploy: Some(0),
        service: Some(0),
        abortable: true,
        requires_ramdisk: false,
        erases: false,
        arguments,
    }
}

/// At the same priority, steps of an interface further left run first.
const INTERFACES: &[&str] = &["vendor", "power", "management", "firmware", "deploy", "bios", "raid"];

/// Puts steps in the order they run in: by priority, then by interface, then as given. Priority 0 means "not".
#[must_use]
pub fn order(mut steps: Vec<PlannedStep>) -> Vec<PlannedStep> {
    let rank = |step: &PlannedStep| {
        INTERFACES.iter().position(|interface| *interface == step.interface).unwrap_or(INTERFACES.len())
    };
    steps.retain(|step| step.priority > 0);
    steps.sort_by_key(|step| (std::cmp::Reverse(step.priority), rank(step)));
    steps
}

// === impl Offer ===

impl Offer {
    /// Its priority in such a list; `None` when it cannot be part of one.
    #[must_use]
    pub fn priority(&self, flow: Flow) -> Option<u32> {
        match flow {
            Flow::Deploy => self.deploy,
            Flow::Clean => self.clean,
            Flow::Service => self.service,
        }
    }

    /// The step of a plan.
    #[must_use]
    pub fn planned(&self, flow: Flow) -> PlannedStep {
        PlannedStep {
            interface: self.interface.to_owned(),
            step: self.step.to_owned(),
            priority: self.priority(flow).unwrap_or_default(),
            args: Dictionary::new(),
            argsinfo: self.argsinfo(),
            abortable: self.abortable,
            requires_ramdisk: self.requires_ramdisk,
            abort_after: false,
        }
    }

    fn argsinfo(&self) -> Value {
        if self.arguments.is_empty() {
            return Value::Null;
        }
        let each = self.arguments.iter().map(|argument| {
            (argument.name.to_owned(), json!({"description": argument.about, "required": argument.required}))
        });
        Value::Object(each.collect())
    }
}

// === impl Flow ===

impl Flow {
    /// `deploy`, `clean`, `service`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Clean => "clean",
            Self::Service => "service",
        }
    }
}

// === impl PlannedStep ===

impl PlannedStep {
    /// `deploy.write_image`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}.{}", self.interface, self.step)
    }
}
