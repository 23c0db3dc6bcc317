//! What to do about what a BMC said: Ironic's rules of power synchronisation, without I/O.

use std::time::Duration;

use bessemer_proto::ids::NodeId;

use crate::node::{Node, PowerState, ProvisionState};

/// `fault` of a node whose BMC does not answer, or whose machine does not stay as it should be.
pub(crate) const POWER_FAILURE: &str = "power failure";

/// What the BMC said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The machine is in this state.
    State(PowerState),
    /// Nothing that can be used, for this reason.
    Nothing(String),
}

/// What counts as too much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Looks in a row that may find something wrong.
    pub(super) max_retries: u32,
    /// The machine is put back into the state that is known, not the other way round.
    pub(super) force: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is as it should be.
    Agrees,
    /// Nothing was known so far: this is the state now.
    Learn(PowerState),
    /// Look again next time.
    Retry(String),
    /// Put the machine back into the state that is known.
    Restore { known: PowerState, seen: PowerState },
    /// Somebody changed the machine's power: that is its state now.
    Follow { known: PowerState, seen: PowerState },
    /// Maintenance, with [`POWER_FAILURE`].
    GiveUp(String),
}

/// Whether a node's power is watched at all.
pub(super) fn is_watched(node: &Node) -> bool {
    let excluded = matches!(node.provision_state.as_str(), "enroll" | "adopt failed");
    !excluded && !node.maintenance && is_at_rest(node)
}

/// Whether a node waits to be released from [`POWER_FAILURE`].
pub(super) fn is_to_be_recovered(node: &Node) -> bool {
    let is_faulty = node.maintenance && node.fault.as_deref() == Some(POWER_FAILURE);
    is_faulty && node.provision_state != ProvisionState::Enroll && is_at_rest(node)
}

/// Nobody works on it, and no agent does.
fn is_at_rest(node: &Node) -> bool {
    node.target_power_state.is_none() && node.reservation.is_none() && !node.provision_state.is_moving()
}

/// `failures`: how many looks before this one found something wrong, in a row.
pub(super) fn decide(node: &Node, seen: Seen, failures: u32, rules: Rules) -> Verdict {
    let is_too_much = failures.saturating_add(1) > rules.max_retries;
    let (known, seen) = match (node.power_state, seen) {
        (_, Seen::Nothing(reason)) if is_too_much => {
            return Verdict::GiveUp(format!(
                "The power state could not be read {} times in a row, last: {reason}",
                failures.saturating_add(1)
            ));
        }
        (_, Seen::Nothing(reason)) => return Verdict::Retry(reason),
        (None, Seen::State(seen)) => return Verdict::Learn(seen),
        (Some(known), Seen::State(seen)) => (known, seen),
    };
    if known == seen {
        Verdict::Agrees
    } else if is_too_much {
        Verdict::GiveUp(format!(
            "The machine was found in power state \"{seen}\" instead of \"{known}\" {} times in a row",
            failures.saturating_add(1)
        ))
    } else if rules.force && !node.disable_power_off {
        Verdict::Restore { known, seen }
    } else {
        Verdict::Follow { known, seen }
    }
}

/// Whether `last_error` may go when the machine is as it should be: not where it says why the node failed.
pub(super) fn may_forget_error(node: &Node) -> bool {
    let state = node.provision_state.as_str();
    node.last_error.is_some() && !state.ends_with("failed") && node.provision_state != ProvisionState::Error
}

/// When in a period a node is looked at: always at the same moment of it, all nodes spread evenly.
pub(super) fn offset(node: NodeId, period: Duration) -> Duration {
    // The last bytes of an id are random in every version of UUID that is not made from a MAC address.
    let bytes = node.0.into_bytes();
    let fraction = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    period.mul_f64(f64::from(fraction) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORCE: Rules = Rules { max_retries: 3, force: true };
    const FOLLOW: Rules = Rules { max_retries: 3, force: false };
    use PowerState::{Off, On};

    fn node(power_state: Option<PowerState>) -> Node {
        Node { power_state, provision_state: ProvisionState::Available, ..Node::new("redfish") }
    }

    #[test]
    fn what_agrees_or_is_new_is_taken_whatever_was_before() {
        for failures in [0, 3, u32::MAX] {
            assert_eq!(decide(&node(Some(On)), Seen::State(On), failures, FORCE), Verdict::Agrees);
            assert_eq!(decide(&node(None), Seen::State(Off), failures, FORCE), Verdict::Learn(Off));
        }
    }

    #[test]
    fn the_fourth_silence_in_a_row_is_too_much() {
        let silent = || Seen::Nothing("no route".into());
        for failures in 0..3 {
            assert_eq!(decide(&node(None), silent(), failures, FORCE), Verdict::Retry("no route".into()));
        }
        let Verdict::GiveUp(reason) = decide(&node(Some(On)), silent(), 3, FORCE) else { panic!() };
        assert!(reason.contains("4 times") && reason.contains("no route"), "{reason}");
    }

    #[test]
    fn another_state_is_put_right_or_followed_until_it_is_too_much() {
        let off = Seen::State(Off);
        assert_eq!(decide(&node(Some(On)), off.clone(), 2, FORCE), Verdict::Restore { known: On, seen: Off });
        assert_eq!(decide(&node(Some(On)), off.clone(), 2, FOLLOW), Verdict::Follow { known: On, seen: Off });
        assert!(matches!(decide(&node(Some(On)), off.clone(), 3, FORCE), Verdict::GiveUp(_)));
        let kept_on = Node { disable_power_off: true, ..node(Some(Off)) };
        assert_eq!(decide(&kept_on, Seen::State(On), 0, FORCE), Verdict::Follow { known: Off, seen: On });
    }

    #[test]
    fn nodes_that_somebody_works_on_are_left_alone() {
        assert!(is_watched(&node(None)));
        for state in ProvisionState::ALL.iter().copied() {
            let watched = is_watched(&Node { provision_state: state, ..node(None) });
            let left_alone = state.is_moving() || ["enroll", "adopt failed"].contains(&state.as_str());
            assert_eq!(watched, !left_alone, "{state}");
        }
        assert!(!is_watched(&Node { maintenance: true, ..node(None) }));
        assert!(!is_watched(&Node { reservation: Some("x".into()), ..node(None) }));
        assert!(!is_watched(&Node { target_power_state: Some(crate::node::PowerTarget::On), ..node(None) }));
    }

    #[test]
    fn only_a_power_failure_is_recovered_from() {
        let faulty = Node { maintenance: true, fault: Some(POWER_FAILURE.into()), ..node(None) };
        assert!(is_to_be_recovered(&faulty));
        assert!(!is_to_be_recovered(&Node { maintenance: false, ..faulty.clone() }));
        assert!(!is_to_be_recovered(&Node { fault: Some("clean failure".into()), ..faulty.clone() }));
        assert!(!is_to_be_recovered(&Node { provision_state: ProvisionState::Enroll, ..faulty }));
    }

    #[test]
    fn the_reason_of_a_failed_state_stays() {
        let with_error = |provision_state| {
            let last_error = Some("why".to_owned());
            may_forget_error(&Node { provision_state, last_error, ..node(None) })
        };
        assert!(with_error(ProvisionState::Available));
        assert!(!with_error(ProvisionState::DeployFailed));
        assert!(!with_error(ProvisionState::Error));
        assert!(!may_forget_error(&node(None)));
    }

    #[test]
    fn nodes_are_spread_over_the_whole_period() {
        let period = Duration::from_secs(120);
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let at = offset(NodeId::random(), period);
            assert!(at < period);
            tenths[(at.as_secs_f64() / 12.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
    }
}
