//! What a line of a node's history is about: Ironic's `event_type`.

use super::ProvisionState;

/// A change of power that somebody asked for.
pub const POWER: &str = "power";
/// What watching the machine found: its power state is another one, its BMC does not answer.
pub const MONITORING: &str = "monitoring";
/// An allocation took the node, or gave it back.
pub const ALLOCATION: &str = "allocation";
/// Maintenance was set or unset.
pub const MAINTENANCE: &str = "maintenance";

/// What a change of the provision state is about.
#[must_use]
pub fn of_change(from: ProvisionState, to: ProvisionState) -> &'static str {
    [from.as_str(), to.as_str()].into_iter().find_map(of_word).unwrap_or("transition")
}

fn of_word(state: &str) -> Option<&'static str> {
    const WORDS: &[(&str, &str)] = &[
        ("verif", "verify"),
        ("inspect", "introspection"),
        ("adopt", "adoption"),
        ("rescu", "rescue"),
        ("servic", "servicing"),
        ("clean", "cleaning"),
        ("delet", "unprovision"),
        ("deploy", "provisioning"),
        ("wait call-back", "provisioning"),
    ];
    WORDS.iter().find(|(part, _)| state.contains(part)).map(|(_, word)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_about_what_is_left_else_what_is_entered() {
        use ProvisionState as S;
        assert_eq!(of_change(S::Enroll, S::Verifying), "verify");
        assert_eq!(of_change(S::Deploying, S::WaitCallBack), "provisioning");
        assert_eq!(of_change(S::Cleaning, S::CleanFailed), "cleaning");
        assert_eq!(of_change(S::Active, S::Deleting), "unprovision");
        assert_eq!(of_change(S::Available, S::Manageable), "transition");
    }
}
