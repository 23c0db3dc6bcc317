//! `[ilo]`, with Ironic's option names.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `[ilo]`: HPE iLO. Priorities of steps in automated cleanings: 0 leaves a step out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Priority of `reset_ilo`, which restarts the iLO. Default 1.
    pub clean_priority_reset_ilo: u32,
    /// Priority of `reset_bios_to_default`, which resets the settings of the firmware. Default 10.
    pub clean_priority_reset_bios_to_default: u32,
    /// Priority of `reset_secure_boot_keys_to_default`. Default 20.
    pub clean_priority_reset_secure_boot_keys_to_default: u32,
    /// Priority of `clear_secure_boot_keys`, which removes all keys. Default 0.
    pub clean_priority_clear_secure_boot_keys: u32,
    /// Priority of `reset_ilo_credential`, which sets `ilo_change_password` of `driver_info`. Default 30.
    pub clean_priority_reset_ilo_credential: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            clean_priority_reset_ilo: 1,
            clean_priority_reset_bios_to_default: 10,
            clean_priority_reset_secure_boot_keys_to_default: 20,
            clean_priority_clear_secure_boot_keys: 0,
            clean_priority_reset_ilo_credential: 30,
        }
    }
}

impl Config {
    /// The priorities of a node whose management interface is `ilo`. What `clean_step_priority_override` says wins.
    pub fn add_to(&self, priorities: &mut BTreeMap<String, u32>) {
        for (step, priority) in [
            ("reset_ilo", self.clean_priority_reset_ilo),
            ("reset_bios_to_default", self.clean_priority_reset_bios_to_default),
            ("reset_secure_boot_keys_to_default", self.clean_priority_reset_secure_boot_keys_to_default),
            ("clear_secure_boot_keys", self.clean_priority_clear_secure_boot_keys),
            ("reset_ilo_credential", self.clean_priority_reset_ilo_credential),
        ] {
            priorities.entry(format!("management.{step}")).or_insert(priority);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drivers,
        node::{Node, plan::automated},
    };

    fn cleaning(config: &Config, more: &[(&str, u32)]) -> Vec<(String, u32)> {
        let mut node = Node::new("agent_ilo");
        drivers::complete(&mut node).unwrap();
        let mut priorities = more.iter().map(|(label, priority)| ((*label).to_owned(), *priority)).collect();
        config.add_to(&mut priorities);
        let steps = automated(&drivers::offers(&node), &priorities);
        steps.into_iter().map(|step| (step.step, step.priority)).collect()
    }

    #[test]
    fn a_cleaning_has_the_steps_and_priorities_of_ironics_ilo_drivers() {
        let found = cleaning(&Config::default(), &[]);
        let expected = [
            ("reset_ilo_credential", 30),
            ("reset_secure_boot_keys_to_default", 20),
            ("reset_bios_to_default", 10),
            ("reset_ilo", 1),
        ];
        assert_eq!(found, expected.map(|(step, priority)| (step.to_owned(), priority)));
    }

    #[test]
    fn each_priority_can_be_changed_and_switched_off() {
        let config = Config {
            clean_priority_reset_ilo: 0,
            clean_priority_clear_secure_boot_keys: 40,
            clean_priority_reset_ilo_credential: 5,
            ..Config::default()
        };
        let found = cleaning(&config, &[("management.reset_ilo_credential", 0)]);
        let expected = [
            ("clear_secure_boot_keys", 40),
            ("reset_secure_boot_keys_to_default", 20),
            ("reset_bios_to_default", 10),
        ];
        assert_eq!(found, expected.map(|(step, priority)| (step.to_owned(), priority)));
    }
}
