//! Which steps a deploy takes, in which order.

use serde::{Deserialize, Serialize};

use super::Dictionary;

/// One step of a deploy, in the form of Ironic's `deploy_steps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// `deploy`, `bios`, `raid`, …
    pub interface: String,
    /// Its name.
    pub step: String,
    /// Higher ones run first.
    pub priority: u32,
    /// Arguments.
    #[serde(default)]
    pub args: Dictionary,
}

/// The core steps of the `direct` deploy interface, with Ironic's names and priorities;
/// `write_config_drive` is ours, Ironic's `write_image` does it.
const DEPLOY: &[(&str, u32)] = &[
    ("deploy", 100),
    ("write_image", 80),
    ("write_config_drive", 70),
    ("prepare_instance_boot", 60),
    ("tear_down_agent", 40),
    ("boot_instance", 20),
];

/// At the same priority, steps of an interface further left run first.
const INTERFACES: &[&str] = &["vendor", "power", "management", "firmware", "deploy", "bios", "raid"];

/// The steps of a deploy, in order.
#[must_use]
pub fn deploy() -> Vec<PlannedStep> {
    let core = DEPLOY.iter().map(|(step, priority)| PlannedStep {
        interface: "deploy".to_owned(),
        step: (*step).to_owned(),
        priority: *priority,
        args: Dictionary::new(),
    });
    order(core.collect())
}

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

// === impl PlannedStep ===

impl PlannedStep {
    /// `deploy.write_image`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}.{}", self.interface, self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(interface: &str, name: &str, priority: u32) -> PlannedStep {
        PlannedStep { interface: interface.into(), step: name.into(), priority, args: Dictionary::new() }
    }

    #[test]
    fn a_deploy_boots_the_ramdisk_first_and_the_instance_last() {
        let labels: Vec<_> = deploy().iter().map(PlannedStep::label).collect();
        assert_eq!(
            labels,
            [
                "deploy.deploy",
                "deploy.write_image",
                "deploy.write_config_drive",
                "deploy.prepare_instance_boot",
                "deploy.tear_down_agent",
                "deploy.boot_instance"
            ]
        );
    }

    #[test]
    fn priority_then_interface_then_the_given_order_decide() {
        let given = vec![
            step("raid", "a", 90),
            step("deploy", "b", 90),
            step("deploy", "c", 90),
            step("bios", "off", 0),
            step("power", "d", 90),
            step("raid", "e", 95),
        ];
        let names: Vec<_> = order(given).into_iter().map(|step| step.step).collect();
        assert_eq!(names, ["e", "d", "b", "c", "a"]);
    }
}
