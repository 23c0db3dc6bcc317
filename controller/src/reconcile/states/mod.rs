//! One file per state; this is the list. States that a node rests in have no file: nothing happens there.

mod adopting;
mod deleting;
mod fake_work;
mod inspecting;
mod rescuing;
mod stepping;
mod verifying;

use async_trait::async_trait;

use super::{context::Context, error::Failure, outcome::Outcome};
use crate::node::{Node, ProvisionState, plan::Flow};
use stepping::{Held, Waiting, Working};

/// A state in which the controller has something to do.
#[async_trait]
pub(crate) trait State: Send + Sync {
    /// Looks at what is stored and at the machine, does what is to be done, says what comes next. May be killed
    /// at every await and is then called again: what must not happen twice is persisted before it is done.
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure>;

    /// After a failure, before the failed state is entered. Cannot fail itself; may be called twice.
    async fn clean_up(&self, _node: &mut Node, _cx: &Context) {}
}

/// The visible list. A verb that leads to a moving state without work is refused.
pub(crate) fn of(state: ProvisionState) -> Option<&'static dyn State> {
    Some(match state {
        ProvisionState::Verifying => &verifying::Verifying,
        ProvisionState::Cleaning => &Working(Flow::Clean),
        ProvisionState::CleanWait => &Waiting(Flow::Clean),
        ProvisionState::CleanHold => &Held(Flow::Clean),
        ProvisionState::Deploying => &Working(Flow::Deploy),
        ProvisionState::WaitCallBack => &Waiting(Flow::Deploy),
        ProvisionState::DeployHold => &Held(Flow::Deploy),
        ProvisionState::Servicing => &Working(Flow::Service),
        ProvisionState::ServiceWait => &Waiting(Flow::Service),
        ProvisionState::ServiceHold => &Held(Flow::Service),
        ProvisionState::Deleting => &deleting::Deleting,
        ProvisionState::Inspecting => &inspecting::Inspecting,
        ProvisionState::InspectWait => &inspecting::InspectWait,
        ProvisionState::Adopting => &adopting::Adopting,
        ProvisionState::Rescuing => &rescuing::Rescuing,
        ProvisionState::RescueWait => &rescuing::RescueWait,
        ProvisionState::Unrescuing => &rescuing::Unrescuing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_moving_states_and_no_others_have_work() {
        for state in ProvisionState::ALL {
            assert_eq!(of(*state).is_some(), state.is_moving(), "{state}");
        }
    }
}
