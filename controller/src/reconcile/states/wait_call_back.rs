//! `wait call-back`: the step under way waits for the agent. Changes nothing; `deploying` takes over when the
//! wait ends.

use async_trait::async_trait;

use super::{
    State,
    deploying::{clean_up, in_step},
};
use crate::{
    node::{Node, ProvisionState},
    reconcile::{
        context::Context,
        deploy::{self, Waiting},
        error::Failure,
        outcome::Outcome,
    },
};

pub(super) struct WaitCallBack;

#[async_trait]
impl State for WaitCallBack {
    async fn run(&self, node: &mut Node, cx: &Context) -> Result<Outcome, Failure> {
        let Some(step) = deploy::current_step(node)? else {
            return Ok(Outcome::go(ProvisionState::Deploying));
        };
        match deploy::step_of(&step)?.waiting(node, cx).await.map_err(|failure| in_step(&step, failure))? {
            Waiting::Over => Ok(Outcome::go(ProvisionState::Deploying)),
            Waiting::Still { reason, until } => Ok(Outcome::wait(reason, until)),
        }
    }

    async fn clean_up(&self, node: &mut Node, cx: &Context) {
        clean_up(node, cx).await;
    }
}
